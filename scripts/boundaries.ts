// The import rule of the house, checked on every file under src/: which room may import which.
//   core ← database ← ports (interfaces) ← telemetry, tenancy ← stages ← server
// Adapters (folders inside a port) are imported by the server and by tests alone, and may use telemetry themselves.
// Stages never import each other. Tests (`*.test.ts`, `testing/`) run real parts, so they may reach higher rooms.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const source = resolve(import.meta.dirname, '..', 'src');

/** Rooms by layer; a room may import its own layer's lower neighbours, never one that stands later in this list. */
const layers: readonly (readonly string[])[] = [
  ['core'],
  ['database'],
  ['ports'],
  ['telemetry', 'tenancy', 'contracts', 'iceberg', 'query'],
  ['collect', 'feeds', 'edge', 'process', 'store', 'lake', 'windows', 'alerts'],
  ['cli', 'server'],
];
const stages: readonly string[] = layers[4] as readonly string[];

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const pattern = /(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g;
  return [...text.matchAll(pattern)].map((match) => match[1] as string);
}

function layerOf(room: string): number {
  return layers.findIndex((rooms) => rooms.includes(room));
}

function isTestFile(path: string): boolean {
  return path.endsWith('.test.ts') || path.split('/').includes('testing');
}

/** The sentence that says why `from` may not import `to`, or null when it may. Both are paths under src/. */
export function violation(from: string, to: string): string | null {
  const [fromRoom, toRoom] = [from.split('/')[0] as string, to.split('/')[0] as string];
  if (!from.includes('/')) return null; // src/main.ts, the entry, belongs to no room
  if (layerOf(fromRoom) === -1) return `room '${fromRoom}' is no room; CONTRIBUTING.md names them`;
  if (layerOf(toRoom) === -1) return `it imports '${toRoom}', which is no room`;
  const isTest = isTestFile(from);
  const fromAdapter = fromRoom === 'ports' && from.split('/').length > 3;
  const isAdapter = toRoom === 'ports' && to.split('/').length > 3;
  const sameAdapter = from.split('/').slice(0, 3).join('/') === to.split('/').slice(0, 3).join('/');
  if (isAdapter && !sameAdapter && !isTest && !['server', 'cli'].includes(fromRoom)) {
    return 'only src/server and src/cli may import an adapter of a port; take the port as a parameter';
  }
  if (fromRoom === toRoom) return null;
  if (stages.includes(fromRoom) && stages.includes(toRoom)) {
    return 'stages meet in a log, a table or a port, and never import each other';
  }
  if (isTest || (fromAdapter && toRoom === 'telemetry')) return null;
  if (layerOf(toRoom) > layerOf(fromRoom)) return `'${toRoom}' stands above '${fromRoom}'`;
  return null;
}

/** Every violation under src/, one sentence each. */
export function violations(): string[] {
  const found: string[] = [];
  for (const file of filesUnder(source)) {
    const from = relative(source, file);
    for (const specifier of importsOf(file)) {
      const target = resolve(dirname(file), specifier);
      const to = relative(source, target);
      if (to.startsWith('..')) {
        // Tests may use tests/support; nothing else reaches out of src/.
        if (!isTestFile(from) && !specifier.endsWith('package.json')) {
          found.push(`src/${from}: '${specifier}' leaves src/`);
        }
        continue;
      }
      const reason = violation(from, to);
      if (reason !== null) found.push(`src/${from} → src/${to}: ${reason}`);
    }
  }
  return found;
}

if (import.meta.main) {
  const found = violations();
  for (const line of found) console.error(line);
  console.log(`boundaries: ${found.length} violation(s)`);
  process.exit(found.length === 0 ? 0 : 1);
}
