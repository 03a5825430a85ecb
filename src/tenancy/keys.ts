// API keys as secrets: how they are made and how they are recognised. Nothing here stores or logs one.
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';

/** What every API key starts with, so that scanners find a leaked one and Pulse refuses anything else without work. */
const keyPrefix = 'pk_';

/** `pk_` and 32 bytes in base64url. */
const keyChars = keyPrefix.length + 43;

/**
 * A new API key: `pk_` and 256 random bits in base64url. It names no tenant, so a leaked key tells nothing by itself.
 */
export function newApiKey(): string {
  return keyPrefix + randomBytes(32).toString('base64url');
}

/** True when the text has the form of an API key. */
export function isApiKey(credential: string): boolean {
  return credential.length === keyChars && credential.startsWith(keyPrefix);
}

/**
 * The stored form of an API key: its SHA-256, base64url.
 * A fast hash is right here: slow ones (bcrypt, Argon2) protect secrets that people choose, and would cost a key's check
 * tens of milliseconds. A key is 256 random bits; 2^255 guesses are out of reach at any speed. A keyed hash would add
 * a secret to keep without adding safety for the same reason. Finding a key by its hash is no timing oracle either:
 * how far two hashes agree says nothing about the key behind them.
 * Cost: 0.65 µs.
 */
export function hashApiKey(apiKey: string): string {
  return hash('sha256', apiKey, 'base64url');
}

/**
 * True when the presented text is the secret. An empty secret equals nothing.
 * Guarantees: takes the same time wherever the two differ, and whatever their lengths; both are hashed first.
 */
export function equalsSecret(presented: string, secret: string): boolean {
  const equal = timingSafeEqual(hash('sha256', presented, 'buffer'), hash('sha256', secret, 'buffer'));
  return equal && secret !== '';
}
