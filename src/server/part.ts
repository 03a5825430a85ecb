// What the front and the worker are to the process that runs them.

/** A started part of Pulse. */
export interface Part {
  /** Address of its HTTP server. */
  readonly url: string;
  setWorker(url: string | null): void;
  /** Drains: what was accepted is finished, positions are committed. */
  stop(): Promise<void>;
}
