// Facts about forgetting event ids: by age, by size, and what is promised meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, type TestScope, testDatabase } from '../../tests/support/database.ts';
import { ManualClock } from '../core/clock.ts';
import { createLedgerExpiry, type LedgerExpiry } from './ledger-expiry.ts';
import { asOwner, until } from './testing/pipeline.ts';
import { tenant } from './testing/records.ts';

const hourMs = 3_600_000;

interface Ledger {
  readonly clock: ManualClock;
  expiry(rowsMax: number): LedgerExpiry;
  rows(): Promise<number>;
}

/** A ledger of two tenants with 200 ids, two for each hour until now. */
async function ledger(t: TestScope): Promise<Ledger> {
  const { database, ownerUrl } = await testDatabase(t);
  const clock = new ManualClock();
  await asOwner(ownerUrl, (client) =>
    client.query(
      `INSERT INTO processed_event_ids
       SELECT tenant, 'e' || hour, '', 1, 0, hour, $1::timestamptz - hour * interval '1 hour'
       FROM unnest(ARRAY['acme', 'globex']) AS tenant, generate_series(0, 99) AS hour`,
      [new Date(clock.now())],
    ),
  );
  return {
    clock,
    expiry: (rowsMax) =>
      createLedgerExpiry({
        database,
        directory: { tenants: () => [tenant('acme'), tenant('globex')] },
        clock,
        logger: silentLogger,
        settings: {
          PULSE_PROCESS_LEDGER_RETENTION_MS: 48 * hourMs,
          PULSE_PROCESS_LEDGER_ROWS_MAX: rowsMax,
          PULSE_PROCESS_EXPIRY_INTERVAL_MS: 60_000,
        },
      }),
    rows: async () =>
      (await asOwner(ownerUrl, (client) => client.query('SELECT 1 FROM processed_event_ids'))).rows.length,
  };
}

test('forgets ids older than the retention and keeps the others', async (t) => {
  const { expiry, rows } = await ledger(t);
  const forgetting = expiry(1_000_000);
  assert.equal(await forgetting.run(), 2 * 52);
  assert.equal(await rows(), 2 * 48);
  assert.equal(await forgetting.run(), 0);
  assert.equal(forgetting.effectiveHorizonMs(), 48 * hourMs);
});

test('forgets the oldest ids beyond the size, and promises less from then on', async (t) => {
  const { clock, expiry, rows } = await ledger(t);
  const forgetting = expiry(60);
  // Postgres publishes its count of rows about a second late.
  await until(async () => (await forgetting.run()) > 0);
  await until(async () => (await rows()) <= 60 || (await forgetting.run()) < 0);
  const left = await rows();
  assert.ok(left > 30, `${left} rows are left`);
  const horizonMs = forgetting.effectiveHorizonMs();
  assert.ok(horizonMs > 14 * hourMs && horizonMs <= 30 * hourMs, `${horizonMs / hourMs} hours`);
  const restarted = expiry(1_000_000);
  await restarted.run();
  assert.equal(restarted.effectiveHorizonMs(), horizonMs, 'a restart remembers what was forgotten');
  clock.advance(40 * hourMs);
  assert.equal(restarted.effectiveHorizonMs(), 48 * hourMs, 'the horizon grows back with time');
});
