// The main job on real input: every payload of the webhooks corpus, as native events and through the public CloudEvents SDK.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CloudEvent, HTTP } from 'cloudevents';
import { createEmbeddedEventLog } from '../../src/ports/event-log/embedded/index.ts';
import { readAllSettings } from '../../src/server/settings.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { type RunningPulse, startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';

const corpus = join(import.meta.dirname, '..', 'fixtures', 'github-webhooks', 'payloads');
const payloads = globSync('**/*.json', { cwd: corpus })
  .sort()
  .map((file) => ({
    type: `github.${file.split('/')[0]}`,
    id: `hook-${file}`,
    text: readFileSync(join(corpus, file), 'utf8'),
  }));

interface Receipts {
  accepted: number;
  receipts: { event_id: string; receipt_id: string }[];
}
interface Reconciliation {
  accepted: number;
  stored: number;
  duplicates: number;
  dead_letters: number;
  in_flight: number;
  closed: boolean;
}

function nativeBody(payload: (typeof payloads)[number]): string {
  return `{"event_id":${JSON.stringify(payload.id)},"event_type":"${payload.type}","data":${payload.text}}`;
}

async function settled(pulse: RunningPulse, accepted: number): Promise<Reconciliation> {
  let last: Reconciliation | undefined;
  await waitFor(
    async () => {
      last = (await pulse.get('/v1/reconciliation')).body as Reconciliation;
      return last.accepted === accepted && last.in_flight === 0;
    },
    { timeoutMs: 15_000, what: () => `${accepted} events to be settled; last ${JSON.stringify(last)}` },
  );
  return last as Reconciliation;
}

async function rawValues(pulse: RunningPulse): Promise<Map<string, Buffer>> {
  const settings = readAllSettings({});
  const logger = createLogger({ level: 'silent', process: 'test' });
  const log = await createEmbeddedEventLog({ directory: join(pulse.dataDirectory, 'log'), settings, logger });
  const values = new Map<string, Buffer>();
  for (const { partition, earliest, end } of await log.bounds('events.raw')) {
    for (let offset = earliest; offset < end; ) {
      const records = await log.read('events.raw', partition, offset, {
        recordsMax: 100,
        bytesMax: 4_194_304,
      });
      for (const record of records) values.set(record.headers['ce_id'] ?? '', Buffer.from(record.value));
      offset += records.length;
    }
  }
  await log.close();
  return values;
}

test('every webhook is stored once, byte-exact in raw; sent again, no row is added and the receipts say duplicate', async (t) => {
  const pulse = await startPulse(t, { dataDirectory: await temporaryDirectory(t) });
  assert.equal(payloads.length, 60);
  const send = async (): Promise<string[]> => {
    const receipts: string[] = [];
    for (const payload of payloads) {
      const answer = (await pulse.post('/v1/collect', nativeBody(payload))).body as Receipts;
      assert.equal(answer.accepted, 1, payload.id);
      receipts.push(answer.receipts[0]?.receipt_id ?? '');
    }
    return receipts;
  };
  await send();
  assert.deepEqual(await settled(pulse, 60), {
    ...(await settled(pulse, 60)),
    stored: 60,
    duplicates: 0,
    dead_letters: 0,
    closed: true,
  });
  const raw = await rawValues(pulse);
  for (const payload of payloads)
    assert.equal(raw.get(payload.id)?.toString(), nativeBody(payload), payload.id);

  const again = await send();
  const after = await settled(pulse, 120);
  assert.equal(after.stored, 60);
  assert.equal(after.duplicates, 60);
  for (const receipt of again) {
    const state = ((await pulse.get(`/v1/receipts/${receipt}`)).body as { state: string }).state;
    assert.equal(state, 'duplicate', receipt);
  }
});

test('the public CloudEvents SDK delivers every webhook in structured and binary mode', async (t) => {
  const pulse = await startPulse(t, { dataDirectory: await temporaryDirectory(t) });
  for (const payload of payloads) {
    for (const mode of ['structured', 'binary'] as const) {
      const event = new CloudEvent({
        id: `${mode}-${payload.id}`,
        source: '/webhooks',
        type: payload.type,
        data: JSON.parse(payload.text) as Record<string, unknown>,
      });
      const message = mode === 'structured' ? HTTP.structured(event) : HTTP.binary(event);
      const headers = Object.fromEntries(
        Object.entries(message.headers).map(([name, value]) => [name, String(value)]),
      );
      const answer = await pulse.post('/v1/collect', String(message.body), { headers });
      assert.equal(answer.status, 202, JSON.stringify(answer.body));
    }
  }
  const after = await settled(pulse, 120);
  assert.equal(after.stored, 120);
  const sample = payloads[7] as (typeof payloads)[number];
  for (const mode of ['structured', 'binary']) {
    const found = (await pulse.get(`/v1/events?event_id=${encodeURIComponent(`${mode}-${sample.id}`)}`))
      .body as {
      events: { data: unknown; event_type: string }[];
    };
    assert.equal(found.events[0]?.event_type, sample.type);
    assert.deepEqual(found.events[0]?.data, JSON.parse(sample.text));
  }
});
