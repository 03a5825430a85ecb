// Taking a group over is atomic: what a fenced owner commits has no effect (I11).
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../../core/errors.ts';
import { nodeFileSystem } from './file-system.ts';
import { GroupClaim, type GroupOffsets, readGroupOffsets } from './group-files.ts';
import { groupsDirectory } from './topic-files.ts';

async function folder(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pulse-groups-'));
  t.after(() => rm(directory, { recursive: true }));
  await nodeFileSystem.createDirectory(groupsDirectory(directory));
  return directory;
}

function at(revision: number, offset: number): GroupOffsets {
  return { revision, topics: new Map([['t', { incarnation: 'i', offsets: [offset] }]]) };
}

async function committed(directory: string): Promise<number | null | undefined> {
  return (await readGroupOffsets(nodeFileSystem, directory, 'g'))?.topics.get('t')?.offsets[0];
}

test('gives a group that many claim at once to one of them, and fences the others', async (t) => {
  const directory = await folder(t);
  const claims = await Promise.all(
    Array.from({ length: 8 }, () => GroupClaim.take(nodeFileSystem, directory, 'g')),
  );
  const results = await Promise.allSettled(claims.map(({ claim }, i) => claim.write(at(1, i))));
  const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []));
  assert.equal(winners.length, 1);
  for (const result of results) {
    if (result.status === 'rejected') assert.ok(hasCode(result.reason, 'PULSE_LOG_FENCED'));
  }
  assert.equal(await committed(directory), winners[0]);
});

test('hands the offsets on to the next owner, whenever it comes during a commit', async (t) => {
  const directory = await folder(t);
  let { claim } = await GroupClaim.take(nodeFileSystem, directory, 'g');
  let last = -1;
  for (let i = 0; i < 30; i++) {
    const writing = claim.write(at(i, i)).then(
      () => i,
      () => null,
    );
    const next = await GroupClaim.take(nodeFileSystem, directory, 'g');
    const written = await writing;
    const handedOn = next.offsets.topics.get('t')?.offsets[0] ?? -1;
    // Either it was written before the take-over and is handed on, or it was refused and is not there.
    assert.equal(handedOn, written ?? last);
    last = handedOn;
    claim = next.claim;
  }
});

test('falls back to the durable copy when a power loss left the newer one torn', async (t) => {
  const directory = await folder(t);
  const { claim } = await GroupClaim.take(nodeFileSystem, directory, 'g');
  await claim.writeDurably(at(1, 10));
  await claim.write(at(2, 20));
  assert.equal(await committed(directory), 20);
  const group = join(groupsDirectory(directory), 'g');
  const [generation] = await readdir(group);
  await writeFile(join(group, generation as string, 'offsets'), 'pulse-offsets 1 0000');
  assert.equal(await committed(directory), 10);
  const { offsets } = await GroupClaim.take(nodeFileSystem, directory, 'g');
  assert.deepEqual(offsets.topics.get('t')?.offsets, [10]);
});
