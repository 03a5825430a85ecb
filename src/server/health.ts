// Liveness and readiness: what this process needs, asked now, each answer bounded in time.
import { statfs } from 'node:fs/promises';
import { PulseError } from '../core/errors.ts';

const checkTimeoutMs = 2_000;

/** One thing that this process depends on. */
export interface Dependency {
  readonly name: string;
  /** Resolves to a short fact when all is well; throws with the reason otherwise. */
  readonly check: () => Promise<string>;
}

interface DependencyReport {
  readonly name: string;
  readonly status: 'ok' | 'failed';
  readonly detail: string;
  readonly latency_ms: number;
}

export interface ReadinessReport {
  readonly status: 'ready' | 'not_ready';
  readonly dependencies: readonly DependencyReport[];
}

/** Asks every dependency at once. Guarantees: answers within 2 s; a check that hangs counts as failed. */
export async function readiness(dependencies: readonly Dependency[]): Promise<ReadinessReport> {
  const reports = await Promise.all(dependencies.map(report));
  const ready = reports.every((entry) => entry.status === 'ok');
  return { status: ready ? 'ready' : 'not_ready', dependencies: reports };
}

async function report(dependency: Dependency): Promise<DependencyReport> {
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${checkTimeoutMs} ms`)), checkTimeoutMs);
  });
  try {
    const detail = await Promise.race([dependency.check(), timeout]);
    return { name: dependency.name, status: 'ok', detail, latency_ms: since(started) };
  } catch (error) {
    const code = error instanceof PulseError ? `${error.code}: ` : '';
    return {
      name: dependency.name,
      status: 'failed',
      detail: code + (error as Error).message,
      latency_ms: since(started),
    };
  } finally {
    clearTimeout(timer);
  }
}

function since(started: number): number {
  return Math.round((performance.now() - started) * 10) / 10;
}

/** Free space below which the disk counts as full: the log needs room for its next segments. */
const freeBytesMin = 256 * 1024 * 1024;

/** Fails while the file system of the path has less than 256 MiB left. */
export function diskSpace(path: string): Dependency {
  return {
    name: 'disk',
    check: async () => {
      const stats = await statfs(path);
      const freeBytes = stats.bavail * stats.bsize;
      const text = `${Math.floor(freeBytes / 1_048_576)} MiB free`;
      if (freeBytes < freeBytesMin) throw new Error(`${text}; at least 256 MiB are needed`);
      return text;
    },
  };
}
