// A fresh database for each test that asks: one embedded server a test process, databases cut from a migrated template.
// PULSE_TEST_DATABASE_URL uses an outside server (as an owner with CREATEDB and CREATEROLE) instead.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, utimes } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { pino } from 'pino';
import { deriveAppUrl } from '../../src/database/connect.ts';
import { openDatabase } from '../../src/database/database.ts';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { findMigrations, migrate } from '../../src/database/migrate.ts';
import type { Database } from '../../src/database/types.ts';

/** Speaks to nobody; for parts that need a logger. */
export const silentLogger = pino({ level: 'silent' });

/** The part of node:test's TestContext that is used, so that a suite can give its own `after`. */
export interface TestScope {
  after(work: () => Promise<void>): void;
}

export interface TestDatabase {
  /** As `pulse_app`, as the running program sees it. */
  readonly database: Database;
  /** As the owner: for looking behind row-level security and for breaking things on purpose. */
  readonly ownerUrl: string;
  readonly appUrl: string;
}

/**
 * A fresh database with all migrations applied. It goes away some time after the test, so whatever the test's own `after`
 * stops can still use it.
 * Cost: about 0.4 s for the first one in a process (2 s more after a migration has changed), 50 ms for each further one.
 */
export async function testDatabase(t: TestScope): Promise<TestDatabase> {
  const { ownerUrl, appUrl, used } = await createDatabase(t, (await server()).template);
  const database = await openDatabase({
    url: appUrl,
    poolSize: 4,
    applicationName: 'pulse-test',
    statementTimeoutMs: 20_000,
    logger: silentLogger,
  });
  used.database = database;
  return { database, ownerUrl, appUrl };
}

/** A fresh database without any migration. */
export async function emptyTestDatabase(t: TestScope): Promise<Pick<TestDatabase, 'ownerUrl' | 'appUrl'>> {
  const { ownerUrl, appUrl } = await createDatabase(t, 'template0');
  return { ownerUrl, appUrl };
}

/** A database that was given out. */
interface UsedDatabase {
  readonly name: string;
  database: Database | null;
  finishedMs: number;
}

const usedDatabases = new Set<UsedDatabase>();
let count = 1;

async function createDatabase(t: TestScope, template: string) {
  const { ownerUrl, appUrl } = await server();
  await dropFinished(ownerUrl, performance.now() - 3_000);
  const used: UsedDatabase = {
    name: `pulse_test_${process.pid}_${count++}`,
    database: null,
    finishedMs: Infinity,
  };
  await asOwner(ownerUrl, (client) => client.query(`CREATE DATABASE ${used.name} TEMPLATE ${template}`));
  usedDatabases.add(used);
  // Hooks of a test run in the order in which they were given, so nothing may be closed in this one.
  t.after(async () => {
    used.finishedMs = performance.now();
  });
  return { ownerUrl: withDatabase(ownerUrl, used.name), appUrl: withDatabase(appUrl, used.name), used };
}

async function dropFinished(ownerUrl: string, beforeMs: number): Promise<void> {
  for (const used of usedDatabases) {
    if (used.finishedMs > beforeMs) continue;
    usedDatabases.delete(used);
    await used.database?.close();
    await asOwner(ownerUrl, (client) => drop(client, used.name));
  }
}

/** Without FORCE, which an owner may not use against the connections of another role; those end on their own. */
async function drop(client: Client, name: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(`DROP DATABASE ${name}`);
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== '55006') throw error;
      if (attempt === 5) {
        process.emitWarning(`${name} is still in use and was not dropped`);
        return;
      }
      await new Promise((resume) => setTimeout(resume, 100));
    }
  }
}

interface TestServer {
  readonly ownerUrl: string;
  readonly appUrl: string;
  /** Name of the migrated database that the others are copied from. */
  readonly template: string;
}

let started: Promise<TestServer> | undefined;

function server(): Promise<TestServer> {
  const outside = process.env['PULSE_TEST_DATABASE_URL'];
  started ??= outside === undefined || outside === '' ? embeddedServer() : outsideServer(outside);
  return started;
}

