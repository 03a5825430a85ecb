// Everything in the database that is not under the plain rule "a tenant table, row-level security enabled and forced, one policy".
// What is not in these lists and breaks the rule fails row-level-security.test.ts.

/** A named exemption. */
export interface Exemption {
  /** As Postgres prints it: a table, `table.policy`, or a function with the types of its arguments; without the schema `public`. */
  readonly name: string;
  /** Why no row of a tenant can be reached by another through it. */
  readonly reason: string;
}

/** Tables of the platform: they have no tenant_id. */
export const platformTables: readonly Exemption[] = [
  { name: 'pulse_migrations', reason: 'Which migrations were applied; pulse_app has no right on it.' },
  {
    name: 'log_epochs',
    reason: 'Topics and incarnations of the log; the name of a dedicated topic is all it has of a tenant.',
  },
  { name: 'stage_positions', reason: 'Offsets of each stage; they hold no event.' },
  { name: 'ledger_horizon', reason: 'How far back the ledger reaches; one figure for all tenants.' },
  {
    name: 'stage_errors',
    reason: 'What stopped a partition; shown to the administrator only, and holds no event.',
  },
  ...[
    'version',
    'queue',
    'schedule',
    'subscription',
    'bam',
    'job',
    'job_common',
    'warning',
    'queue_stats',
    'job_dependency',
  ].map((table) => ({
    name: `pulse_tasks.${table}`,
    reason: "The task queue's own schema; a task holds the ids of a tenant and a job, never their data.",
  })),
];

/** Policies beside `tenant_isolation`. None of them may apply to pulse_app or to everyone. */
export const extraPolicies: readonly Exemption[] = [
  {
    name: 'tenants.directory',
    reason: 'Lets the owner, as whom pulse_directory_changes runs, read under forced row-level security.',
  },
  {
    name: 'api_keys.directory',
    reason: 'Lets the owner, as whom pulse_directory_changes runs, read under forced row-level security.',
  },
];

/** Functions that run with the rights of the owner. */
export const definerFunctions: readonly Exemption[] = [
  {
    name: 'pulse_directory_changes(bigint)',
    reason:
      'A credential names no tenant before it is found, so every process knows all tenants and key hashes; holds no event.',
  },
  {
    name: 'pulse_store_make_partition(date)',
    reason: 'Makes and protects a partition of a day; takes and returns no row.',
  },
  {
    name: 'pulse_store_drop_partition(date)',
    reason: 'Drops a partition of a past day for retention; takes and returns no row.',
  },
];
