import assert from 'node:assert/strict';
import { test } from 'node:test';
import { violation } from './boundaries.ts';

test('a lower room may be imported, a higher one may not', () => {
  assert.equal(violation('process/process.ts', 'database/types.ts'), null);
  assert.match(violation('database/database.ts', 'process/index.ts') ?? '', /stands above/);
  assert.match(violation('core/errors.ts', 'ports/event-log/event-log.ts') ?? '', /stands above/);
});

test('stages never import each other', () => {
  assert.match(violation('store/store.ts', 'process/index.ts') ?? '', /never import each other/);
  assert.match(violation('store/store.test.ts', 'process/index.ts') ?? '', /never import each other/);
});

test('an adapter is imported by server, cli and tests alone', () => {
  const adapter = 'ports/event-log/embedded/index.ts';
  assert.match(violation('process/process.ts', adapter) ?? '', /adapter/);
  assert.equal(violation('process/process.test.ts', adapter), null);
  assert.equal(violation('server/event-log.ts', adapter), null);
  assert.equal(violation('ports/event-log/embedded/segment.ts', 'ports/event-log/embedded/codec.ts'), null);
  assert.equal(violation('process/process.ts', 'ports/event-log/event-log.ts'), null);
});

test('an unknown room is named', () => {
  assert.match(violation('misc/x.ts', 'core/errors.ts') ?? '', /misc/);
});
