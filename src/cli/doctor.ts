// The checks of `pulse doctor`. Each one looks and tells; none changes anything.
import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync, statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { PulseError } from '../core/errors.ts';
import { databaseSettings } from '../database/config.ts';
import { postgresBinaries } from '../database/embedded-identity.ts';
import { serverSettings } from '../server/config.ts';
import { readAllSettings } from '../server/settings.ts';
import { type Environment, originOf, readOwnSettings } from './connection.ts';
import { formatBytes } from './output.ts';

/** What one check found. */
export interface Finding {
  readonly check: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly detail: string;
  /** What to do; null when there is nothing to do. */
  readonly fix: string | null;
}

export interface DoctorOptions {
  readonly environment: Environment;
  /** `--url`, when given. */
  readonly url: string | undefined;
}

const nodeMajorMin = 24;
const postgresVersionMin = 150_000;
const freeBytesMin = 256 * 1024 * 1024;
const freeBytesWanted = 2 * 1024 * 1024 * 1024;
const answerTimeoutMs = 3_000;

/** Runs every check. Guarantees: a check that breaks is a finding, never an error; ends within about 10 s. */
export async function runChecks(options: DoctorOptions): Promise<readonly Finding[]> {
  const running = await checkRunning(options);
  const isRunning = running.some(
    (finding) => finding.check === 'running' && finding.detail.includes('answers'),
  );
  const groups = await Promise.all([
    guard('node', () => [checkNode()]),
    guard('settings', () => [checkSettings(options.environment)]),
    guard('data directory', () => checkDataDirectory(options.environment)),
    guard('postgres', () => checkPostgres(options.environment)),
    guard('port', async () => [await checkPort(options.environment, isRunning)]),
  ]);
  return [...groups.flat(), ...running];
}

async function guard(check: string, look: () => Finding[] | Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    const next = error instanceof PulseError ? error.next : 'Read the message; it names what broke.';
    return [failed(check, (error as Error).message, next)];
  }
}

function ok(check: string, detail: string): Finding {
  return { check, status: 'ok', detail, fix: null };
}

function warning(check: string, detail: string, fix: string): Finding {
  return { check, status: 'warning', detail, fix };
}

function failed(check: string, detail: string, fix: string): Finding {
  return { check, status: 'failed', detail, fix };
}

function checkNode(): Finding {
  const { node } = process.versions;
  if (Number(node.split('.')[0]) >= nodeMajorMin) return ok('node', `${node} at ${process.execPath}`);
  return failed(
    'node',
    `${node} at ${process.execPath}`,
    `Pulse needs Node ${nodeMajorMin} or newer: start it with \`npm start\`, which brings its own, or install one.`,
  );
}

function checkSettings(environment: Environment): Finding {
  try {
    readAllSettings(environment);
    const given = Object.keys(environment).filter((name) => name.startsWith('PULSE_'));
    return ok('settings', given.length === 0 ? 'all defaults' : `${given.length} set, none with a mistake`);
  } catch (error) {
    if (!(error instanceof PulseError)) throw error;
    const problems = error.details?.['problems'];
    const text = Array.isArray(problems) ? problems.join(' ') : error.message;
    return failed('settings', text, error.next);
  }
}

function checkDataDirectory(environment: Environment): Finding[] {
  const path = resolve(
    readOwnSettings({ PULSE_DATA_DIR: serverSettings.PULSE_DATA_DIR }, environment).PULSE_DATA_DIR,
  );
  const existing = nearestExisting(path);
  const findings: Finding[] = [];
  if (!statSync(existing).isDirectory()) {
    return [failed('data directory', `${existing} is no folder`, 'Choose another PULSE_DATA_DIR.')];
  }
  if (isWritable(existing)) {
    findings.push(ok('data directory', existing === path ? path : `${path} (made at the first start)`));
  } else {
    const fix = `Make ${existing} writable for this user, or choose another PULSE_DATA_DIR.`;
    findings.push(failed('data directory', `${existing} is not writable for this user`, fix));
  }
  findings.push(checkSpace(existing));
  if (existing === path) findings.push(...checkContents(path));
  return findings;
}

function nearestExisting(path: string): string {
  try {
    statSync(path);
    return path;
  } catch (error) {
    const parent = dirname(path);
    if (parent === path) throw error;
    return nearestExisting(parent);
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false; // the finding says so
  }
}

function checkSpace(path: string): Finding {
  const { bavail, bsize } = statfsSync(path);
  const text = `${formatBytes(bavail * bsize)} free`;
  const fix = 'Free disk space: the log and Postgres stop accepting when the disk is full.';
  if (bavail * bsize < freeBytesMin)
    return failed('disk space', `${text}, at least ${formatBytes(freeBytesMin)} are needed`, fix);
  return bavail * bsize < freeBytesWanted ? warning('disk space', text, fix) : ok('disk space', text);
}

