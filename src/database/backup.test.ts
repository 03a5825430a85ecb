// Backup and restore with the real server and the real log, while writing goes on.
import assert from 'node:assert/strict';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger, testFolder } from '../../tests/support/database.ts';
import { hasCode } from '../core/errors.ts';
import { createEmbeddedEventLog } from '../ports/event-log/embedded/index.ts';
import { backup, restore } from './backup.ts';
import { addStageCounts } from './counts.ts';
import { openDatabase } from './database.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts';
import { epochOf } from './epochs.ts';
import { migrate } from './migrate.ts';
import { advancePosition, readPositions, startOffsets } from './positions.ts';
import type { Database } from './types.ts';

const topics = ['events.raw', 'events.valid'] as const;

async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(testFolder, 'pulse-backup-'));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  return folder;
}

interface SmallPulse {
  readonly server: EmbeddedPostgres;
  readonly database: Database;
  readonly log: Awaited<ReturnType<typeof createEmbeddedEventLog>>;
  stop(): Promise<void>;
}

/** Database and log of a data directory, opened as Pulse does. */
async function open(t: TestContext, dataDirectory: string): Promise<SmallPulse> {
  const server = await startEmbeddedPostgres({
    dataDirectory,
    logger: silentLogger,
    tuning: { sharedBuffersMib: 32 },
  });
  t.after(() => server.stop());
  await migrate({ ownerUrl: server.ownerUrl, appUrl: server.appUrl, logger: silentLogger });
  const options = {
    poolSize: 2,
    applicationName: 'pulse-test',
    statementTimeoutMs: 20_000,
    logger: silentLogger,
  };
  const database = await openDatabase({ url: server.appUrl, ...options });
  const log = await createEmbeddedEventLog({ directory: join(dataDirectory, 'log'), logger: silentLogger });
  for (const topic of topics)
    await log.createTopic(topic, { partitions: 1, retentionMs: 0, retentionBytes: 0 });
  const stop = async () => {
    await log.close();
    await database.close();
    await server.stop();
  };
  return { server, database, log, stop };
}

/** Appends to raw, then to valid, then moves the position and counts in one transaction, until told to stop. */
async function writeUntil(pulse: SmallPulse, signal: AbortSignal): Promise<void> {
  const { database, log } = pulse;
  const info = await log.describeTopic('events.raw');
  assert.ok(info !== null);
  const epoch = await epochOf(database, info);
  let expected = startOffsets;
  for (let batch = 0; !signal.aborted; batch++) {
    const records = Array.from({ length: 20 }, (_, i) => ({
      partition: 0,
      key: null,
      headers: { batch: String(batch) },
      value: Buffer.from(`${batch}.${i} ${'x'.repeat(300)}`),
    }));
    const offsets = await log.append('events.raw', records);
    await log.append('events.valid', records);
    const last = offsets.at(-1) as number;
    const next = { sourceOffset: last, logOffset: last + 1 };
    const from = expected;
    await database.withTenant('acme', async (client) => {
      await addStageCounts(client, [
        {
          tenantId: 'acme',
          receivedMinute: '2026-01-01T00:00:00.000Z',
          stage: 'store',
          outcome: 'stored',
          topic: 'events.valid',
          partition: 0,
          events: records.length,
          bytes: 0,
        },
      ]);
      await advancePosition(client, { stage: 'store', epoch, partition: 0, expected: from, next });
    });
    expected = next;
  }
}

async function countStored(database: Database): Promise<number> {
  const { rows } = await database.withTenant('acme', (client) =>
    client.query<{ events: number }>('SELECT events FROM stage_counts'),
  );
  return rows[0]?.events ?? 0;
}

