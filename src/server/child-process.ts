// One supervised child: started, watched, started again with growing pauses, stopped gracefully.
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '../telemetry/logger.ts';
import { serverError } from './errors.ts';
import type { ChildConfiguration, FromChild, ToChild } from './messages.ts';

const restartPauseFirstMs = 200;
const restartPauseMaxMs = 10_000;
/** A child that lived this long has recovered: the next restart starts with the shortest pause again. */
const settledAfterMs = 60_000;

export interface ChildOptions {
  readonly configuration: ChildConfiguration;
  /** Added to the priority of the process (nice); 0 leaves it. */
  readonly niceness: number;
  readonly stopTimeoutMs: number;
  readonly nodeOptions: readonly string[];
  readonly logger: Logger;
  /** Told each time the child is ready (with the address it listens on) and each time it is gone (null). */
  readonly onAddress: (url: string | null) => void;
}

/** A child that is kept running until it is told to stop. */
export class SupervisedChild {
  readonly #options: ChildOptions;
  #process: ChildProcess | null = null;
  #stopping = false;
  #pauseMs = restartPauseFirstMs;
  #restart: NodeJS.Timeout | null = null;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  /** Errors: the child's own error when its first start fails; later failures lead to restarts instead. */
  async start(): Promise<string> {
    return await this.#launch();
  }

  send(message: ToChild): void {
    if (this.#process?.connected) this.#process.send(message);
  }

  /** Asks the child to drain and waits; ends it when it takes longer than the stop timeout. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.send({ type: 'stop' });
    const timer = setTimeout(() => {
      this.#options.logger.error(
        { part: this.#options.configuration.part },
        'stop timed out; ending the process',
      );
      child.kill('SIGKILL');
    }, this.#options.stopTimeoutMs);
    await exited;
    clearTimeout(timer);
  }

  #launch(): Promise<string> {
    const { configuration, logger, niceness } = this.#options;
    const startedMs = Date.now();
    const child = fork(join(import.meta.dirname, 'child.ts'), [configuration.part], {
      execArgv: ['--disable-warning=ExperimentalWarning', ...this.#options.nodeOptions],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Its own group: Ctrl-C reaches the supervisor alone, which then stops the parts in order.
      detached: true,
    });
    this.#process = child;
    if (niceness !== 0 && child.pid !== undefined) lowerPriority(child.pid, niceness, logger);
    child.send({ type: 'start', configuration } satisfies ToChild);
    return new Promise((resolve, reject) => {
      child.on('message', (message: FromChild) => {
        if (message.type === 'ready') {
          this.#options.onAddress(message.url);
          resolve(message.url);
        } else if (message.type === 'failed') {
          reject(Object.assign(new Error(message.message), { code: message.code, next: message.next }));
        }
      });
      child.once('exit', (code, signal) => {
        this.#options.onAddress(null);
        const how = signal ?? `exit code ${code}`;
        reject(
          serverError(
            'PULSE_SERVER_CHILD_FAILED',
            `The ${configuration.part} ended with ${how} before it was ready.`,
          ),
        );
        if (!this.#stopping) this.#planRestart(startedMs, how);
      });
    });
  }

  #planRestart(startedMs: number, how: string): void {
    if (Date.now() - startedMs > settledAfterMs) this.#pauseMs = restartPauseFirstMs;
    const pauseMs = this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, restartPauseMaxMs);
    const { configuration, logger } = this.#options;
    logger.error({ part: configuration.part, how, pause_ms: pauseMs }, 'a part ended; starting it again');
    this.#restart = setTimeout(() => {
      this.#launch().catch((error: unknown) => {
        logger.error({ part: configuration.part, error: (error as Error).message }, 'the part did not start');
      });
    }, pauseMs);
  }
}

// The child is a session of its own. Where the kernel has autogroups, niceness counts only inside a session, and only the
// session's own niceness counts beside others.
function lowerPriority(pid: number, niceness: number, logger: Logger): void {
  try {
    setPriority(pid, niceness);
    const autogroup = `/proc/${pid}/autogroup`;
    if (existsSync(autogroup)) writeFileSync(autogroup, String(niceness), { flag: 'r+' });
  } catch (error) {
    // Not fatal: accepting events merely competes with the sinks for the processor.
    logger.warn({ pid, error: (error as Error).message }, 'could not lower the priority of a process');
  }
}
