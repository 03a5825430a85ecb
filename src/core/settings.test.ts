import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PulseError } from './errors.ts';
import { choice, flag, integer, readSettings, text, url } from './settings.ts';

const table = {
  PULSE_PORT: integer({ help: 'The port.', unit: 'port', defaultValue: 8080, min: 1, max: 65535 }),
  PULSE_MODE: choice({ help: 'The mode.', defaultValue: 'fast', values: ['fast', 'safe'] }),
  PULSE_ON: flag({ help: 'On.', defaultValue: true }),
  PULSE_TOKEN: text({
    help: 'The token.',
    defaultValue: '',
    secret: true,
    pattern: /^.{4,}$/,
    allowed: 'four characters or more',
  }),
  PULSE_DATABASE_URL: url({ help: 'The database.', schemes: ['postgres', 'postgresql'], secret: true }),
} as const;

function problems(environment: Record<string, string>): string[] {
  try {
    readSettings(table, environment);
  } catch (error) {
    assert.ok(error instanceof PulseError);
    return error.details?.['problems'] as string[];
  }
  return [];
}

test('unset and empty variables take the default', () => {
  const values = readSettings(table, { PULSE_PORT: '', OTHER: 'x' });
  assert.deepEqual(values, {
    PULSE_PORT: 8080,
    PULSE_MODE: 'fast',
    PULSE_ON: true,
    PULSE_TOKEN: '',
    PULSE_DATABASE_URL: '',
  });
});

test('every mistake is found at once, with the value and what is allowed', () => {
  const found = problems({
    PULSE_PORT: '0x1',
    PULSE_MODE: 'quick',
    PULSE_ON: 'yes',
    PULSE_DATABASE_URL: 'mysql://u:hunter2@h/d',
  });
  assert.equal(found.length, 4);
  assert.match(found[0] ?? '', /PULSE_PORT='0x1' is not a whole number from 1 to 65535/);
  assert.match(found[1] ?? '', /one of fast, safe/);
  assert.doesNotMatch(found.join(), /hunter2/);
});

test('an unknown variable is a mistake that names the nearest setting', () => {
  assert.match(problems({ PULSE_PROT: '1' })[0] ?? '', /Did you mean PULSE_PORT\?/);
  assert.match(problems({ PULSE_ZZZZZZZZZZZZZZZZ: '1' })[0] ?? '', /Remove it/);
});

test('a secret may come from a file, but not from two places', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pulse-settings-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'token');
  writeFileSync(file, 'sesame\n');
  assert.equal(readSettings(table, { PULSE_TOKEN_FILE: file }).PULSE_TOKEN, 'sesame');
  assert.match(problems({ PULSE_TOKEN_FILE: file, PULSE_TOKEN: 'other' })[0] ?? '', /both set/);
  assert.match(problems({ PULSE_TOKEN_FILE: join(folder, 'missing') })[0] ?? '', /ENOENT/);
});
