// The id of a live-tail event, as a client sends it back in Last-Event-ID: the next offset of every partition it follows.
// One position would not do: partitions are read side by side, and each has its own place.

/** Next offset of each partition, by valid topic. */
export type StreamOffsets = ReadonlyMap<string, readonly number[]>;

const charsMax = 16_384;

/** Writes `topic=0.12.5,topic=7`; topics in the order of the map. */
export function formatStreamId(offsets: StreamOffsets): string {
  const parts: string[] = [];
  for (const [topic, next] of offsets) parts.push(`${topic}=${next.join('.')}`);
  return parts.join(',');
}

/** Reads what `formatStreamId` wrote; null for anything else, for the client may send what it likes. */
export function parseStreamId(text: string): StreamOffsets | null {
  if (text.length > charsMax) return null;
  const offsets = new Map<string, readonly number[]>();
  for (const part of text.split(',')) {
    const match = /^([A-Za-z0-9._-]{1,255})=(\d{1,15}(?:\.\d{1,15})*)$/.exec(part);
    if (match === null) return null;
    offsets.set(match[1] as string, (match[2] as string).split('.').map(Number));
  }
  return offsets;
}
