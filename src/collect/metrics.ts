// Metrics of collect. The hot path counts in plain numbers; prom-client reads them when somebody asks.
import { Counter, Gauge } from 'prom-client';
import { registry } from '../telemetry/registry.ts';
import { BucketHistogram } from './bucket-histogram.ts';

const latencyBucketsSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Counts of this process since its start. */
export const counts = {
  /** Answers by the first digit of their status. */
  answers: new Float64Array(6),
  /** Requests whose client went away before its body was complete. */
  gone: 0,
  events: 0,
  eventBytes: 0,
  replays: 0,
  /** Refused requests and lines by error code; codes are a closed set. */
  refused: new Map<string, number>(),
  /** Numbers of the instance that runs now. */
  inFlightRequests: () => 0,
  inFlightBytes: () => 0,
  rememberedKeys: () => 0,
  idempotencyHorizonMs: () => 0,
};

export function countRefused(code: string): void {
  counts.refused.set(code, (counts.refused.get(code) ?? 0) + 1);
}

/** Every metric of collect. */
export const collectMetrics = {
  requestSeconds: new BucketHistogram({
    name: 'pulse_collect_request_duration_seconds',
    help: 'Time from the headers of a request to its answer.',
    buckets: latencyBucketsSeconds,
    registers: [registry],
  }),
  appendSeconds: new BucketHistogram({
    name: 'pulse_collect_append_duration_seconds',
    help: 'Time until the events of a request were durable in the log.',
    buckets: latencyBucketsSeconds,
    registers: [registry],
  }),
  requests: new Counter({
    name: 'pulse_collect_requests_total',
    help: 'Answered requests by class of status; `gone` had nobody left to answer.',
    labelNames: ['status'] as const,
    registers: [registry],
    collect() {
      this.reset();
      for (let digit = 2; digit <= 5; digit++) this.inc({ status: `${digit}xx` }, counts.answers[digit] ?? 0);
      this.inc({ status: 'gone' }, counts.gone);
    },
  }),
  refused: new Counter({
    name: 'pulse_collect_refused_total',
    help: 'Refused requests and NDJSON lines by error code; throttled ones are PULSE_COLLECT_RATE_LIMITED.',
    labelNames: ['code'] as const,
    registers: [registry],
    collect() {
      this.reset();
      for (const [code, count] of counts.refused) this.inc({ code }, count);
    },
  }),
  events: counter(
    'pulse_collect_events_total',
    'Events accepted: durable in the raw log.',
    () => counts.events,
  ),
  eventBytes: counter(
    'pulse_collect_event_bytes_total',
    'Bytes of accepted events, without headers.',
    () => counts.eventBytes,
  ),
  replays: counter(
    'pulse_collect_idempotent_replays_total',
    'Requests answered from memory because their Idempotency-Key was known.',
    () => counts.replays,
  ),
  inFlightRequests: gauge('pulse_collect_in_flight_requests', 'Requests in hand now.', () =>
    counts.inFlightRequests(),
  ),
  inFlightBytes: gauge('pulse_collect_in_flight_bytes', 'Bytes of bodies in memory now.', () =>
    counts.inFlightBytes(),
  ),
  idempotencyKeys: gauge('pulse_collect_idempotency_keys', 'Idempotency-Keys remembered now.', () =>
    counts.rememberedKeys(),
  ),
  idempotencyHorizon: gauge(
    'pulse_collect_idempotency_horizon_seconds',
    'How far back Idempotency-Keys are remembered; less than configured when memory runs out.',
    () => counts.idempotencyHorizonMs() / 1000,
  ),
};

function counter(name: string, help: string, read: () => number): Counter {
  return new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

function gauge(name: string, help: string, read: () => number): Gauge {
  return new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
