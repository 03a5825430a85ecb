// Facts about the description of collect's routes, and that Fastify never serves them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import swagger from '@fastify/swagger';
import { fastify } from 'fastify';
import { registerCollectDocs } from './docs.ts';

test('describes both routes with their bodies and answers, and serves neither', async (t) => {
  const app = fastify();
  t.after(() => app.close());
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } });
  registerCollectDocs(app);
  await app.ready();
  const paths = (app.swagger() as { paths?: Record<string, Record<string, unknown>> }).paths ?? {};
  const collect = paths['/v1/collect']?.['post'] as {
    requestBody: { content: object };
    responses: object;
  };
  assert.deepEqual(Object.keys(collect.requestBody.content), [
    'application/json',
    'application/x-ndjson',
    'application/cloudevents+json',
    'application/cloudevents-batch+json',
  ]);
  for (const status of ['202', '400', '401', '403', '408', '409', '413', '415', '422', '429', '503']) {
    assert.ok(Object.hasOwn(collect.responses, status), status);
  }
  assert.ok(paths['/events']?.['post']);
  const answer = await app.inject({ method: 'POST', url: '/events', payload: { event_type: 'x' } });
  assert.equal(answer.statusCode, 500);
});
