-- Dead letters with their original bytes, one row per (position, stage).
CREATE TABLE dead_letters (
  tenant_id text COLLATE "C" NOT NULL,
  dead_letter_id uuid NOT NULL,
  -- The raw position that the record came from: its receipt.
  epoch integer NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  stage text COLLATE "C" NOT NULL,
  code text COLLATE "C" NOT NULL,
  event_id text COLLATE "C",
  event_type text COLLATE "C",
  -- An array of {pointer, rule, message}.
  failures jsonb NOT NULL,
  payload bytea NOT NULL,
  headers jsonb NOT NULL,
  -- Dead letters with one cause share it: code, stage, event type, and the rules broken at which generalised places.
  fingerprint text COLLATE "C" NOT NULL,
  attempts integer NOT NULL,
  state text COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'queued', 'reprocessed', 'dismissed')),
  received_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, dead_letter_id),
  UNIQUE (tenant_id, epoch, partition, record_offset, stage)
);
CREATE INDEX dead_letters_by_time ON dead_letters (tenant_id, received_at DESC, dead_letter_id DESC);
CREATE INDEX dead_letters_by_fingerprint ON dead_letters (tenant_id, fingerprint, received_at DESC);
CREATE INDEX dead_letters_by_event ON dead_letters (tenant_id, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX dead_letters_by_age ON dead_letters USING brin (created_at) WITH (autosummarize = on);
-- Payloads are JSON text mostly; lz4 reads back several times as fast as pglz. Not every server is built with it.
DO $$
BEGIN
  ALTER TABLE dead_letters ALTER COLUMN payload SET COMPRESSION lz4;
EXCEPTION
  WHEN feature_not_supported THEN NULL;
END
$$;
SELECT pulse_protect('dead_letters');
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letters TO pulse_app;
