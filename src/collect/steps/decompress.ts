// Step: the body as it was before Content-Encoding, bounded, whatever the compressed bytes claim.
import {
  type BrotliOptions,
  brotliDecompress,
  gunzip,
  inflate,
  inflateRaw,
  type ZlibOptions,
} from 'node:zlib';
import { collectError } from '../errors.ts';
import { bodyTooLarge } from './read-body.ts';

type Unpack = (
  body: Buffer,
  options: ZlibOptions & BrotliOptions,
  done: (error: Error | null, result: Buffer) => void,
) => void;

const unpackers: Readonly<Record<string, Unpack>> = {
  gzip: gunzip,
  'x-gzip': gunzip,
  br: brotliDecompress,
  // "deflate" is zlib by RFC 9110, but some clients send the bare stream. The zlib header tells: CM 8, and a multiple of 31.
  deflate: (body, options, done) => {
    const isZlib = body.length >= 2 && (body[0]! & 0x0f) === 8 && body.readUInt16BE(0) % 31 === 0;
    return isZlib ? inflate(body, options, done) : inflateRaw(body, options, done);
  },
};

/** zlib works in the four threads of libuv that also sync the log; two at a time leave room for it. */
const atOnceMax = 2;

/** The coding that a Content-Encoding header names, or null for none. Errors: PULSE_COLLECT_ENCODING_UNSUPPORTED. */
export function contentCoding(header: string | undefined): string | null {
  if (header === undefined) return null;
  const coding = header.trim().toLowerCase();
  if (coding === '' || coding === 'identity') return null;
  if (Object.hasOwn(unpackers, coding)) return coding;
  throw collectError(
    'PULSE_COLLECT_ENCODING_UNSUPPORTED',
    `Content-Encoding '${header.slice(0, 100)}' is not one of gzip, deflate, br.`,
  );
}

/** Unpacks bodies, few at a time, so that bombs cannot fill the memory side by side. */
export class Decompressor {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /**
   * The unpacked body.
   * Errors: PULSE_COLLECT_BODY_TOO_LARGE as soon as the output passes `bytesMax`, PULSE_COLLECT_ENCODING_INVALID.
   */
  async unpack(body: Buffer, coding: string, bytesMax: number): Promise<Buffer> {
    while (this.#running >= atOnceMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running++;
    try {
      return await unpackOne(unpackers[coding] as Unpack, body, bytesMax);
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }
}

function unpackOne(unpack: Unpack, body: Buffer, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    unpack(body, { maxOutputLength: bytesMax }, (error, result) => {
      if (error === null) return resolve(result);
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
        return reject(bodyTooLarge(bytesMax + 1, bytesMax));
      }
      reject(
        collectError('PULSE_COLLECT_ENCODING_INVALID', `Decompressing the body failed: ${error.message}.`),
      );
    });
  });
}
