// A log in a folder of its own for tests, removed at the end.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import type { Clock } from '../../../../core/clock.ts';
import type { EventLogSettings } from '../../config.ts';
import type { LogRecord } from '../../event-log.ts';
import { createEmbeddedEventLog, type EmbeddedEventLog } from '../index.ts';

/** Small segments make rolls and retention happen within a few records. */
export const smallSegments = { PULSE_LOG_SEGMENT_BYTES_MIN: 16_384, PULSE_LOG_SEGMENT_BYTES_MAX: 16_384 };

/** A folder with a log in it. */
export interface LogFolder {
  readonly directory: string;
  open(settings?: Partial<EventLogSettings>, clock?: Clock): Promise<EmbeddedEventLog>;
  /** Paths of a topic's segments, oldest first. */
  segments(topic: string): Promise<readonly string[]>;
}

export async function logFolder(t: TestContext): Promise<LogFolder> {
  const root = await mkdtemp(join(tmpdir(), 'pulse-log-'));
  const directory = join(root, 'log');
  const opened: EmbeddedEventLog[] = [];
  t.after(async () => {
    for (const log of opened) await log.close().catch(() => undefined);
    await rm(root, { recursive: true });
  });
  return {
    directory,
    open: async (settings = smallSegments, clock) => {
      const logger = pino({ level: 'silent' });
      const log = await createEmbeddedEventLog({
        directory,
        settings,
        logger,
        ...(clock === undefined ? {} : { clock }),
      });
      opened.push(log);
      return log;
    },
    segments: async (topic) => {
      const folder = join(directory, 'topics', topic);
      const names = (await readdir(folder)).filter((name) => name.endsWith('.segment'));
      return names.sort().map((name) => join(folder, name));
    },
  };
}

export function record(
  partition: number,
  value: string | Buffer,
  headers: Record<string, string> = {},
): LogRecord {
  return { partition, key: null, headers, value: Buffer.from(value) };
}

/** Changes a file's bytes in place. */
export async function change(path: string, edit: (bytes: Buffer) => Buffer): Promise<void> {
  await writeFile(path, edit(await readFile(path)));
}

/** Takes the head away, as a power loss may leave it: unreadable. */
export async function spoilHead(folder: LogFolder, topic: string): Promise<void> {
  await change(join(folder.directory, 'topics', topic, 'head'), (bytes) => bytes.fill(0, 0, 8));
}
