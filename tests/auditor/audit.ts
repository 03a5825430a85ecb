// The auditor: shares no code with src/. It reads segment files by their SPEC and Postgres as the owner of the tables, and says
// whether the promises hold. It starts nothing and changes nothing.
import { Check, type CheckResult } from './check.ts';
import { eventCountsExact, stageCountsExact } from './checks/counts.ts';
import { deadLettersComplete } from './checks/dead-letters.ts';
import {
  type Acknowledged,
  acknowledgedInRaw,
  oneOutcome,
  storedContent,
  storedIsValid,
  storedOnce,
  storedOwnTheirIds,
  validChain,
  validHoldsWinnersOnce,
} from './checks/outcomes.ts';
import { positionsInBounds, positionsNeverBack } from './checks/positions.ts';
import { embeddedOwnerUrl, type PositionRow, readDatabase } from './database-facts.ts';
import { gather } from './evidence.ts';
import { readTopics } from './log-files.ts';

export interface AuditOptions {
  /** The data directory of a Pulse whose Postgres is running. */
  readonly dataDirectory: string;
  /** Owner of the tables; taken from the data directory when absent. */
  readonly ownerUrl?: string;
  /** Events that were answered 202. */
  readonly acknowledged?: readonly Acknowledged[];
  /** Nothing may be under way any more. Ask for it only after traffic has ended and the pipeline has caught up. */
  readonly isDrained?: boolean;
  /** Positions that an earlier audit saw. */
  readonly earlierPositions?: readonly PositionRow[];
  /** For tests of the auditor: SQL that takes effect inside its own snapshot and is rolled back with it. */
  readonly plantedSql?: string;
}

export interface AuditReport {
  readonly holds: boolean;
  readonly checks: readonly CheckResult[];
  readonly rawRecords: number;
  readonly storedEvents: number;
  readonly deadLetters: number;
  readonly duplicates: number;
  /** To be given to the next audit. */
  readonly positions: readonly PositionRow[];
  readonly elapsedMs: number;
}

/** Runs every check. Errors: those of the file system and of Postgres; a breach is no error. */
export async function audit(options: AuditOptions): Promise<AuditReport> {
  const startedMs = performance.now();
  const { dataDirectory, acknowledged = [], isDrained = false, earlierPositions = [] } = options;
  // The database first: whatever it knows lies in the log then, however busy Pulse is.
  const database = await readDatabase(
    options.ownerUrl ?? embeddedOwnerUrl(dataDirectory),
    options.plantedSql,
  );
  const files = new Check(
    'log_files_whole',
    'every group has a good checksum, sequences and offsets go on without a gap',
  );
  const evidence = gather(readTopics(dataDirectory, files), database);
  const checks = [
    files,
    acknowledgedInRaw(evidence, acknowledged),
    oneOutcome(evidence, isDrained),
    validHoldsWinnersOnce(evidence),
    validChain(evidence),
    storedOnce(evidence),
    storedOwnTheirIds(evidence),
    storedIsValid(evidence, isDrained),
    storedContent(evidence),
    deadLettersComplete(evidence, isDrained),
    stageCountsExact(evidence, isDrained),
    eventCountsExact(evidence),
    positionsInBounds(evidence, isDrained),
    positionsNeverBack(evidence, earlierPositions),
  ].map((check) => check.result());
  let duplicates = 0;
  for (const { outcome } of evidence.raw.values()) if (outcome === 'duplicate') duplicates++;
  return {
    holds: checks.every((check) => check.breachCount === 0),
    checks,
    rawRecords: evidence.raw.size,
    storedEvents: database.events.length,
    deadLetters: database.deadLetters.length,
    duplicates,
    positions: database.positions,
    elapsedMs: performance.now() - startedMs,
  };
}

/** The report as a table, breaches below it. */
export function describe(report: AuditReport): string {
  const width = Math.max(...report.checks.map((check) => check.name.length));
  const lines = report.checks.map(({ name, lookedAt, breachCount }) => {
    const verdict =
      breachCount > 0 ? `${breachCount} BREACHES` : lookedAt === 0 ? 'nothing to look at' : 'holds';
    return `${name.padEnd(width)}  ${String(lookedAt).padStart(9)}  ${verdict}`;
  });
  const { rawRecords, storedEvents, deadLetters, duplicates, elapsedMs } = report;
  lines.push(
    `${rawRecords} raw = ${storedEvents} stored + ${deadLetters} dead letters + ${duplicates} duplicates + what is under way; ${Math.round(elapsedMs)} ms`,
  );
  for (const { name, promise, breaches, breachCount } of report.checks) {
    if (breachCount === 0) continue;
    lines.push('', `${name}: not true that ${promise}`, ...breaches.map((breach) => `  - ${breach}`));
    if (breachCount > breaches.length) lines.push(`  … and ${breachCount - breaches.length} more`);
  }
  return lines.join('\n');
}
