// The embedded server as real processes: first start, restart, kill -9 of either side, leftovers, users.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { silentLogger, testFolder } from '../../tests/support/database.ts';
import { hasCode } from '../core/errors.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const isLinux = process.platform === 'linux';

/** A cluster made once by a first start and copied for each test. */
let made = '';

before(async () => {
  made = await mkdtemp(join(testFolder, 'pulse-embedded-'));
  const server = await startEmbeddedPostgres({ dataDirectory: made, logger: silentLogger });
  await server.stop();
});
after(() => rm(made, { recursive: true, force: true }));

async function dataDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(testFolder, 'pulse-embedded-'));
  t.after(() => rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  await run('cp', ['-a', `${made}/.`, directory]);
  return directory;
}

async function start(t: TestContext, directory: string): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDirectory: directory, logger: silentLogger });
  t.after(() => server.stop());
  return server;
}

async function ask(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows?.map((row: object) => Object.values(row)[0] as unknown);
  } finally {
    await client.end();
  }
}

/** Asks until it is answered; for a server that is being started again. */
async function askUntilAnswered(url: string, sql: string): Promise<readonly unknown[]> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await ask(url, sql);
    } catch (error) {
      if (attempt === 200) throw error;
      await sleep(50);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** True while the process runs; one that ended and waits for its parent to notice does not. */
async function isRunning(pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const { stdout } = await run('ps', ['-o', 'stat=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout !== '' && !stdout.startsWith('Z');
}

async function awaitEnd(pid: number): Promise<void> {
  for (let attempt = 0; attempt < 200 && (await isRunning(pid)); attempt++) await sleep(50);
  assert.equal(await isRunning(pid), false, `process ${pid} still runs`);
}

interface OtherPulse {
  readonly process: ChildProcess;
  readonly ownerUrl: string;
  readonly pid: number;
}

/** Another process that starts the embedded server; `afterwards` is what it does then. */
async function otherPulse(
  t: TestContext,
  directory: string,
  options: { afterwards?: string; launcher?: readonly string[]; path?: string } = {},
): Promise<OtherPulse> {
  const script = `
    import { startEmbeddedPostgres } from ${JSON.stringify(join(import.meta.dirname, 'embedded.ts'))};
    import { pino } from 'pino';
    const dataDirectory = ${JSON.stringify(directory)};
    try {
      const server = await startEmbeddedPostgres({ dataDirectory, logger: pino({ level: 'silent' }) });
      console.log(JSON.stringify({ ownerUrl: server.ownerUrl, pid: server.pid }));
    } catch (error) {
      console.log(JSON.stringify({ code: error.code, message: error.message }));
      process.exit(1);
    }
    ${options.afterwards ?? 'setInterval(() => {}, 1000);'}`;
  const argv = [...(options.launcher ?? []), process.execPath, '--input-type=module', '-e', script];
  const child = spawn(argv[0] as string, argv.slice(1), {
    cwd: join(import.meta.dirname, '..', '..'),
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...(options.path === undefined ? {} : { PATH: options.path }) },
  });
  t.after(() => {
    child.kill('SIGKILL');
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const answer = JSON.parse(line.toString()) as {
    code?: string;
    message: string;
    ownerUrl: string;
    pid: number;
  };
  if (answer.code !== undefined) throw Object.assign(new Error(answer.message), { code: answer.code });
  t.after(() => awaitEnd(answer.pid));
  return { process: child, ownerUrl: answer.ownerUrl, pid: answer.pid };
}

async function kill9(other: OtherPulse): Promise<void> {
  const exited = once(other.process, 'exit');
  other.process.kill('SIGKILL');
  await exited;
}

test('starts durable, tuned, checked, guarded by passwords, and at lower priority', async (t) => {
  const directory = await dataDirectory(t);
  const startedMs = performance.now();
  const server = await start(t, directory);
  const elapsedMs = performance.now() - startedMs;
  assert.ok(elapsedMs < 5_000, `warm start took ${elapsedMs} ms`);
  const settings = await ask(
    server.ownerUrl,
    `SELECT name || '=' || setting FROM pg_settings WHERE name = ANY ('{fsync,synchronous_commit,data_checksums,jit,listen_addresses,wal_level,password_encryption,full_page_writes}') ORDER BY name`,
  );
  assert.deepEqual(settings, [
    'data_checksums=on',
    'fsync=on',
    'full_page_writes=on',
    'jit=off',
    'listen_addresses=127.0.0.1',
    'password_encryption=scram-sha-256',
    'synchronous_commit=on',
    'wal_level=replica',
  ]);
  const locale = await ask(
    server.ownerUrl,
    "SELECT pg_encoding_to_char(encoding) || ' ' || datlocprovider::text || ' ' || datcollate FROM pg_database WHERE datname = 'pulse'",
  );
  assert.deepEqual(locale, ['UTF8 b C']);
  assert.equal((await stat(join(directory, 'postgres-secrets.json'))).mode & 0o777, 0o600);
  const wrong = new URL(server.ownerUrl);
  wrong.password = 'guess';
  await assert.rejects(ask(wrong.href, 'SELECT 1'), /password authentication failed/);
  const { stdout } = await run('ps', ['-o', 'nice=', '-p', String(server.pid)]);
  assert.ok(Number(stdout) >= 10, `niceness is ${stdout}`);
});

test('backends sit in autogroups of lower priority', { skip: !isLinux && 'Linux only' }, async (t) => {
  const server = await start(t, await dataDirectory(t));
  const client = new Client({ connectionString: server.ownerUrl });
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const read = () => readFile(`/proc/${rows[0]?.pid}/autogroup`, 'utf8').catch(() => '');
  const first = await read();
  for (let i = 0; i < 60 && first !== '' && !(await read()).includes('nice 10'); i++) await sleep(50);
  const group = await read();
  await client.end();
  if (first === '') t.skip('this kernel has no autogroups');
  else assert.match(group, /nice 10/);
});

test('a killed server is started again on its port with all that was committed', async (t) => {
  const server = await start(t, await dataDirectory(t));
  await ask(server.ownerUrl, 'CREATE TABLE kept AS SELECT 42 AS n');
  const { pid } = server;
  const sleeping = ask(server.ownerUrl, 'SELECT pg_sleep(60)');
  sleeping.catch(() => {}); // Its backend outlives the postmaster for a moment and holds the shared memory.
  await sleep(100);
  process.kill(pid, 'SIGKILL');
  await sleep(20);
  assert.deepEqual(await askUntilAnswered(server.ownerUrl, 'SELECT n FROM kept'), [42]);
  assert.notEqual(server.pid, pid);
  await assert.rejects(sleeping);
});

test('when this process is killed the server ends by itself, and the next start has all that was committed', async (t) => {
  const directory = await dataDirectory(t);
  const other = await otherPulse(t, directory);
  await ask(other.ownerUrl, 'CREATE TABLE kept AS SELECT 42 AS n');
  await kill9(other);
  await awaitEnd(other.pid);
  const server = await start(t, directory);
  assert.deepEqual(await ask(server.ownerUrl, 'SELECT n FROM kept'), [42]);
});

test('a start right after a kill -9 of everything recovers', async (t) => {
  const directory = await dataDirectory(t);
  const other = await otherPulse(t, directory);
  await ask(other.ownerUrl, 'CREATE TABLE kept AS SELECT 42 AS n');
  process.kill(other.pid, 'SIGKILL');
  await kill9(other);
  const server = await start(t, directory);
  assert.deepEqual(await ask(server.ownerUrl, 'SELECT n FROM kept'), [42]);
});

test('when this process exits without stopping the server, it ends as well', async (t) => {
  const other = await otherPulse(t, await dataDirectory(t), { afterwards: '' });
  if (other.process.exitCode === null) await once(other.process, 'exit');
  assert.equal(other.process.exitCode, 0);
  await awaitEnd(other.pid);
});

test('a server that outlived its process and its watcher is ended by the next start', {
  skip: !isLinux && 'Linux only',
}, async (t) => {
  const directory = await dataDirectory(t);
  const other = await otherPulse(t, directory);
  await ask(other.ownerUrl, 'CREATE TABLE kept AS SELECT 42 AS n');
  process.kill(await watcherOf(directory), 'SIGKILL');
  await kill9(other);
  await sleep(100);
  assert.equal(await isRunning(other.pid), true);
  const server = await start(t, directory);
  assert.equal(await isRunning(other.pid), false);
  assert.deepEqual(await ask(server.ownerUrl, 'SELECT n FROM kept'), [42]);
});

async function watcherOf(directory: string): Promise<number> {
  for (const name of await readdir('/proc')) {
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (line.includes('read -r word') && line.includes(join(directory, 'postgres'))) return Number(name);
  }
  throw new Error('no watcher runs');
}

test('the number of a dead server that a stranger has by now does not stop a start', async (t) => {
  const directory = await dataDirectory(t);
  const first = await startEmbeddedPostgres({ dataDirectory: directory, logger: silentLogger });
  const lock = join(directory, 'postgres', 'postmaster.pid');
  const lines = (await readFile(lock, 'utf8')).split('\n');
  await first.stop();
  const stranger = spawn('sleep', ['60']);
  t.after(() => stranger.kill('SIGKILL'));
  await writeFile(lock, [stranger.pid, ...lines.slice(1)].join('\n'), { mode: 0o600 });
  const server = await start(t, directory);
  assert.deepEqual(await ask(server.ownerUrl, 'SELECT 1'), [1]);
  assert.equal(isAlive(stranger.pid as number), true);
});

test('a second start on the same directory is refused, and the first runs on', async (t) => {
  const directory = await dataDirectory(t);
  const other = await otherPulse(t, directory);
  const second = startEmbeddedPostgres({ dataDirectory: directory, logger: silentLogger });
  await assert.rejects(
    second,
    (error) => hasCode(error, 'PULSE_DATABASE_IN_USE') && /\d+/.test(error.message),
  );
  assert.deepEqual(await ask(other.ownerUrl, 'SELECT 1'), [1]);
  await kill9(other);
});

test('a directory of another version, without its secrets, or with other files is refused by name', async (t) => {
  const refuses = async (code: string, change: (directory: string) => Promise<unknown>) => {
    const directory = await dataDirectory(t);
    await change(directory);
    const started = startEmbeddedPostgres({ dataDirectory: directory, logger: silentLogger });
    await assert.rejects(started, (error) => hasCode(error, code));
  };
  await refuses('PULSE_DATABASE_DIRECTORY_VERSION', (directory) =>
    writeFile(join(directory, 'postgres', 'PG_VERSION'), '17\n'),
  );
  await refuses('PULSE_DATABASE_DIRECTORY_UNUSABLE', (directory) =>
    rm(join(directory, 'postgres-secrets.json')),
  );
  await refuses('PULSE_DATABASE_DIRECTORY_UNUSABLE', async (directory) => {
    await rm(join(directory, 'postgres'), { recursive: true });
    await mkdir(join(directory, 'postgres'));
    await writeFile(join(directory, 'postgres', 'notes.txt'), 'mine');
  });
});

test('a damaged cluster is a named error that shows what Postgres said', async (t) => {
  const directory = await dataDirectory(t);
  await rm(join(directory, 'postgres', 'global', 'pg_control'));
  const started = startEmbeddedPostgres({ dataDirectory: directory, logger: silentLogger });
  await assert.rejects(
    started,
    (error) => hasCode(error, 'PULSE_DATABASE_START_FAILED') && /pg_control/.test(error.message),
  );
});

test('a first start that was cut short is done again from nothing', async (t) => {
  const directory = await mkdtemp(join(testFolder, 'pulse-embedded-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await cp(
    join(made, 'postgres', 'PG_VERSION'),
    join(directory, 'postgres.unfinished', 'cluster', 'PG_VERSION'),
  );
  const server = await start(t, directory);
  assert.deepEqual(await ask(server.ownerUrl, 'SELECT 1'), [1]);
  assert.deepEqual((await readdir(directory)).sort(), [
    'postgres',
    'postgres-owner',
    'postgres-secrets.json',
  ]);
});

const plain = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] as const;

test('runs as a plain user', {
  skip: !isRoot && 'the other tests run as a plain user already',
}, async (t) => {
  try {
    await run(plain[0], [...plain.slice(1), 'test', '-x', process.execPath]);
  } catch {
    t.skip('a plain user cannot enter this checkout');
    return;
  }
  const directory = await mkdtemp(join(testFolder, 'pulse-embedded-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await chown(directory, 65534, 65534);
  const other = await otherPulse(t, directory, { launcher: plain });
  assert.deepEqual(await ask(other.ownerUrl, 'SELECT 1'), [1]);
  assert.equal((await stat(join(directory, 'postgres'))).uid, 65534);
  await kill9(other);
  await awaitEnd(other.pid);
});

test('as root without user namespaces, runs as nobody, and goes back', {
  skip: !isRoot && 'needs root',
}, async (t) => {
  const directory = await dataDirectory(t);
  const path = await pathWithoutUnshare(t);
  const other = await otherPulse(t, directory, { path });
  assert.deepEqual(await ask(other.ownerUrl, 'CREATE TABLE kept AS SELECT 42 AS n'), []);
  assert.equal((await stat(join(directory, 'postgres', 'base'))).uid, 65534);
  await kill9(other);
  await awaitEnd(other.pid);
  const server = await start(t, directory);
  assert.deepEqual(await ask(server.ownerUrl, 'SELECT n FROM kept'), [42]);
  assert.equal((await stat(join(directory, 'postgres', 'base'))).uid, 0);
});

test('as root where nothing works, says so', { skip: !isRoot && 'needs root' }, async (t) => {
  const closed = await mkdtemp(join(testFolder, 'pulse-embedded-'));
  t.after(() => rm(closed, { recursive: true, force: true }));
  await chmod(closed, 0o700);
  const path = await pathWithoutUnshare(t);
  await assert.rejects(otherPulse(t, join(closed, 'data'), { path }), (error) => {
    const { code, message } = error as { code?: string; message: string };
    return code === 'PULSE_DATABASE_ROOT_REFUSED' && /namespace: .*; nobody: /.test(message);
  });
});

async function pathWithoutUnshare(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(testFolder, 'pulse-path-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  for (const name of ['sh', 'nice', 'sleep']) {
    const { stdout } = await run('sh', ['-c', `command -v ${name}`]);
    await symlink(stdout.trim(), join(folder, name));
  }
  return folder;
}