async function outsideServer(ownerUrl: string): Promise<TestServer> {
  const template = `pulse_test_template_${await fingerprint()}`;
  const appUrl = process.env['PULSE_TEST_DATABASE_APP_URL'] || deriveAppUrl(ownerUrl);
  await asOwner(ownerUrl, async (client) => {
    // Held until the connection ends, so that processes that start together make the template once.
    await client.query('SELECT pg_advisory_lock(78574)');
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [template]);
    if (found.rowCount !== 0) return;
    const unfinished = `${template}_unfinished`;
    await client.query(`DROP DATABASE IF EXISTS ${unfinished} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${unfinished} TEMPLATE template0`);
    await migrate({
      ownerUrl: withDatabase(ownerUrl, unfinished),
      appUrl: withDatabase(appUrl, unfinished),
      logger: silentLogger,
    });
    await client.query(`ALTER DATABASE ${unfinished} RENAME TO ${template}`);
  });
  process.once('beforeExit', () => void dropFinished(ownerUrl, Infinity));
  return { ownerUrl, appUrl, template };
}

const prefix = 'pulse-test-postgres-';

/**
 * Memory where the machine has 2 GiB of it to spare as files, else the folder for temporary files. Measured on a disk that other tests
 * keep busy: 0.4 s instead of 2 s for a server, 50 instead of 150 ms for a database.
 */
export const testFolder = memoryFolder() ?? tmpdir();

function memoryFolder(): string | null {
  const path = '/dev/shm';
  if (process.env['TMPDIR'] !== undefined) return null;
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize > 2 * 1024 ** 3 ? path : null;
  } catch {
    return null; // Only Linux has it.
  }
}

async function embeddedServer(): Promise<TestServer> {
  removeLeftovers();
  const prepared = await preparedDirectory();
  const directory = await ownDirectory();
  await promisify(execFile)('cp', ['-a', `${prepared}/.`, directory]);
  const running = await startTestServer(directory);
  process.once('exit', () => {
    process.kill(running.pid, 'SIGQUIT');
    waitUntilGone(join(directory, 'postgres', 'postmaster.pid'));
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  });
  return {
    ownerUrl: withDatabase(running.ownerUrl, 'postgres'),
    appUrl: withDatabase(running.appUrl, 'postgres'),
    template: 'pulse',
  };
}

/** A stopped data directory with a migrated database, shared by all test processes of this user and copied by each. */
async function preparedDirectory(): Promise<string> {
  const path = join(testFolder, `pulse-test-template-${userInfo().uid}-${await fingerprint()}`);
  if (existsSync(path)) {
    await utimes(path, new Date(), new Date());
    return path;
  }
  const directory = await ownDirectory();
  try {
    const running = await startTestServer(directory);
    await migrate({ ownerUrl: running.ownerUrl, appUrl: running.appUrl, logger: silentLogger });
    await running.stop();
    await rename(directory, path);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error; // Another process was first.
  }
  return path;
}

function startTestServer(dataDirectory: string) {
  // No test of this server meets a power loss; those that do start their own.
  const tuning = { fsync: false, sharedBuffersMib: 64, synchronousCommit: 'off' } as const;
  return startEmbeddedPostgres({ dataDirectory, logger: silentLogger, tuning });
}

function ownDirectory(): Promise<string> {
  return mkdtemp(join(testFolder, `${prefix}${process.pid}-`));
}

/** Changes with the migrations and with the way clusters are made. */
async function fingerprint(): Promise<string> {
  const source = join(import.meta.dirname, '..', '..', 'src');
  const hash = createHash('sha256');
  for (const { name, checksum } of await findMigrations(source)) hash.update(`${name} ${checksum}\n`);
  hash.update(await readFile(join(source, 'database', 'embedded-cluster.ts')));
  return hash.digest('hex').slice(0, 16);
}

/** Removes directories of test processes that were killed (their servers have ended by themselves) and templates out of use. */
function removeLeftovers(): void {
  for (const name of readdirSync(testFolder)) {
    const path = join(testFolder, name);
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length).split('-')[0]) : 0;
    if (pid > 0 ? isAlive(pid) : !isOldTemplate(path)) continue;
    rmSync(path, { recursive: true, force: true, maxRetries: 10 });
  }
}

function isOldTemplate(path: string): boolean {
  if (!path.startsWith(join(testFolder, `pulse-test-template-${userInfo().uid}-`))) return false;
  const status = statSync(path, { throwIfNoEntry: false });
  return status !== undefined && Date.now() - status.mtimeMs > 30 * 60_000;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function waitUntilGone(path: string): void {
  const waiting = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < 500 && existsSync(path); i++) Atomics.wait(waiting, 0, 0, 10);
}

async function asOwner<Result>(url: string, work: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}
