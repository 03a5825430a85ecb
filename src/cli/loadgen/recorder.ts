// Writes every acknowledged event of a run as NDJSON, for an auditor that shares no code with Pulse.
import { closeSync, openSync, writeSync } from 'node:fs';

const chunkChars = 256 * 1024;

/** One line: an event that Pulse answered 202 for. */
export interface AcknowledgedEvent {
  readonly tenant_id: string;
  readonly event_id: string;
  readonly receipt_id: string;
  /** What the generator meant it to become. */
  readonly kind: 'event' | 'duplicate' | 'dead_letter';
}

/** Appends lines to a new file. Written in large pieces: at 15,000 lines a second a write each would cost the run. */
export class Recorder {
  readonly #file: number;
  #text = '';
  #lines = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'w', 0o600);
  }

  get lines(): number {
    return this.#lines;
  }

  write(event: AcknowledgedEvent): void {
    this.#text += `${JSON.stringify(event)}\n`;
    this.#lines++;
    if (this.#text.length >= chunkChars) this.flush();
  }

  flush(): void {
    // A short write (a full disk) would cut a line in two, so what is left is written again until it fails loudly.
    let bytes = Buffer.from(this.#text);
    this.#text = '';
    while (bytes.length > 0) bytes = bytes.subarray(writeSync(this.#file, bytes));
  }

  close(): void {
    this.flush();
    closeSync(this.#file);
  }
}
