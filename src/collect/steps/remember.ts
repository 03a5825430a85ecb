// Step: the Idempotency-Key of a request and the fingerprint of its payload.
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { collectError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';

const keyCharsMax = 255;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * The key of a request, or null when it has none. Both forms name the same key: the structured-field string of the draft
 * (`"abc"`, parameters behind it are ignored) and the bare token that most clients send.
 * Errors: PULSE_COLLECT_IDEMPOTENCY_KEY_INVALID.
 * Source: draft-ietf-httpapi-idempotency-key-header-07 §2.1; RFC 9651 §3.3.3.
 */
export function idempotencyKeyOf(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  const text = typeof header === 'string' ? header : header.join(', ');
  const key = text.charCodeAt(0) === QUOTE ? quotedKey(text) : bareKey(text);
  if (key === null || key.length === 0 || key.length > keyCharsMax) {
    throw collectError(
      'PULSE_COLLECT_IDEMPOTENCY_KEY_INVALID',
      `The Idempotency-Key is not a string of 1 to ${keyCharsMax} visible ASCII characters.`,
    );
  }
  return key;
}

function bareKey(text: string): string | null {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x21 || code > 0x7e || code === QUOTE) return null;
  }
  return text;
}

function quotedKey(text: string): string | null {
  let key = '';
  for (let i = 1; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code === QUOTE) return i + 1 === text.length || text[i + 1] === ';' ? key : null;
    if (code === BACKSLASH) {
      i++;
      code = text.charCodeAt(i);
      if (code !== QUOTE && code !== BACKSLASH) return null;
    }
    if (code < 0x20 || code > 0x7e) return null;
    key += text[i];
  }
  return null;
}

/**
 * SHA-256 over everything that makes the payload: path, kind of body, CloudEvents attributes in headers, and the bytes
 * (decompressed, since the same events may be compressed differently on a second try). base64url.
 */
export function fingerprint(exchange: Exchange, kind: string, body: Buffer): string {
  let prefix = `${exchange.path}\n${kind}\n`;
  if (kind === 'binary') prefix += cloudEventsHeaders(exchange.headers);
  // Header text is Latin-1, one byte a character.
  const bytes = prefix.length + body.length;
  const whole = bytes <= scratch.length ? scratch.subarray(0, bytes) : Buffer.allocUnsafe(bytes);
  whole.write(prefix, 'latin1');
  body.copy(whole, prefix.length);
  return hash('sha256', whole, 'base64url');
}

// One place to put prefix and body together, since hashing is done before anything else runs: hashing in two steps takes
// twice as long, and a new buffer each time is garbage.
const scratch = Buffer.allocUnsafeSlow(65_536);

function cloudEventsHeaders(headers: IncomingHttpHeaders): string {
  const names = Object.keys(headers).filter((name) => name.startsWith('ce-'));
  return names
    .sort()
    .map((name) => `${name}:${headers[name]}\n`)
    .join('');
}
