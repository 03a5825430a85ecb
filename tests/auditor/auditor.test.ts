// The auditor is believed only because it finds what is planted: it passes on a healthy run and names the right check for each fault.
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pause } from '../recovery/harness/traffic.ts';
import { Trial } from '../recovery/harness/trial.ts';
import { temporaryDirectory } from '../support/pulse.ts';
import { type AuditOptions, audit } from './audit.ts';
import { embeddedOwnerUrl } from './database-facts.ts';

const oneEvent =
  "(epoch, partition, record_offset) IN (SELECT epoch, partition, record_offset FROM events WHERE protocol = 'native' LIMIT 1)";

/** SQL that breaks a promise, and exactly the checks that must say so. */
const planted: readonly {
  readonly fault: string;
  readonly sql: string;
  readonly found: readonly string[];
}[] = [
  {
    fault: 'a stored event that vanished',
    sql: `DELETE FROM events WHERE ${oneEvent}`,
    found: ['stored_is_valid', 'event_counts_exact'],
  },
  {
    fault: 'an event that is stored twice',
    sql: `INSERT INTO events SELECT (jsonb_populate_record(e, '{"record_offset": 99999999}')).* FROM events e WHERE ${oneEvent}`,
    found: ['stored_once', 'stored_own_their_ids', 'event_counts_exact'],
  },
  {
    fault: 'an event whose data was changed',
    sql: `UPDATE events SET data = '{"other": true}' WHERE ${oneEvent}`,
    found: ['stored_content'],
  },
  {
    fault: 'a count that is off by one',
    sql: "UPDATE stage_counts SET events = events + 1 WHERE stage = 'process' AND outcome = 'accepted'",
    found: ['stage_counts_exact'],
  },
  {
    fault: 'a count that is missing',
    sql: "DELETE FROM stage_counts WHERE stage = 'store'",
    found: ['stage_counts_exact'],
  },
  {
    fault: 'a dead letter that was removed',
    sql: 'DELETE FROM dead_letters WHERE dead_letter_id = (SELECT dead_letter_id FROM dead_letters LIMIT 1)',
    found: ['dead_letters_complete'],
  },
  {
    fault: 'dead letters with other bytes',
    sql: "UPDATE dead_letters SET payload = payload || '\\x20'::bytea",
    found: ['dead_letters_complete'],
  },
  {
    fault: 'an id that belongs to another position',
    sql: `UPDATE processed_event_ids SET record_offset = record_offset + 1000000 WHERE ${oneEvent}`,
    found: ['raw_has_one_outcome', 'stored_own_their_ids'],
  },
  {
    fault: 'a position beyond the log',
    sql: "UPDATE stage_positions SET log_offset = log_offset + 1000000 WHERE stage = 'store'",
    found: ['positions_in_bounds'],
  },
  {
    fault: 'a position that moved back',
    sql: "UPDATE stage_positions SET log_offset = 0 WHERE stage = 'dead-letters'",
    found: ['positions_in_bounds', 'positions_never_back'],
  },
];

test('the auditor passes on a healthy run and names each planted fault', async (t) => {
  const trial = await Trial.begin(t, 7);
  await trial.start();
  trial.traffic.start(2);
  await pause(1_500);
  const { positions } = await trial.settle('a healthy run');
  const { acknowledged } = trial.traffic;
  const options = {
    dataDirectory: trial.dataDirectory,
    acknowledged,
    isDrained: true,
    earlierPositions: positions,
  };
  assert.deepEqual(await breached(options), []);
  for (const { fault, sql, found } of planted) {
    await t.test(`in the database: ${fault}`, async () => {
      assert.deepEqual(await breached({ ...options, plantedSql: sql }), found);
    });
  }

  await t.test(
    'in what was acknowledged: an event that was never sent, a receipt that leads elsewhere',
    async () => {
      const [known] = acknowledged;
      assert.ok(known !== undefined);
      const invented = { event_id: 'never-sent', receipt_id: known.receipt_id };
      const elsewhere = {
        event_id: known.event_id,
        receipt_id: known.receipt_id.replace(/\d+$/, '99999999'),
      };
      for (const one of [invented, elsewhere])
        assert.deepEqual(await breached({ ...options, acknowledged: [one] }), ['acknowledged_in_raw']);
    },
  );

  for (const topic of ['events.raw', 'events.valid', 'events.dlq']) {
    await t.test(`in the files: a flipped byte in ${topic}`, async () => {
      const copy = await temporaryDirectory(t);
      cpSync(join(trial.dataDirectory, 'log'), join(copy, 'log'), { recursive: true });
      flipByte(join(copy, 'log', 'topics', topic));
      const ownerUrl = embeddedOwnerUrl(trial.dataDirectory);
      const names = await breached({ ...options, dataDirectory: copy, ownerUrl });
      assert.ok(names.includes('log_files_whole'), names.join());
    });
  }
  await trial.stop();
});

async function breached(options: AuditOptions): Promise<string[]> {
  const { checks } = await audit(options);
  return checks.filter((check) => check.breachCount > 0).map((check) => check.name);
}

/** Changes one bit of the first group of a topic's first segment. */
function flipByte(topicDirectory: string): void {
  const name = readdirSync(topicDirectory)
    .filter((one) => one.endsWith('.segment'))
    .sort()[0];
  assert.ok(name !== undefined, `${topicDirectory} holds no segment`);
  const path = join(topicDirectory, name);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('PGRP') + 90;
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}
