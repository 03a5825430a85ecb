import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ApiProblem } from './api.ts';
import { usageError } from './errors.ts';
import { cellText, errorJson, exitCodeOf, formatBytes, formatError, formatTable } from './output.ts';

interface Row {
  name: string;
  count: number;
}
const columns = [
  { title: 'NAME', value: (row: Row) => row.name },
  { title: 'COUNT', value: (row: Row) => row.count, align: 'right' as const },
];

describe('formatTable', () => {
  test('aligns words left and numbers right', () => {
    const rows = [
      { name: 'a', count: 5 },
      { name: 'longer', count: 12345 },
    ];
    assert.equal(formatTable(rows, columns), 'NAME    COUNT\na           5\nlonger  12345');
  });

  test('shows the header alone when there are no rows', () => {
    assert.equal(formatTable([], columns), 'NAME  COUNT');
  });

  test('cuts the widest column to fit the terminal and keeps the others', () => {
    const text = formatTable([{ name: 'x'.repeat(100), count: 77 }], columns, 40);
    for (const line of text.split('\n')) assert.ok(line.length <= 40, line);
    assert.match(text, /…\s+77$/);
  });

  test('lets no stored value write control sequences to the terminal', () => {
    assert.equal(cellText('a\u001b[31mred\u001b[0m\u0007\nb\u009b2J'), 'ared  b');
    assert.equal(cellText({ text: '\u001b]0;title\u0007' }).includes('\u001b'), false);
  });
});

describe('formatError', () => {
  test('shows title, detail, next move and request id of a problem', () => {
    const problem = new ApiProblem(429, {
      code: 'PULSE_COLLECT_LIMITED',
      title: 'Too many requests.',
      detail: 'Tenant demo may send 300 a minute.',
      next: 'Wait 4 s.',
      request_id: 'req_1',
    });
    assert.equal(
      formatError(problem),
      'Too many requests. (PULSE_COLLECT_LIMITED, HTTP 429)\nTenant demo may send 300 a minute.\nNext: Wait 4 s.\nRequest id: req_1',
    );
    assert.equal(errorJson(problem)['status'], 429);
    assert.equal(exitCodeOf(problem), 1);
  });

  test('copes with an answer that is no problem', () => {
    const text = formatError(new ApiProblem(502, {}));
    assert.match(text, /HTTP_502/);
  });

  test('makes wrong usage exit code 2', () => {
    assert.equal(exitCodeOf(usageError('x')), 2);
  });
});

test('formatBytes picks a unit', () => {
  assert.deepEqual(
    [formatBytes(999), formatBytes(1536), formatBytes(5 * 2 ** 30)],
    ['999 B', '1.5 KiB', '5.0 GiB'],
  );
});
