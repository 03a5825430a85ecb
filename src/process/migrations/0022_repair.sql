-- Repair of dead letters: their states, what was asked for, what became of each item, and which record is which attempt.
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_state_check;
-- open → reprocessing → repaired | duplicate | open again; open → discarded. Nothing leaves repaired, duplicate or discarded.
ALTER TABLE dead_letters ADD CONSTRAINT dead_letters_state_check
  CHECK (state IN ('open', 'reprocessing', 'repaired', 'duplicate', 'discarded'));
ALTER TABLE dead_letters ADD COLUMN discard_reason text;

-- The ledger of attempts: which raw record is attempt n of the dead letter at (epoch, partition, record_offset). The first record
-- that process judges owns the attempt; a further one is a repeat and without effect. Outlives the dead letter, for receipts.
CREATE TABLE repair_attempts (
  tenant_id text COLLATE "C" NOT NULL,
  epoch integer NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  attempt integer NOT NULL,
  attempt_epoch integer NOT NULL,
  attempt_partition integer NOT NULL,
  attempt_offset bigint NOT NULL,
  -- Null only inside the transaction that judges.
  outcome text COLLATE "C" CHECK (outcome IN ('valid', 'duplicate', 'dead_letter')),
  code text COLLATE "C",
  failures jsonb,
  judged_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, epoch, partition, record_offset, attempt)
);
CREATE INDEX repair_attempts_by_age ON repair_attempts USING brin (judged_at) WITH (autosummarize = on);
SELECT pulse_protect('repair_attempts');
GRANT SELECT, INSERT, UPDATE, DELETE ON repair_attempts TO pulse_app;

CREATE TABLE repair_jobs (
  tenant_id text COLLATE "C" NOT NULL,
  job_id uuid NOT NULL,
  state text COLLATE "C" NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'running', 'cancelling', 'cancelled', 'succeeded', 'failed')),
  dry_run boolean NOT NULL DEFAULT false,
  -- {filter} or {ids}, as asked.
  selection jsonb NOT NULL,
  -- The JSON Patch as its own bytes: its numbers are kept as they were written.
  patch bytea,
  actor text NOT NULL,
  -- Counts the runs; a run whose number is not the newest stops.
  run integer NOT NULL DEFAULT 0,
  -- Items; null until they have been picked out.
  total integer,
  -- True when more dead letters matched than one job may hold.
  truncated boolean NOT NULL DEFAULT false,
  error text,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, job_id)
);
CREATE INDEX repair_jobs_by_time ON repair_jobs (tenant_id, created_at DESC, job_id DESC);
SELECT pulse_protect('repair_jobs');
GRANT SELECT, INSERT, UPDATE, DELETE ON repair_jobs TO pulse_app;

CREATE TABLE repair_items (
  tenant_id text COLLATE "C" NOT NULL,
  job_id uuid NOT NULL,
  item integer NOT NULL,
  dead_letter_id uuid NOT NULL,
  -- waiting → sent (the attempt is or will be in the raw log) → done.
  state text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'done')),
  result text COLLATE "C",
  detail text,
  -- What was found when it is still invalid: an array of {pointer, rule, message}.
  failures jsonb,
  -- Beside `sent`: the attempt, the dead letter's position, and the place of the raw log from which on the attempt may be found.
  attempt integer,
  epoch integer,
  partition integer,
  record_offset bigint,
  target_epoch integer,
  target_partition integer,
  scan_from bigint,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, job_id, item)
);
CREATE INDEX repair_items_by_age ON repair_items USING brin (created_at) WITH (autosummarize = on);
CREATE INDEX repair_items_open ON repair_items (tenant_id, job_id, state, item) WHERE state <> 'done';
SELECT pulse_protect('repair_items');
GRANT SELECT, INSERT, UPDATE, DELETE ON repair_items TO pulse_app;
