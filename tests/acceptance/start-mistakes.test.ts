// Mistakes at start: each is told at once, with its fix, and nothing is left running.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort, runPulse, startPulse, temporaryDirectory } from '../support/pulse.ts';

test('all configuration mistakes are reported together, each with what is allowed', async (t) => {
  const { code, output } = await runPulse(['start'], {
    PULSE_DATA_DIR: await temporaryDirectory(t),
    PULSE_PORT: 'eighty',
    PULSE_ROLES: 'everything',
    PULSE_ADMIN_TOKEN: 'short',
    PULSE_PROT: '8080',
  });
  assert.notEqual(code, 0);
  assert.match(output, /PULSE_PORT='eighty' is not a whole number from 1 to 65535/);
  assert.match(output, /PULSE_ROLES='everything' is not/);
  assert.match(output, /PULSE_PROT is no setting of Pulse. Did you mean PULSE_PORT\?/);
  assert.match(output, /PULSE_ADMIN_TOKEN=\(secret\)/);
  assert.doesNotMatch(output, /short/);
});

test('a port in use is named', async (t) => {
  const port = await freePort();
  const other = createServer().listen(port, '127.0.0.1');
  t.after(() => other.close());
  const { code, output } = await runPulse(['start'], {
    PULSE_DATA_DIR: await temporaryDirectory(t),
    PULSE_PORT: String(port),
  });
  assert.notEqual(code, 0);
  assert.match(output, new RegExp(`PULSE_SERVER_PORT_IN_USE.*${port}`, 's'));
});

test('a data directory of another version is refused untouched', async (t) => {
  const dataDirectory = await temporaryDirectory(t);
  writeFileSync(join(dataDirectory, 'pulse.json'), '{"format_version":99}');
  const { code, output } = await runPulse(['start'], {
    PULSE_DATA_DIR: dataDirectory,
    PULSE_PORT: String(await freePort()),
  });
  assert.notEqual(code, 0);
  assert.match(output, /PULSE_SERVER_DATA_DIRECTORY_VERSION/);
  assert.match(output, /format_version 99/);
});

test('a second start on a running data directory is refused, and the first goes on', async (t) => {
  const dataDirectory = await temporaryDirectory(t);
  const pulse = await startPulse(t, { dataDirectory });
  const { code, output } = await runPulse(['start'], {
    PULSE_DATA_DIR: dataDirectory,
    PULSE_PORT: String(await freePort()),
  });
  assert.notEqual(code, 0);
  assert.match(output, /PULSE_SERVER_DATA_DIRECTORY_IN_USE/);
  assert.equal((await pulse.get('/healthz')).status, 200);
});
