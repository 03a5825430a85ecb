// Event ids: random and time-ordered (UUIDv7) or derived and repeatable (UUIDv5). RFC 9562.
import { hash, randomFillSync } from 'node:crypto';

const hex: string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

// Random bytes are drawn 4 KiB at a time: one system call for 400 ids instead of one each.
const pool = Buffer.allocUnsafe(4096);
let poolUsed = pool.length;

/**
 * A UUIDv7: 48 bits of milliseconds, then 74 random bits.
 * Guarantees: ids of different milliseconds sort by time; ids of one millisecond have no order.
 * Source: RFC 9562 §5.7.
 */
export function uuidv7(nowMs: number): string {
  if (poolUsed + 10 > pool.length) {
    randomFillSync(pool);
    poolUsed = 0;
  }
  const p = poolUsed;
  poolUsed += 10;
  const high = Math.floor(nowMs / 0x10000);
  const low = nowMs % 0x10000;
  const byte = (i: number): number => pool[p + i] as number;
  return (
    h((high >>> 24) & 0xff) +
    h((high >>> 16) & 0xff) +
    h((high >>> 8) & 0xff) +
    h(high & 0xff) +
    '-' +
    h((low >>> 8) & 0xff) +
    h(low & 0xff) +
    '-' +
    h(0x70 | (byte(0) & 0x0f)) +
    h(byte(1)) +
    '-' +
    h(0x80 | (byte(2) & 0x3f)) +
    h(byte(3)) +
    '-' +
    h(byte(4)) +
    h(byte(5)) +
    h(byte(6)) +
    h(byte(7)) +
    h(byte(8)) +
    h(byte(9))
  );
}

function h(byte: number): string {
  return hex[byte] as string;
}

// The namespace of every derived Pulse id: UUIDv5(DNS namespace, "pulse.events"). Changing it changes all derived ids.
const namespace = Buffer.from('6ba7b8109dad11d180b400c04fd430c8', 'hex');

/**
 * A UUIDv5 over the given parts: the same parts give the same id, in any process, forever.
 * Parts are length-prefixed, so ["a","bc"] and ["ab","c"] differ.
 * Source: RFC 9562 §5.5.
 */
export function uuidv5(...parts: readonly string[]): string {
  const name = parts.map((part) => `${part.length}:${part}`).join('');
  const digest = hash('sha1', Buffer.concat([namespace, Buffer.from(name, 'utf8')]), 'buffer');
  digest[6] = 0x50 | ((digest[6] as number) & 0x0f);
  digest[8] = 0x80 | ((digest[8] as number) & 0x3f);
  const s = digest.toString('hex', 0, 16);
  return `${s.slice(0, 8)}-${s.slice(8, 12)}-${s.slice(12, 16)}-${s.slice(16, 20)}-${s.slice(20)}`;
}
