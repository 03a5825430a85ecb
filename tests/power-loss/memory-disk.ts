// A disk in memory that forgets. Bytes and names count as durable only once they were synced; a power loss keeps any
// seeded choice of the rest, 512-byte sector by sector, in any order. A kill keeps everything, as the page cache does.
import { basename, dirname } from 'node:path';
import type { FileLock, FileSystem, LogFile } from '../../src/ports/event-log/embedded/file-system.ts';
import type { SeededRandom } from './random.ts';

const sectorBytes = 512;
const pageBytes = 4_096;

type FileOperation =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly size: number };

/** Bytes that grow; copies only when they must. */
class Bytes {
  #buffer = Buffer.alloc(1_024);
  size = 0;

  view(): Buffer {
    return this.#buffer.subarray(0, this.size);
  }

  write(position: number, bytes: Buffer): void {
    const end = position + bytes.length;
    if (end > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(end, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, this.size);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, position);
    this.size = Math.max(this.size, end);
  }

  truncate(size: number): void {
    if (size < this.size) this.#buffer.fill(0, size, this.size);
    else if (size > this.size) this.write(this.size, Buffer.alloc(size - this.size));
    this.size = size;
  }

  apply(operation: FileOperation): void {
    if (operation.kind === 'truncate') this.truncate(operation.size);
    else this.write(operation.position, operation.bytes);
  }

  copyFrom(other: Bytes): void {
    this.truncate(0);
    this.write(0, other.view());
  }
}

class FileNode {
  readonly kind = 'file';
  readonly durable = new Bytes();
  readonly current = new Bytes();
  operations: FileOperation[] = [];
  /** False after a failed sync: readers then see bytes that will never reach the disk. */
  #isCoherent = true;

  apply(operation: FileOperation): void {
    this.current.apply(operation);
    this.operations.push(operation);
  }

  sync(): void {
    for (const operation of this.operations) this.durable.apply(operation);
    this.operations = [];
  }

  /** What a power loss leaves. */
  lose(random: SeededRandom): void {
    if (this.operations.length > 0) this.#keepSome(random);
    else if (this.#isCoherent) return;
    this.current.copyFrom(this.durable);
    this.#isCoherent = true;
  }

  /** A failed sync: some bytes reached the disk, the others never will, yet readers go on seeing them all. */
  failSync(random: SeededRandom): void {
    this.#keepSome(random);
    this.#isCoherent = false;
  }

  /** Each sector takes the state that it had after any number of the un-synced operations. */
  #keepSome(random: SeededRandom): void {
    const mode = random.pick(['none', 'all', 'any', 'any'] as const);
    const count = this.operations.length;
    const survives = (): number => (mode === 'none' ? 0 : mode === 'all' ? count : random.between(0, count));
    const limits = new Map<number, number>();
    const sizeLimit = survives();
    for (const [i, operation] of this.operations.entries()) {
      if (operation.kind === 'truncate') {
        if (i < sizeLimit) this.durable.truncate(operation.size);
        continue;
      }
      const end = operation.position + operation.bytes.length;
      for (let at = operation.position; at < end; ) {
        const sector = Math.floor(at / sectorBytes);
        const pieceEnd = Math.min(end, (sector + 1) * sectorBytes);
        let limit = limits.get(sector);
        if (limit === undefined) {
          limit = survives();
          limits.set(sector, limit);
        }
        const piece = operation.bytes.subarray(at - operation.position, pieceEnd - operation.position);
        if (i < limit) this.durable.write(at, piece);
        at = pieceEnd;
      }
    }
    this.operations = [];
  }
}

type DirectoryOperation =
  | { readonly kind: 'link'; readonly name: string; readonly node: Node }
  | { readonly kind: 'unlink'; readonly name: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly node: Node };

class DirectoryNode {
  readonly kind = 'directory';
  durable = new Map<string, Node>();
  current = new Map<string, Node>();
  operations: DirectoryOperation[] = [];

  apply(operation: DirectoryOperation): void {
    applyName(this.current, operation);
    this.operations.push(operation);
  }

