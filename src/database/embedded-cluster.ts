// The files of the embedded Postgres: secrets, initdb, configuration. Nothing here runs a server.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, realpath, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chooseIdentity, claimTree, commandAs, type Identity } from './embedded-identity.ts';
import { databaseError } from './errors.ts';

const run = promisify(execFile);

/** The major version of the installed binaries; a cluster belongs to one major version for ever. */
const MAJOR_VERSION = '18';

/** The role that owns everything in the embedded server. */
export const OWNER_ROLE = 'pulse';

interface ClusterSecrets {
  readonly ownerPassword: string;
  readonly appPassword: string;
}

/** What a prepared cluster needs to be started. */
export interface Cluster {
  /** The data directory of Postgres, `<dataDirectory>/postgres`. */
  readonly directory: string;
  readonly binaries: string;
  readonly identity: Identity;
  readonly secrets: ClusterSecrets;
}

/** Values of postgresql.conf that differ between uses. */
export interface ServerTuning {
  readonly sharedBuffersMib: number;
  readonly synchronousCommit: 'on' | 'off';
  /** False only for tests that never meet a power loss. */
  readonly fsync: boolean;
}

/**
 * Finds or makes the cluster in `<dataDirectory>/postgres`.
 * Guarantees: a cluster appears under its name only once it is complete and on disk; a first start that was cut short is
 * done again from nothing. Configuration is written anew at each call, so it always is that of this version.
 * Errors: PULSE_DATABASE_DIRECTORY_VERSION, PULSE_DATABASE_DIRECTORY_UNUSABLE, PULSE_DATABASE_ROOT_REFUSED.
 * Cost: 0.8 s the first time (measured), a few ms afterwards.
 */
export async function prepareCluster(
  dataDirectory: string,
  binaries: string,
  tuning: ServerTuning,
): Promise<Cluster> {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
  const directory = join(await realpath(dataDirectory), 'postgres');
  const identity = await chooseIdentity(dataDirectory, binaries);
  const version = await readText(join(directory, 'PG_VERSION'));
  const secrets = await findSecrets(dataDirectory, version !== null);
  if (version === null) await initialise(dataDirectory, directory, binaries, identity, secrets);
  else if (version.trim() !== MAJOR_VERSION) {
    throw databaseError(
      'PULSE_DATABASE_DIRECTORY_VERSION',
      `'${directory}' was made by PostgreSQL ${version.trim()}; this program brings PostgreSQL ${MAJOR_VERSION}.`,
      { details: { found: version.trim(), expected: MAJOR_VERSION } },
    );
  }
  await claimTree(directory, identity);
  await writeConfiguration(directory, identity, tuning);
  return { directory, binaries, identity, secrets };
}

async function findSecrets(dataDirectory: string, clusterExists: boolean): Promise<ClusterSecrets> {
  const path = join(dataDirectory, 'postgres-secrets.json');
  const found = await readText(path);
  if (found !== null) {
    const secrets = parseSecrets(found);
    if (secrets !== null) return secrets;
  }
  if (clusterExists) {
    throw databaseError(
      'PULSE_DATABASE_DIRECTORY_UNUSABLE',
      `'${path}' is missing or unreadable although the database beside it exists; its passwords are kept nowhere else.`,
    );
  }
  const secrets = { ownerPassword: randomPassword(), appPassword: randomPassword() };
  await writeDurably(path, `${JSON.stringify(secrets, null, 2)}\n`);
  await syncDirectory(dataDirectory);
  return secrets;
}

function parseSecrets(text: string): ClusterSecrets | null {
  try {
    const { ownerPassword, appPassword } = JSON.parse(text) as Partial<ClusterSecrets>;
    if (typeof ownerPassword !== 'string' || typeof appPassword !== 'string') return null;
    return { ownerPassword, appPassword };
  } catch {
    return null; // The caller says which file is unreadable.
  }
}