/** Version of an existing data directory, and who may read its secrets. */
function checkContents(path: string): Finding[] {
  const findings: Finding[] = [];
  const stamp = readText(join(path, 'pulse.json'));
  if (stamp !== null) {
    const version = /"format_version"\s*:\s*(\d+)/.exec(stamp)?.[1];
    findings.push(
      version === '1'
        ? ok('data version', 'format 1')
        : failed(
            'data version',
            `format ${version ?? 'unreadable'}; this Pulse reads format 1`,
            'Start the version that made it, or choose another PULSE_DATA_DIR.',
          ),
    );
  }
  const tokenFile = join(path, 'admin-token');
  const mode = readMode(tokenFile);
  if (mode !== null && (mode & 0o077) !== 0) {
    findings.push(
      failed('admin token', `${tokenFile} can be read by other users`, `Run: chmod 600 ${tokenFile}`),
    );
  }
  return findings;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function readMode(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mode ?? null;
}

async function checkPostgres(environment: Environment): Promise<Finding[]> {
  const url = readOwnSettings(databaseSettings, environment).PULSE_DATABASE_URL;
  if (url !== '') return [await checkOutsidePostgres(url)];
  const binary = join(postgresBinaries(), 'postgres');
  try {
    const { stdout } = await promisify(execFile)(binary, ['--version'], { timeout: answerTimeoutMs });
    return [ok('postgres', `embedded, ${stdout.trim()}`)];
  } catch (error) {
    const text = (error as { stderr?: string }).stderr?.trim() || (error as Error).message;
    return [
      failed(
        'postgres',
        `${binary} does not run: ${text}`,
        'Run `npm ci` again; the platform package is incomplete.',
      ),
    ];
  }
}

async function checkOutsidePostgres(url: string): Promise<Finding> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: answerTimeoutMs,
    query_timeout: answerTimeoutMs,
  });
  // The server may end the connection at any moment; without a listener that would end this process.
  client.on('error', () => {});
  const where = new URL(url).host;
  try {
    await client.connect();
    const found = await client.query<{ number: string; version: string }>(
      `SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS version`,
    );
    const row = found.rows[0];
    if (Number(row?.number) >= postgresVersionMin) return ok('postgres', `${row?.version} at ${where}`);
    return failed('postgres', `${row?.version} at ${where}`, 'Pulse needs PostgreSQL 15 or newer.');
  } catch (error) {
    const fix = 'Check PULSE_DATABASE_URL, that the server runs, and that its role may log in from here.';
    return failed('postgres', `${where} cannot be used: ${(error as Error).message}`, fix);
  } finally {
    await client.end().catch(() => {}); // what counts was found already
  }
}

async function checkPort(environment: Environment, isRunning: boolean): Promise<Finding> {
  const { PULSE_PORT: port, PULSE_HOST: host } = readOwnSettings(serverSettings, environment);
  const code = await listenOnce(host, port);
  if (code === null) return ok('port', `${host}:${port} is free`);
  if (code === 'EADDRINUSE' && isRunning) return ok('port', `${host}:${port} is Pulse's`);
  const fix =
    code === 'EADDRINUSE'
      ? 'Stop the program that listens there, or choose another PULSE_PORT.'
      : 'Choose another PULSE_HOST or PULSE_PORT.';
  return failed('port', `${host}:${port} cannot be used (${code})`, fix);
}

/** Null when the address can be listened on, else the error code. */
async function listenOnce(host: string, port: number): Promise<string | null> {
  return await new Promise((resolveCode) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolveCode(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolveCode(null)));
  });
}

/** The running Pulse, when there is one: not running is no failure. */
async function checkRunning(options: DoctorOptions): Promise<Finding[]> {
  let origin: string;
  try {
    origin = originOf(options.url, options.environment);
  } catch (error) {
    return [failed('running', (error as Error).message, 'Mend the settings above first.')];
  }
  let response: Response;
  try {
    response = await fetch(new URL('/readyz', origin), { signal: AbortSignal.timeout(answerTimeoutMs) });
  } catch {
    return [ok('running', `nothing runs at ${origin}; start it with \`npm start\``)];
  }
  const report = (await response.json().catch(() => null)) as { dependencies?: unknown } | null;
  if (!Array.isArray(report?.dependencies)) {
    return [
      failed(
        'running',
        `something that is not Pulse listens at ${origin}`,
        'Stop it, or choose another PULSE_PORT.',
      ),
    ];
  }
  const dependencies = report.dependencies as { name: string; status: string; detail: string }[];
  const broken = dependencies.filter((dependency) => dependency.status !== 'ok');
  if (broken.length === 0) return [ok('running', `${origin} answers and is ready`)];
  return [
    ok('running', `${origin} answers`),
    ...broken.map(({ name, detail }) =>
      failed(`running: ${name}`, detail, 'See docs/troubleshooting.md and the log lines of Pulse.'),
    ),
  ];
}
