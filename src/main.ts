#!/usr/bin/env node
// The `pulse` command. Reads the words of the call and hands them to the command line in src/cli.
import process from 'node:process';
import { runCli } from './cli/cli.ts';
import { exitCode } from './cli/errors.ts';

// `start` stops gracefully by itself: it registers its own handlers, and a second signal must reach it.
const words = process.argv.slice(2);
const interrupt = new AbortController();
if (words[0] !== 'start') {
  const stop = (): void => {
    // A second Ctrl-C ends a command that does not come to its end.
    if (interrupt.signal.aborted) process.exit(exitCode.interrupted);
    interrupt.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}
// `pulse events | head` closes our output early; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCode.ok);
  throw error;
});

process.exitCode = await runCli({
  words,
  environment: process.env,
  terminal: {
    out: (text) => process.stdout.write(`${text}\n`),
    error: (text) => process.stderr.write(`${text}\n`),
    isTerminal: process.stdout.isTTY === true,
    columns: process.stdout.columns ?? 120,
  },
  signal: interrupt.signal,
});