async function initialise(
  dataDirectory: string,
  directory: string,
  binaries: string,
  identity: Identity,
  secrets: ClusterSecrets,
): Promise<void> {
  if (((await readNames(directory)) ?? []).length > 0) {
    throw databaseError(
      'PULSE_DATABASE_DIRECTORY_UNUSABLE',
      `'${directory}' has files but no PG_VERSION, so it is no database; Pulse does not write over it.`,
    );
  }
  const unfinished = join(dataDirectory, 'postgres.unfinished');
  const passwordFile = join(unfinished, 'password');
  const cluster = join(unfinished, 'cluster');
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(cluster, { recursive: true, mode: 0o700 });
  await writeDurably(passwordFile, secrets.ownerPassword);
  // The two folders belong to root so far; `nobody` must be able to work in them.
  await claimTree(unfinished, identity);
  const options = [
    ...[
      '-D',
      cluster,
      '-U',
      OWNER_ROLE,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
    ],
    ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--data-checksums'],
  ];
  const command = commandAs(identity, [join(binaries, 'initdb'), ...options]);
  try {
    await run(command.argv[0], command.argv.slice(1), {
      ...command,
      timeout: 120_000,
      env: serverEnvironment(),
    });
  } catch (error) {
    throw databaseError(
      'PULSE_DATABASE_START_FAILED',
      `initdb failed in '${dataDirectory}': ${(error as { stderr?: string }).stderr?.trim() || (error as Error).message}`,
      { cause: error },
    );
  }
  await rm(directory, { recursive: true, force: true });
  await rename(cluster, directory);
  await rm(unfinished, { recursive: true, force: true });
  await syncDirectory(dataDirectory);
}

/** PATH only: variables such as PGDATA or PGOPTIONS of the caller must not reach the server. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };
}

async function writeConfiguration(
  directory: string,
  identity: Identity,
  tuning: ServerTuning,
): Promise<void> {
  const files = {
    'postgresql.conf': configuration(tuning),
    'pg_hba.conf': `${HEADER}host all         all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n`,
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    if ((await readText(path)) === content) continue;
    await writeDurably(`${path}.new`, content, identity === 'nobody' ? 65534 : undefined);
    await rename(`${path}.new`, path);
  }
}

const HEADER = '# Written by Pulse at each start; changes here are lost.\n';

function configuration(tuning: ServerTuning): string {
  return `${HEADER}
cluster_name = 'pulse'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 50
superuser_reserved_connections = 3
shared_buffers = ${tuning.sharedBuffersMib}MB
work_mem = 8MB
maintenance_work_mem = 64MB
effective_io_concurrency = 16
io_method = worker
io_workers = 2
jit = off
timezone = 'UTC'

fsync = ${tuning.fsync ? 'on' : 'off'}
full_page_writes = ${tuning.fsync ? 'on' : 'off'}
synchronous_commit = ${tuning.synchronousCommit}
wal_level = replica
recovery_init_sync_method = ${process.platform === 'linux' ? 'syncfs' : 'fsync'}
max_wal_senders = 2
wal_compression = off
wal_buffers = 16MB
# Bounds crash recovery to about 8 s on two busy cores (measured: 190 MB of WAL replayed in a second).
max_wal_size = 1536MB
min_wal_size = ${tuning.fsync ? '256MB' : '32MB'}
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9

# Events are only inserted and dropped by partition: vacuum early enough to set visibility, seldom enough to stay out of the way.
autovacuum_max_workers = 2
autovacuum_naptime = 30s
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 400

logging_collector = on
log_directory = 'log'
log_filename = 'postgres-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_line_prefix = '%m [%p] %q%u@%d/%a '
log_timezone = 'UTC'
log_min_duration_statement = 5s
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = on
log_lock_waits = on
`;
}

function randomPassword(): string {
  return randomBytes(24).toString('base64url');
}

async function writeDurably(path: string, content: string, owner?: number): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(content);
    if (owner !== undefined) await file.chown(owner, owner);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function readNames(path: string): Promise<string[] | null> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
