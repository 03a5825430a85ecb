// The folder that a backup is written to.
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CopiedFile, copyFile, listTree, writeSynced } from './backup-files.ts';

/** The folder that a backup is written to, and what has been written. */
export class Target {
  readonly root: string;
  readonly files: CopiedFile[] = [];
  readonly folders = new Set<string>();

  constructor(root: string) {
    this.root = root;
  }

  /** Copies what is wanted below `from` to the same paths; what vanishes meanwhile is left out. */
  async copyTree(
    from: string,
    isWanted: (path: string) => boolean,
    how: 'plain' | 'appended' = 'plain',
  ): Promise<void> {
    const tree = await listTree(from, isWanted);
    for (const folder of tree.folders) await this.addFolder(folder);
    // The head of a topic says how far its segments reach, so it must be the older one.
    const files = tree.files.toSorted(
      (a, b) => Number(basename(b) === 'head') - Number(basename(a) === 'head'),
    );
    for (const path of files) await this.copy(join(from, path), path, how);
  }

  async copy(source: string, path: string, how: 'plain' | 'appended' = 'plain'): Promise<boolean> {
    const copied = await copyFile(source, join(this.root, path), how);
    if (copied !== null) this.files.push({ path, ...copied });
    return copied !== null;
  }

  async write(path: string, content: string): Promise<void> {
    this.files.push({ path, ...(await writeSynced(join(this.root, path), content)) });
  }

  async addFolder(path: string): Promise<void> {
    await mkdir(join(this.root, path), { recursive: true, mode: 0o700 });
    this.folders.add(path);
  }
}
