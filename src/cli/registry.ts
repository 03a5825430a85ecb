// Every command by name, loaded when it is called: `pulse start` does not pay for the others.
import type { Command } from './command.ts';

const loaders: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./commands/start.ts')).startCommand,
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand,
  send: async () => (await import('./commands/send.ts')).sendCommand,
  receipt: async () => (await import('./commands/receipt.ts')).receiptCommand,
  events: async () => (await import('./commands/events.ts')).eventsCommand,
  tail: async () => (await import('./commands/tail.ts')).tailCommand,
  'dead-letters': async () => (await import('./commands/dead-letters.ts')).deadLettersCommand,
  jobs: async () => (await import('./commands/jobs.ts')).jobsCommand,
  reconcile: async () => (await import('./commands/reconcile.ts')).reconcileCommand,
  tenant: async () => (await import('./commands/tenant.ts')).tenantCommand,
  key: async () => (await import('./commands/key.ts')).keyCommand,
  audit: async () => (await import('./commands/audit.ts')).auditCommand,
  log: async () => (await import('./commands/log.ts')).logCommand,
  backup: async () => (await import('./commands/backup.ts')).backupCommand,
  restore: async () => (await import('./commands/restore.ts')).restoreCommand,
  loadgen: async () => (await import('./commands/loadgen.ts')).loadgenCommand,
  version: async () => (await import('./commands/version.ts')).versionCommand,
};

/** Names in the order of the help, and `help` itself. */
export const commandNames: readonly string[] = [...Object.keys(loaders), 'help'];

/** The command of this name, or null. */
export async function loadCommand(name: string): Promise<Command | null> {
  const load = Object.hasOwn(loaders, name) ? loaders[name] : undefined;
  return load === undefined ? null : await load();
}

/** All commands, in the order of the help. */
export async function loadCommands(): Promise<readonly Command[]> {
  return await Promise.all(Object.values(loaders).map((load) => load()));
}
