// One data directory, brought through many crashes: real processes, real traffic, and the auditor after each of them.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type AuditReport, audit, describe } from '../../auditor/audit.ts';
import type { PositionRow } from '../../auditor/database-facts.ts';
import { freePort, type RunningPulse, startPulse, temporaryDirectory, waitFor } from '../../support/pulse.ts';
import { pause, type Sender, Traffic } from './traffic.ts';

/** Small segments, so that a short run has many of them. */
const environment = {
  PULSE_LOG_SEGMENT_BYTES_MIN: '16384',
  PULSE_LOG_SEGMENT_BYTES_MAX: '65536',
  PULSE_LOG_LEVEL: 'warn',
};
const drainTimeoutMs = 30_000;

/** Kills that happened and audits that were made by all trials of this process. */
export const totals = { kills: 0, audits: 0, acknowledged: 0, records: 0 };

export class Trial {
  readonly dataDirectory: string;
  readonly traffic: Traffic;
  readonly #t: TestContext;
  readonly #port: number;
  #pulse: RunningPulse | null = null;
  #senders: readonly Sender[] = [];
  #positions: readonly PositionRow[] = [];

  private constructor(t: TestContext, dataDirectory: string, port: number, seed: number) {
    this.#t = t;
    this.dataDirectory = dataDirectory;
    this.#port = port;
    this.traffic = new Traffic({
      url: () => `http://127.0.0.1:${port}`,
      senders: () => this.#senders,
      seed,
      run: `s${seed}`,
    });
  }

  static async begin(t: TestContext, seed: number, dataDirectory?: string): Promise<Trial> {
    const trial = new Trial(t, dataDirectory ?? (await temporaryDirectory(t)), await freePort(), seed);
    t.after(() => trial.traffic.abandon());
    return trial;
  }

  get pulse(): RunningPulse {
    assert.ok(this.#pulse !== null, 'Pulse is not running');
    return this.#pulse;
  }

  /** Starts Pulse with these failpoints armed; the first start also makes the tenants of the traffic. */
  async start(failpoints: readonly string[] = []): Promise<void> {
    rmSync(this.#firedFile, { force: true });
    this.#pulse = await startPulse(this.#t, {
      dataDirectory: this.dataDirectory,
      port: this.#port,
      environment: { ...environment, PULSE_TEST_FAILPOINT: failpoints.join() },
    });
    if (this.#senders.length === 0) this.#senders = await makeSenders(this.#pulse);
    this.traffic.pause(false);
  }

  async stop(): Promise<void> {
    this.traffic.pause(true);
    await this.#pulse?.stop();
    this.#pulse = null;
  }

  /** SIGKILL to every process of Pulse. */
  async killAll(): Promise<void> {
    this.traffic.pause(true);
    await this.#pulse?.kill();
    this.#pulse = null;
    totals.kills++;
  }

  get #firedFile(): string {
    return join(this.dataDirectory, 'failpoints-fired');
  }

  fired(): string[] {
    return existsSync(this.#firedFile)
      ? readFileSync(this.#firedFile, 'utf8').split('\n').filter(Boolean)
      : [];
  }

  /** Waits until each of the armed failpoints has fired; traffic must be running. */
  async waitUntilFired(failpoints: readonly string[], timeoutMs: number): Promise<void> {
    await waitFor(() => failpoints.every((entry) => this.fired().includes(entry)), {
      timeoutMs,
      what: () =>
        `${failpoints.filter((entry) => !this.fired().includes(entry))} to fire; fired: ${this.fired()}`,
    });
    totals.kills += failpoints.filter((entry) => entry.endsWith(':kill')).length;
  }

  /** Waits until both parts answer again. Returns how long that took. */
  async waitUntilReady(timeoutMs = 30_000): Promise<number> {
    const startedMs = performance.now();
    let last = '';
    await waitFor(
      async () => {
        const answer = await this.pulse
          .get('/readyz')
          .catch((error: unknown) => ({ status: 0, body: String(error) }));
        last = JSON.stringify(answer.body);
        return answer.status === 200;
      },
      { timeoutMs, what: () => `Pulse to be ready again; /readyz says ${last}` },
    );
    return performance.now() - startedMs;
  }

  /** An audit beside running traffic: only what must hold at any moment. */
  async auditLive(): Promise<void> {
    this.#expect(await this.#audit(false), 'while traffic runs');
  }

  /** Ends the traffic, lets everything be carried on, and audits. `what` names the fault in the message of a breach. */
  async settle(what: string): Promise<AuditReport> {
    await this.traffic.stop();
    const deadlineMs = performance.now() + drainTimeoutMs;
    let report = await this.#audit(true);
    while (!report.holds && performance.now() < deadlineMs) {
      await pause(250);
      report = await this.#audit(true);
    }
    this.#expect(report, what);
    this.#positions = report.positions;
    totals.audits++;
    totals.acknowledged = this.traffic.acknowledged.length;
    totals.records = report.rawRecords;
    return report;
  }

  async #audit(isDrained: boolean): Promise<AuditReport> {
    return await audit({
      dataDirectory: this.dataDirectory,
      acknowledged: this.traffic.acknowledged.slice(),
      isDrained,
      earlierPositions: this.#positions,
    });
  }

  #expect(report: AuditReport, what: string): void {
    assert.ok(
      report.holds,
      `${what}: a promise is broken\n${describe(report)}\n\n${this.pulse.output().slice(-4_000)}`,
    );
    assert.deepEqual(this.traffic.broken, [], `${what}: wrong answers`);
  }
}

/** The demo tenant on the shared topics, and one with topics of its own. */
async function makeSenders(pulse: RunningPulse): Promise<Sender[]> {
  const limits = { requests_per_minute: 1_000_000 };
  await admin(pulse, 'PATCH', '/v1/tenants/demo', { limits });
  await admin(pulse, 'POST', '/v1/tenants', {
    tenant_id: 'own',
    name: 'Own topics',
    topics: 'dedicated',
    limits,
  });
  const key = (await admin(pulse, 'POST', '/v1/tenants/own/keys', {
    name: 'traffic',
    scopes: ['ingest', 'read'],
  })) as { api_key: string };
  const demo = { tenantId: 'demo', apiKey: pulse.demoKey };
  return [demo, demo, { tenantId: 'own', apiKey: key.api_key }];
}

async function admin(pulse: RunningPulse, method: string, path: string, body: unknown): Promise<unknown> {
  const response = await fetch(`${pulse.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${pulse.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text) as unknown;
}
