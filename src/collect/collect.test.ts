// Collect over a real HTTP server: shapes, receipts, bytes, refusals.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { rawTopic, startCollect } from '../../tests/support/collect-server.ts';

describe('POST /v1/collect', () => {
  test('accepts one event and answers with its receipt', async (t) => {
    const server = await startCollect(t);
    const body = '{"event_id":"e-1","event_type":"trip","data":{"n":1}}';
    const answer = await server.post('/v1/collect', body);
    assert.equal(answer.status, 202);
    const [record] = server.log.all(rawTopic);
    const place = `rcp_acme.7.${record?.partition}.0`;
    assert.deepEqual(answer.json, {
      accepted: 1,
      rejected: 0,
      receipts: [{ index: 0, event_id: 'e-1', receipt_id: place }],
      errors: [],
    });
    assert.equal(record?.value.toString(), body);
  });
});
