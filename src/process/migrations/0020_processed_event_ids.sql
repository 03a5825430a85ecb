-- The ledger: which raw position owns an event id. A record of events.raw becomes valid iff the row holds its own position.
-- Spread over eight tables so that vacuum and expiry work on small pieces.
CREATE TABLE processed_event_ids (
  tenant_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  -- '' for native events; CloudEvents are unique only within their source. Sources over 200 bytes are kept as their hash.
  event_source text COLLATE "C" NOT NULL,
  epoch integer NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  claimed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, event_id, event_source)
) PARTITION BY HASH (tenant_id, event_id);

DO $$
BEGIN
  FOR remainder IN 0..7 LOOP
    -- Rows are only inserted, and removed oldest first: vacuum by inserts is needed for the visibility map alone.
    EXECUTE format(
      'CREATE TABLE processed_event_ids_%s PARTITION OF processed_event_ids FOR VALUES WITH (MODULUS 8, REMAINDER %s) '
      'WITH (autovacuum_vacuum_insert_threshold = 500000, autovacuum_vacuum_insert_scale_factor = 0.5, '
      'autovacuum_vacuum_scale_factor = 0.05)', remainder, remainder);
    -- Expiry removes rows from one piece at a time.
    EXECUTE format('GRANT SELECT, DELETE ON processed_event_ids_%s TO pulse_app', remainder);
  END LOOP;
END
$$;
-- Rows arrive in order of their time, so a block range index finds the oldest at no cost for inserts.
CREATE INDEX processed_event_ids_by_age ON processed_event_ids USING brin (claimed_at)
  WITH (pages_per_range = 32, autosummarize = on);
SELECT pulse_protect('processed_event_ids');
GRANT SELECT, INSERT, DELETE ON processed_event_ids TO pulse_app;

-- How far the ledger has been emptied by size: ids claimed up to then may be forgotten although they are younger than
-- the ledger's age. One row; no tenant's data.
CREATE TABLE ledger_horizon (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  forgotten_through timestamptz
);
INSERT INTO ledger_horizon DEFAULT VALUES;
GRANT SELECT, UPDATE ON ledger_horizon TO pulse_app;
