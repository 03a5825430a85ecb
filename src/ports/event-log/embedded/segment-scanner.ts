// Walks the groups of one segment file in order. It judges bytes and knows nothing of topics' ends or of what may follow.
import type { LogFile } from './file-system.ts';
import { checkGroup, type GroupView, groupHeaderBytes, isZero } from './group-codec.ts';

/** What the scanner found at `position`. */
export type ScanStep =
  | { readonly kind: 'group'; readonly position: number; readonly group: GroupView }
  /** The limit is reached, or only zeros stand here. */
  | { readonly kind: 'end'; readonly position: number; readonly zeros: boolean }
  | { readonly kind: 'broken'; readonly position: number; readonly why: string };

/** Bytes that are read ahead at once. */
export const scanChunkBytes = 1_048_576;

/**
 * A forward scanner. Not safe for concurrent calls.
 * Guarantees: a group is handed out only when its checksum is good; buffers handed out are never written again.
 */
export class SegmentScanner {
  readonly #file: LogFile;
  readonly #incarnation: Buffer;
  #buffer: Buffer = Buffer.alloc(0);
  /** Where `#buffer` begins in the file. */
  #bufferPosition: number;
  #position: number;

  constructor(file: LogFile, position: number, incarnation: Buffer) {
    this.#file = file;
    this.#incarnation = incarnation;
    this.#position = position;
    this.#bufferPosition = position;
  }

  get position(): number {
    return this.#position;
  }

  /** The next group that ends at or before `limit`, a position in the file. */
  async next(limit: number): Promise<ScanStep> {
    const position = this.#position;
    for (;;) {
      if (position >= limit) return { kind: 'end', position, zeros: false };
      const start = position - this.#bufferPosition;
      const end = Math.min(this.#buffer.length, limit - this.#bufferPosition);
      const check = checkGroup(this.#buffer, start, end, this.#incarnation);
      if (check.kind === 'group') {
        this.#position = position + check.group.totalBytes;
        return { kind: 'group', position, group: check.group };
      }
      if (check.kind === 'broken') return { kind: 'broken', position, why: check.why };
      if (check.kind === 'empty') return { kind: 'end', position, zeros: true };
      if (position + check.bytes > limit) return await this.#cutShort(position, limit);
      await this.#fill(position, check.bytes, limit);
      if (this.#buffer.length < check.bytes) {
        return { kind: 'broken', position, why: 'the file ends inside this group' };
      }
    }
  }

  /** Fewer bytes are left than a group needs: zeros are the end, anything else is a broken group. */
  async #cutShort(position: number, limit: number): Promise<ScanStep> {
    const rest = Math.min(limit - position, groupHeaderBytes);
    await this.#fill(position, rest, limit);
    const zeros = isZero(this.#buffer, 0, Math.min(rest, this.#buffer.length));
    if (zeros && limit - position < groupHeaderBytes) return { kind: 'end', position, zeros: true };
    return { kind: 'broken', position, why: 'the group is longer than what is left of the file' };
  }

  async #fill(position: number, needed: number, limit: number): Promise<void> {
    const bytes = Math.min(Math.max(needed, scanChunkBytes), limit - position);
    const buffer = Buffer.allocUnsafeSlow(bytes);
    const count = await this.#file.read(buffer, position);
    this.#buffer = count === bytes ? buffer : buffer.subarray(0, count);
    this.#bufferPosition = position;
  }
}
