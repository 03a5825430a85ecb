// `npm run check`: format and lint, types, boundaries, dead code, generated docs, links. All are run; all failures show.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const bin = (name: string): string => join(root, 'node_modules', '.bin', name);

const checks: readonly { name: string; command: string; arguments: readonly string[] }[] = [
  { name: 'format and lint', command: bin('biome'), arguments: ['ci', '--error-on-warnings', '.'] },
  { name: 'types', command: bin('tsc'), arguments: ['-p', '.'] },
  { name: 'boundaries', command: process.execPath, arguments: ['scripts/boundaries.ts'] },
  { name: 'dead code', command: bin('knip'), arguments: ['--no-progress'] },
  { name: 'references and links', command: process.execPath, arguments: ['scripts/docs.ts', '--check'] },
];

const failed: string[] = [];
for (const check of checks) {
  if (!existsSync(check.command)) throw new Error(`${check.command} is missing; run npm ci`);
  const started = performance.now();
  const result = spawnSync(check.command, check.arguments, { cwd: root, encoding: 'utf8' });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const good = result.status === 0;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${check.name} (${seconds} s)`);
  if (!good) {
    failed.push(check.name);
    console.log(`${result.stdout}${result.stderr}`);
  }
}
if (failed.length > 0) {
  console.error(`check: ${failed.join(', ')} failed`);
  process.exit(1);
}
