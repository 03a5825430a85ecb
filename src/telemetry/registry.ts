// The registry that every room adds its metrics to. Names are `pulse_<area>_<thing>_<unit>[_total]`, labels have few values.
import { Registry } from 'prom-client';

/** All metrics of this process; served at `/metrics` and listed in docs/reference/metrics.md. */
export const registry = new Registry();