  sync(): void {
    this.durable = new Map(this.current);
    this.operations = [];
  }

  /** Half of the losses keep a first stretch of the changes, as a journal does; the others keep any of them. */
  lose(random: SeededRandom): void {
    const ordered = random.chance(0.5);
    const prefix = random.between(0, this.operations.length);
    this.operations.forEach((operation, i) => {
      if (ordered ? i < prefix : random.chance(0.5)) applyName(this.durable, operation);
    });
    this.current = new Map(this.durable);
    this.operations = [];
    for (const node of this.current.values()) node.lose(random);
  }
}

type Node = FileNode | DirectoryNode;

function applyName(names: Map<string, Node>, operation: DirectoryOperation): void {
  if (operation.kind === 'unlink') names.delete(operation.name);
  else if (operation.kind === 'link') names.set(operation.name, operation.node);
  else {
    names.delete(operation.from);
    names.set(operation.to, operation.node);
  }
}

function fileError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

/** How the machine or the process goes down. */
export type Death = 'power' | 'kill';

/** What a mounted disk does wrong, and when. Operations are counted from 1. */
export interface Faults {
  /** The operation in which it goes down. */
  dieAt?: number;
  death?: Death;
  /** Writes that would make the disk hold more than this fail with ENOSPC, after a part of them is written. */
  bytesMax?: number;
  /** Decides for each datasync whether it fails with EIO. */
  failSync?: () => boolean;
}

/** The disk. It outlives processes and power losses; a `mount` is what one process sees of it. */
export class MemoryDisk {
  readonly random: SeededRandom;
  readonly root = new DirectoryNode();
  readonly locks = new Map<string, Mount>();
  #boot = 1;
  #mounted: Mount | null = null;

  constructor(random: SeededRandom) {
    this.random = random;
  }

  mount(faults: Faults = {}): Mount {
    this.#mounted = new Mount(this, faults, `boot-${this.#boot}`);
    return this.#mounted;
  }

  /** Ends the process that holds the mount. After 'power', only what is durable and a choice of the rest is left. */
  goDown(death: Death): void {
    if (this.#mounted !== null) this.#mounted.isDown = true;
    this.locks.clear();
    if (death === 'kill') return;
    this.#boot++;
    this.root.lose(this.random);
  }

  usedBytes(): number {
    const sizeOf = (node: Node): number =>
      node.kind === 'file'
        ? node.current.size
        : [...node.current.values()].reduce((sum, n) => sum + sizeOf(n), 0);
    return sizeOf(this.root);
  }
}

/** One process's view of the disk. */
export class Mount implements FileSystem {
  readonly disk: MemoryDisk;
  readonly faults: Faults;
  readonly #bootId: string;
  isDown = false;
  operations = 0;

  constructor(disk: MemoryDisk, faults: Faults, bootId: string) {
    this.disk = disk;
    this.faults = faults;
    this.#bootId = bootId;
  }

  bootId(): string {
    return this.#bootId;
  }

  /** Counts an operation. `cutShort` is what is left of it when the process dies inside it. */
  step(cutShort?: () => void): void {
    if (this.isDown) throw fileError('EDOWN', 'this process is no more');
    this.operations++;
    if (this.operations !== this.faults.dieAt) return;
    cutShort?.();
    this.isDown = true;
    throw fileError('EDOWN', 'this process is no more');
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.disk.root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      if (node?.kind !== 'directory') return undefined;
      node = node.current.get(name);
    }
    return node;
  }

