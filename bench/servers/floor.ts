// The floor of B1: a bare node:http server that parses JSON and answers once a group fdatasync has made the body durable
// in a file written full of zeros. No routing, no key, no limit, no framing: what Pulse is compared with.
// Prints its port; ends with its standard input.
import { closeSync, fdatasync, fsyncSync, openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import process from 'node:process';

const fileBytes = 256 * 1024 * 1024;
const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: node floor.ts FOLDER');
const file = openSync(join(folder, 'floor.log'), 'w+');
const zeros = Buffer.alloc(4 * 1024 * 1024);
for (let at = 0; at < fileBytes; at += zeros.length) writeSync(file, zeros, 0, zeros.length, at);
// Or the first measured sync would pay for the filling.
fsyncSync(file);

let position = 0;
let waiting: { body: Buffer; done: (failed: boolean) => void }[] = [];
let isSyncing = false;

/** Writes everything that waits as one group, makes it durable, answers, and goes on with what came meanwhile. */
function flush(): void {
  if (isSyncing || waiting.length === 0) return;
  const group = waiting;
  waiting = [];
  isSyncing = true;
  const bytes = Buffer.concat(group.map((each) => each.body));
  // A ring instead of ever new segments: the floor must not pay for what it does not promise.
  if (position + bytes.length > fileBytes) position = 0;
  writeSync(file, bytes, 0, bytes.length, position);
  position += bytes.length;
  fdatasync(file, (error) => {
    isSyncing = false;
    for (const each of group) each.done(error !== null);
    flush();
  });
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    try {
      JSON.parse(body.toString('utf8'));
    } catch {
      response.writeHead(400).end();
      return;
    }
    const done = (failed: boolean): void => {
      const answer = '{"accepted":1,"rejected":0,"receipts":[],"errors":[]}';
      response.writeHead(failed ? 503 : 202, {
        'content-type': 'application/json',
        'content-length': answer.length,
      });
      response.end(answer);
    };
    waiting.push({ body, done });
    // One turn of the event loop gathers the requests of all sockets that are readable now.
    if (waiting.length === 1) setImmediate(flush);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});
process.stdin.resume();
process.stdin.on('end', () => {
  closeSync(file);
  process.exit(0);
});
