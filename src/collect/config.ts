// Settings of collect: what one request may hold, what all requests together may hold, how long a key is remembered.
import { BlockList, isIP } from 'node:net';
import { integer, type Setting, type SettingValues, text } from '../core/settings.ts';

const mebibyte = 1_048_576;

export const collectSettings = {
  PULSE_COLLECT_BATCH_BYTES_MAX: integer({
    help: 'Largest body of POST /v1/collect, after decompression.',
    unit: 'bytes',
    defaultValue: 10 * mebibyte,
    min: mebibyte,
    max: 64 * mebibyte,
  }),
  PULSE_COLLECT_BATCH_EVENTS_MAX: integer({
    help: 'Most events in one request.',
    unit: 'events',
    defaultValue: 10_000,
    min: 1,
    max: 100_000,
  }),
  PULSE_COLLECT_BODY_TIMEOUT_MS: integer({
    help: 'How long a body may take to arrive before the answer is 408.',
    unit: 'ms',
    defaultValue: 15_000,
    min: 100,
    max: 600_000,
  }),
  PULSE_COLLECT_KEEP_ALIVE_MS: integer({
    help: 'How long an idle connection is kept; longer than that of the load balancer before it.',
    unit: 'ms',
    defaultValue: 65_000,
    min: 1_000,
    max: 600_000,
  }),
  PULSE_COLLECT_REQUESTS_MAX: integer({
    help: 'Most requests in hand at once; beyond it the answer is 503.',
    unit: 'requests',
    defaultValue: 2_000,
    min: 1,
    max: 100_000,
  }),
  PULSE_COLLECT_BODIES_BYTES_MAX: integer({
    help: 'Most bytes of bodies in memory at once; beyond it the answer is 503.',
    unit: 'bytes',
    defaultValue: 128 * mebibyte,
    min: 10 * mebibyte,
    max: 65_536 * mebibyte,
  }),
  PULSE_COLLECT_IDEMPOTENCY_TTL_MS: integer({
    help: 'How long an Idempotency-Key is remembered, unless memory runs out before.',
    unit: 'ms',
    defaultValue: 1_800_000,
    min: 1_000,
    max: 86_400_000,
  }),
  PULSE_COLLECT_IDEMPOTENCY_ENTRIES_MAX: integer({
    help: 'Most Idempotency-Keys remembered; the oldest are forgotten beyond it.',
    unit: 'keys',
    defaultValue: 200_000,
    min: 1,
    max: 10_000_000,
  }),
  PULSE_COLLECT_IDEMPOTENCY_BYTES_MAX: integer({
    help: 'Most memory for Idempotency-Keys; the oldest are forgotten beyond it.',
    unit: 'bytes',
    defaultValue: 128 * mebibyte,
    min: mebibyte,
    max: 65_536 * mebibyte,
  }),
  PULSE_COLLECT_IDEMPOTENCY_REBUILD_BYTES_MAX: integer({
    help: 'Most bytes of the newest records that a start reads to remember Idempotency-Keys again.',
    unit: 'bytes',
    defaultValue: 256 * mebibyte,
    min: mebibyte,
    max: 65_536 * mebibyte,
  }),
  PULSE_COLLECT_TRUSTED_PROXIES: addressList({
    help: 'Proxies whose X-Forwarded-For is believed, as addresses or networks; empty means the socket address counts.',
  }),
};

export type CollectSettings = SettingValues<typeof collectSettings>;

/** A comma-separated list of addresses and networks in CIDR form, kept as text and checked. */
function addressList(options: { help: string }): Setting<string> {
  return {
    ...text({ help: options.help, defaultValue: '' }),
    allowed: 'addresses or networks such as 10.0.0.0/8,::1, separated by commas',
    parse: (value) => {
      parseAddressList(value);
      return value;
    },
  };
}

/**
 * The addresses and networks of a comma-separated list.
 * Errors: throws an Error that completes "<NAME>='…' …" when an entry is neither.
 */
export function parseAddressList(value: string): BlockList {
  const list = new BlockList();
  for (const entry of value.split(',').map((part) => part.trim())) {
    if (entry === '') continue;
    const [address, bits, ...rest] = entry.split('/');
    const version = isIP(address as string);
    const bitsMax = version === 4 ? 32 : 128;
    const valid = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax);
    if (version === 0 || !valid || rest.length > 0) {
      throw new Error(`holds '${entry}', which is neither an address nor a network`);
    }
    const type = version === 4 ? 'ipv4' : 'ipv6';
    if (bits === undefined) list.addAddress(address as string, type);
    else list.addSubnet(address as string, Number(bits), type);
  }
  return list;
}
