// Facts about enrichment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tenant } from '../../tenancy/types.ts';
import { rawRecord, receivedAtMs, sharedTopic, tenant } from '../testing/records.ts';
import { type JudgedEvent, judge } from './judge.ts';

function enriched(
  value: object | string,
  headers: Record<string, string> = {},
  facts: Partial<Tenant> = {},
): { traceId: string | null; facts: Record<string, unknown> } {
  const judged = judge(rawRecord(value, { headers }), sharedTopic(tenant('acme', facts)));
  assert.equal(judged.kind, 'event');
  const written = JSON.parse((judged as JudgedEvent).value.toString()) as {
    trace_id: string | null;
    enrichment: Record<string, unknown>;
  };
  return { traceId: written.trace_id, facts: written.enrichment };
}

const event = { event_type: 'a', data: { region: 'eu', nested: { 'a/b': 4 } } };

test('delay is receive time minus event time, negative for the future', () => {
  assert.equal(enriched({ ...event, event_time: receivedAtMs - 1500 }).facts['delay_ms'], 1500);
  assert.equal(enriched({ ...event, event_time: receivedAtMs + 60_000 }).facts['delay_ms'], -60_000);
});

test('the client address follows the policy of the tenant', () => {
  const headers = { pulse_client_address: '203.0.113.9' };
  assert.equal(
    enriched(event, headers, { clientAddressPolicy: 'keep' }).facts['client_address'],
    '203.0.113.9',
  );
  assert.equal(
    enriched(event, headers, { clientAddressPolicy: 'truncate' }).facts['client_address'],
    '203.0.113.0',
  );
  assert.equal('client_address' in enriched(event, headers, { clientAddressPolicy: 'drop' }).facts, false);
});

test('the trace id comes from a valid traceparent only', () => {
  const id = '4bf92f3577b34da6a3ce929d0e0e4736';
  assert.equal(enriched(event, { traceparent: `00-${id}-00f067aa0ba902b7-01` }).traceId, id);
  assert.equal(enriched(event, { traceparent: `00-${'0'.repeat(32)}-00f067aa0ba902b7-01` }).traceId, null);
  assert.equal(enriched(event, { traceparent: 'nonsense' }).traceId, null);
});

test('lookups pick entries by the value at a pointer, never inherited names', () => {
  const lookups = [
    { name: 'region', pointer: '/data/region', values: { eu: { currency: 'EUR' } } },
    { name: 'escaped', pointer: '/data/nested/a~1b', values: { '4': 'four' } },
    { name: 'missing', pointer: '/data/none', values: {} },
    { name: 'inherited', pointer: '/event_type', values: {} },
  ];
  const value = { ...event, event_type: 'constructor' };
  assert.deepEqual(enriched(value, {}, { lookups }).facts['lookups'], {
    region: { currency: 'EUR' },
    escaped: 'four',
  });
});

test('a hostile user agent is cut and cleaned', () => {
  const { facts } = enriched(event, { pulse_user_agent: `\0\ud800${'x'.repeat(5000)}` });
  assert.equal((facts['user_agent'] as string).length, 512);
  assert.ok(!(facts['user_agent'] as string).includes('\0'));
});
