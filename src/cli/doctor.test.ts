import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type Finding, runChecks } from './doctor.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'pulse-doctor-'));
  t.after(() => {
    chmodSync(path, 0o700);
    rmSync(path, { recursive: true });
  });
  return path;
}

/** A port that something answers on; readyz says what is given, or is no Pulse at all. */
async function listen(t: TestContext, readyz: unknown): Promise<string> {
  const server = createServer((_, response) => {
    response.end(readyz === null ? '<html>' : JSON.stringify(readyz));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return String((server.address() as AddressInfo).port);
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return String(port);
}

async function check(environment: Record<string, string>): Promise<ReadonlyMap<string, Finding>> {
  const findings = await runChecks({ environment, url: undefined });
  for (const finding of findings) {
    assert.equal(
      finding.fix === null,
      finding.status === 'ok',
      `${finding.check} has a fix exactly when it needs one`,
    );
  }
  return new Map(findings.map((finding) => [finding.check, finding]));
}

describe('doctor', () => {
  test('finds nothing wrong on a good machine before the first start', async (t) => {
    const found = await check({ PULSE_DATA_DIR: join(folder(t), 'data'), PULSE_PORT: await freePort() });
    assert.deepEqual(
      [...found.values()].filter((finding) => finding.status === 'failed'),
      [],
    );
    assert.match(found.get('postgres')?.detail ?? '', /PostgreSQL\) 1\d/);
    assert.match(found.get('running')?.detail ?? '', /nothing runs/);
  });

  test('names every mistake of a broken set-up at once', async (t) => {
    const data = folder(t);
    writeFileSync(join(data, 'pulse.json'), '{"format_version":99}');
    writeFileSync(join(data, 'admin-token'), 'pat_x', { mode: 0o644 });
    const found = await check({
      PULSE_DATA_DIR: data,
      PULSE_PORT: await listen(t, null),
      PULSE_LOG_LEVEL: 'loud',
      PULSE_PROT: '1',
      PULSE_DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:9/none',
    });
    const failed = [...found.values()]
      .filter((finding) => finding.status === 'failed')
      .map((finding) => finding.check);
    assert.deepEqual(failed.sort(), [
      'admin token',
      'data version',
      'port',
      'postgres',
      'running',
      'settings',
    ]);
    assert.match(
      found.get('settings')?.detail ?? '',
      /PULSE_LOG_LEVEL='loud'.*PULSE_PROT .*Did you mean PULSE_PORT\?/s,
    );
    assert.match(found.get('admin token')?.fix ?? '', /chmod 600/);
    assert.equal(JSON.stringify([...found.values()]).includes('secret'), false);
  });

  test('takes a running Pulse for what it is', async (t) => {
    const dependencies = [{ name: 'postgres', status: 'ok', detail: '' }];
    const port = await listen(t, { status: 'ready', dependencies });
    const found = await check({ PULSE_DATA_DIR: folder(t), PULSE_PORT: port });
    assert.equal(found.get('port')?.status, 'ok');
    assert.match(found.get('running')?.detail ?? '', /is ready/);
  });

  test('reports each broken dependency of a running Pulse', async (t) => {
    const dependencies = [{ name: 'postgres', status: 'failed', detail: 'no answer within 2000 ms' }];
    const port = await listen(t, { status: 'not_ready', dependencies });
    const found = await check({ PULSE_DATA_DIR: folder(t), PULSE_PORT: port });
    assert.equal(found.get('running: postgres')?.status, 'failed');
    assert.match(found.get('running: postgres')?.detail ?? '', /no answer within/);
  });

  test('sees a data directory that is a file', async (t) => {
    const file = join(folder(t), 'file');
    writeFileSync(file, '');
    const found = await check({ PULSE_DATA_DIR: file, PULSE_PORT: await freePort() });
    assert.match(found.get('data directory')?.detail ?? '', /is no folder/);
  });
});
