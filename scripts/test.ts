// `npm test`: every test that needs no outside service, by Node's own runner. `npm test -- <path or glob> …` runs a part.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

const asked = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const flags = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
const patterns = asked.length > 0 ? asked : ['{src,tests,bench,scripts}/**/*.test.ts'];
const files = patterns.flatMap((pattern) =>
  globSync(pattern.endsWith('.ts') ? pattern : `${pattern}/**/*.test.ts`),
);
if (files.length === 0) {
  console.error(`pulse: no test file matches ${patterns.join(' ')}.`);
  process.exit(2);
}
const result = spawnSync(
  process.execPath,
  [
    '--test',
    '--test-concurrency=2',
    '--test-timeout=300000',
    '--test-reporter=spec',
    ...flags,
    ...files.sort(),
  ],
  { stdio: 'inherit', env: { ...process.env, NODE_NO_WARNINGS: '1' } },
);
process.exit(result.status ?? 1);