test('a backup made while writing goes on restores to a consistent whole', async (t) => {
  const folder = await folderFor(t);
  const dataDirectory = join(folder, 'data');
  const to = join(folder, 'backup');
  const pulse = await open(t, dataDirectory);
  await mkdir(join(dataDirectory, 'lake'));
  await writeFile(join(dataDirectory, 'lake', 'part-1.parquet'), 'PAR1');
  await writeFile(join(dataDirectory, 'pulse.lock'), '');
  const stopping = new AbortController();
  const writing = writeUntil(pulse, stopping.signal);
  await sleep(300);
  const storedBefore = await countStored(pulse.database);
  const manifest = await backup({ dataDirectory, to, databaseUrl: '', logger: silentLogger });
  assert.equal(manifest.database, 'running');
  await sleep(100);
  stopping.abort();
  await writing;
  const storedAtEnd = await countStored(pulse.database);
  await pulse.stop();
  await rm(dataDirectory, { recursive: true });

  await restore({ from: to, dataDirectory, logger: silentLogger });
  const restored = await open(t, dataDirectory);
  const stored = await countStored(restored.database);
  assert.ok(stored >= storedBefore && stored < storedAtEnd, `${storedBefore} <= ${stored} < ${storedAtEnd}`);
  const [position] = await readPositions(restored.database, 'store');
  assert.equal(position?.sourceOffset, stored - 1);
  const [raw = 0, valid = 0] = await Promise.all(
    topics.map(async (topic) => (await restored.log.bounds(topic))[0]?.end ?? 0),
  );
  // Each stage is at or behind its source, as after a crash.
  assert.ok(stored <= valid && valid <= raw, `${stored} <= ${valid} <= ${raw}`);
  for (const topic of topics)
    await restored.log.append(topic, [{ partition: 0, key: null, headers: {}, value: Buffer.from('on') }]);
  assert.equal(await readFile(join(dataDirectory, 'lake', 'part-1.parquet'), 'utf8'), 'PAR1');
  assert.equal((await readdir(dataDirectory)).includes('pulse.lock'), false);
  await restored.stop();
});

test('a backup of a stopped Pulse holds everything, and a damaged one is refused by the name of the file', async (t) => {
  const folder = await folderFor(t);
  const dataDirectory = join(folder, 'data');
  const to = join(folder, 'backup');
  const pulse = await open(t, dataDirectory);
  const stopping = new AbortController();
  const writing = writeUntil(pulse, stopping.signal);
  await sleep(100);
  stopping.abort();
  await writing;
  const stored = await countStored(pulse.database);
  await pulse.stop();
  const manifest = await backup({ dataDirectory, to, databaseUrl: '', logger: silentLogger });
  assert.equal(manifest.database, 'stopped');
  assert.equal((await stat(to)).mode & 0o777, 0o700);

  const other = join(folder, 'other');
  await restore({ from: to, dataDirectory: other, logger: silentLogger });
  const restored = await open(t, other);
  assert.equal(await countStored(restored.database), stored);
  assert.equal((await restored.log.bounds('events.raw'))[0]?.end, stored);
  await restored.stop();

  const refuses = async (code: string, named: RegExp, into = join(folder, 'third')) => {
    const restoring = restore({ from: to, dataDirectory: into, logger: silentLogger });
    await assert.rejects(restoring, (error) => hasCode(error, code) && named.test(error.message));
  };
  await refuses('PULSE_DATABASE_BACKUP_REFUSED', /not empty/, other);
  await appendFile(join(to, 'postgres', 'PG_VERSION'), 'x');
  await refuses('PULSE_DATABASE_BACKUP_DAMAGED', /'postgres\/PG_VERSION' has 4 bytes instead of 3/);
  await writeFile(join(to, 'postgres', 'PG_VERSION'), '19\n');
  await refuses('PULSE_DATABASE_BACKUP_DAMAGED', /'postgres\/PG_VERSION' has other content/);
  await unlink(join(to, 'postgres', 'PG_VERSION'));
  await refuses('PULSE_DATABASE_BACKUP_DAMAGED', /'postgres\/PG_VERSION' is missing/);
  await unlink(join(to, 'manifest.json'));
  await refuses('PULSE_DATABASE_BACKUP_DAMAGED', /manifest\.json' cannot be read/);
  assert.deepEqual((await readdir(folder)).sort(), ['backup', 'data', 'other']);
});

test('a backup is refused where it cannot be made, with the reason', async (t) => {
  const folder = await folderFor(t);
  const dataDirectory = join(folder, 'data');
  await mkdir(dataDirectory);
  const refuses = async (options: { to?: string; databaseUrl?: string }, named: RegExp) => {
    const made = backup({
      dataDirectory,
      to: join(folder, 'backup'),
      databaseUrl: '',
      logger: silentLogger,
      ...options,
    });
    await assert.rejects(
      made,
      (error) => hasCode(error, 'PULSE_DATABASE_BACKUP_REFUSED') && named.test(error.message),
    );
  };
  await refuses({}, /no database/);
  await refuses({ databaseUrl: 'postgres://owner:secret@db/pulse' }, /pg_basebackup/);
  await refuses({ to: join(dataDirectory, 'backup') }, /inside the data directory/);
  await mkdir(join(dataDirectory, 'postgres'));
  await writeFile(join(dataDirectory, 'postgres', 'PG_VERSION'), '18\n');
  await refuses({ to: folder }, /not an empty folder/);
});