  #directory(path: string): DirectoryNode {
    const node = this.#find(path);
    if (node?.kind !== 'directory') throw fileError('ENOENT', path);
    return node;
  }

  async open(path: string, mode: 'read' | 'update' | 'create'): Promise<LogFile> {
    this.step();
    const found = this.#find(path);
    if (mode === 'create') {
      if (found !== undefined) throw fileError('EEXIST', path);
      const made = new FileNode();
      this.#directory(dirname(path)).apply({ kind: 'link', name: basename(path), node: made });
      return new OpenFile(this, made, path);
    }
    if (found?.kind !== 'file') throw fileError('ENOENT', path);
    return new OpenFile(this, found, path);
  }

  async list(path: string): Promise<readonly string[]> {
    this.step();
    return [...this.#directory(path).current.keys()].sort();
  }

  async createDirectory(path: string): Promise<void> {
    this.step();
    let node = this.disk.root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      let next = node.current.get(name);
      if (next === undefined) {
        next = new DirectoryNode();
        node.apply({ kind: 'link', name, node: next });
      }
      if (next.kind !== 'directory') throw fileError('ENOTDIR', path);
      node = next;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    this.step();
    if (dirname(from) !== dirname(to)) throw new Error('this disk renames inside one directory only');
    const directory = this.#directory(dirname(from));
    const node = directory.current.get(basename(from));
    if (node === undefined) throw fileError('ENOENT', from);
    const target = directory.current.get(basename(to));
    if (target?.kind === 'directory' && target.current.size > 0) throw fileError('ENOTEMPTY', to);
    directory.apply({ kind: 'rename', from: basename(from), to: basename(to), node });
  }

  async removeFile(path: string): Promise<void> {
    this.step();
    if (this.#find(path)?.kind !== 'file') throw fileError('ENOENT', path);
    this.#directory(dirname(path)).apply({ kind: 'unlink', name: basename(path) });
  }

  async removeDirectory(path: string): Promise<void> {
    this.step();
    if (this.#find(path) === undefined) return;
    this.#directory(dirname(path)).apply({ kind: 'unlink', name: basename(path) });
  }

  async syncDirectory(path: string): Promise<void> {
    this.step();
    this.#directory(path).sync();
  }

  lock(path: string): FileLock | null {
    this.step();
    if (this.disk.locks.has(path)) return null;
    this.disk.locks.set(path, this);
    return { release: () => this.disk.locks.delete(path) };
  }
}

class OpenFile implements LogFile {
  readonly path: string;
  readonly #mount: Mount;
  readonly #node: FileNode;

  constructor(mount: Mount, node: FileNode, path: string) {
    this.#mount = mount;
    this.#node = node;
    this.path = path;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    this.writeSync(bytes, position);
  }

  writeSync(bytes: Uint8Array, position: number): void {
    const { disk, faults } = this.#mount;
    const put = (count: number): void =>
      this.#node.apply({ kind: 'write', position, bytes: Buffer.from(bytes.subarray(0, count)) });
    // A kill comes between two pages of the page cache, never inside one.
    const firstPage = Math.floor(position / pageBytes);
    const pages = Math.floor((position + Math.max(bytes.length, 1) - 1) / pageBytes) - firstPage + 1;
    const kept = disk.random.between(0, pages);
    this.#mount.step(() =>
      put(Math.min(bytes.length, Math.max(0, (firstPage + kept) * pageBytes - position))),
    );
    const growth = Math.max(0, position + bytes.length - this.#node.current.size);
    if (faults.bytesMax !== undefined && growth > 0 && disk.usedBytes() + growth > faults.bytesMax) {
      put(Math.floor((bytes.length - growth) / 2));
      throw fileError('ENOSPC', this.path);
    }
    put(bytes.length);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    return this.readSync(target, position);
  }

  readSync(target: Uint8Array, position: number): number {
    this.#mount.step();
    return this.#node.current.view().copy(target, 0, position, position + target.length);
  }

  async size(): Promise<number> {
    this.#mount.step();
    return this.#node.current.size;
  }

  async truncate(size: number): Promise<void> {
    this.#mount.step();
    this.#node.apply({ kind: 'truncate', size });
  }

  async datasync(): Promise<void> {
    this.#mount.step();
    if (this.#mount.faults.failSync?.() === true) {
      this.#node.failSync(this.#mount.disk.random);
      throw fileError('EIO', this.path);
    }
    this.#node.sync();
  }

  async close(): Promise<void> {
    // Closing makes nothing durable and cannot fail in a way that matters here.
  }
}
