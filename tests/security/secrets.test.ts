// Secrets at rest and on their way: keys are kept as hashes, files are closed to others, comparison takes one time, and
// logs replace what they must not hold.
import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { createLogger } from '../../src/telemetry/logger.ts';
import { equalsSecret } from '../../src/tenancy/keys.ts';
import { startPulse, temporaryDirectory } from '../support/pulse.ts';

const source = resolve(import.meta.dirname, '..', '..', 'src');

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

test('no file of a data directory holds a key or token in clear, but for the two that are meant to', async (t) => {
  const dataDirectory = await temporaryDirectory(t);
  const pulse = await startPulse(t, { dataDirectory });
  const { adminToken, demoKey } = pulse;
  const credential = adminToken;
  const made = await pulse.post(
    '/v1/tenants/demo/keys',
    { name: 'second', scopes: ['admin'] },
    { credential },
  );
  const { api_key: second, key_id: keyId } = made.body as { api_key: string; key_id: string };
  assert.equal(made.headers.get('cache-control'), 'no-store', 'the only answer with a key is not cached');
  // Used in every form, so that it had a chance to be kept somewhere.
  await pulse.post('/v1/collect', { event_type: 'used', data: {} }, { credential: second });
  await pulse.get('/v1/audit', second);
  await pulse.get('/v1/events', second);
  const shown = [`/v1/tenants/demo/keys`, '/v1/audit?tenant_id=demo', '/v1/audit'].map((path) =>
    pulse.get(path, adminToken),
  );
  const told = JSON.stringify((await Promise.all(shown)).map((answer) => answer.body));
  assert.ok(told.includes(keyId) && !told.includes(second) && !told.includes(demoKey), 'no list shows a key');
  assert.doesNotMatch(told, /key_hash/);
  assert.equal(await pulse.stop(), 0);
  const files = filesBelow(dataDirectory);
  const clear = [second, demoKey, adminToken, btoa(`${second}:`).slice(0, 40)].map((text) =>
    Buffer.from(text),
  );
  const found = files
    .filter((file) => {
      const bytes = readFileSync(file);
      return clear.some((secret) => bytes.includes(secret));
    })
    .map((file) => relative(dataDirectory, file));
  assert.deepEqual(found.sort(), ['admin-token', 'demo-key']);
  t.diagnostic(`${files.length} files searched`);

  await t.test(
    'its secrets are readable by their owner alone, its data by nobody else outside the group',
    () => {
      for (const name of ['admin-token', 'demo-key', 'postgres-secrets.json']) {
        assert.equal(statSync(join(dataDirectory, name)).mode & 0o777, 0o600, name);
      }
      assert.equal(statSync(join(dataDirectory, 'postgres')).mode & 0o077, 0);
      assert.equal(statSync(join(dataDirectory, 'log')).mode & 0o027, 0);
      for (const file of files)
        assert.equal(statSync(file).mode & 0o022, 0, `${file} may be written by others`);
      const harmless = /^(pulse\.json|pulse\.lock(-journal)?|parts\.lock(-journal)?)$/;
      for (const name of readdirSync(dataDirectory).filter((entry) => !harmless.test(entry))) {
        assert.equal(statSync(join(dataDirectory, name)).mode & 0o007, 0, `${name} may be read by everyone`);
      }
    },
  );
});

test('the admin token is compared in constant time, and nowhere by ===', () => {
  const authenticate = readFileSync(join(source, 'tenancy', 'authenticate.ts'), 'utf8');
  const keys = readFileSync(join(source, 'tenancy', 'keys.ts'), 'utf8');
  assert.match(authenticate, /equalsSecret\(credential, adminToken\)/);
  assert.match(
    keys,
    /timingSafeEqual\(hash\('sha256', presented, 'buffer'\), hash\('sha256', secret, 'buffer'\)\)/,
  );
  for (const file of globSync('**/*.ts', { cwd: source, exclude: ['**/*.test.ts', 'cli/**'] })) {
    const text = readFileSync(join(source, file), 'utf8');
    assert.doesNotMatch(
      text,
      /[!=]==?\s*(\w+\.)*(adminToken|ADMIN_TOKEN|apiKey|keyHash)\b|\b(adminToken|keyHash)\s*[!=]==?\s*[a-z(]/,
      file,
    );
  }
  assert.equal(equalsSecret('', ''), false);
  assert.equal(equalsSecret('a', 'a'), true);
  assert.equal(equalsSecret('a', 'a\u0000'), false);
});

test('only one place knows the clear key: it is hashed before it is kept or looked up', () => {
  const using = globSync('**/*.ts', { cwd: source, exclude: ['**/*.test.ts'] }).filter((file) =>
    /\bnewApiKey\(|\bhashApiKey\(/.test(readFileSync(join(source, file), 'utf8')),
  );
  assert.deepEqual(
    using.sort(),
    ['tenancy/api-keys.ts', 'tenancy/directory-state.ts', 'tenancy/keys.ts'].sort(),
  );
});

test('log lines replace planted secrets wherever code may put them', () => {
  const lines: string[] = [];
  const logger = createLogger({
    level: 'trace',
    process: 'test',
    destination: { write: (line) => void lines.push(line) },
  });
  const secret = 'planted-5e2c';
  const names = [
    'authorization',
    'cookie',
    'x-api-key',
    'apiKey',
    'api_key',
    'token',
    'adminToken',
    'password',
    'ownerPassword',
    'databaseUrl',
    'ownerUrl',
    'appUrl',
    'connectionString',
    'PULSE_ADMIN_TOKEN',
    'PULSE_DATABASE_URL',
    'PULSE_DATABASE_APP_URL',
  ];
  for (const name of names) {
    logger.info({ [name]: secret }, 'on top');
    logger.warn({ settings: { [name]: secret } }, 'in settings or headers');
    logger.error({ req: { headers: { [name]: secret } } }, 'in the headers of a request');
    logger.error({ err: Object.assign(new Error('failed'), { [name]: secret }) }, 'on an error');
    logger.child({ [name]: secret }).info('in a child');
  }
  assert.equal(lines.length, names.length * 5);
  for (const line of lines) {
    assert.ok(!line.includes(secret), line);
    assert.ok(line.includes('[redacted]'), line);
  }
});
