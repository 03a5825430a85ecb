-- What the whole pipeline shares: the binding of tenants, epochs of the log, positions and counts of the stages.

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO pulse_app;

-- The tenants that this transaction is bound to; none when nothing is bound.
CREATE FUNCTION pulse_tenants() RETURNS text[]
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN string_to_array(current_setting('pulse.tenants', true), ',');

-- Puts a table, and every partition that it has, under row-level security for everyone, its owner too.
-- The sub-select makes the planner evaluate the binding once a statement instead of once a row.
CREATE FUNCTION pulse_protect(protected_table regclass) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  member regclass;
BEGIN
  FOR member IN
    SELECT protected_table
    UNION
    SELECT relid FROM pg_partition_tree(protected_table)
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', member);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', member);
    EXECUTE format(
      'CREATE POLICY tenant_isolation ON %s '
      'USING (tenant_id = ANY ((SELECT public.pulse_tenants())::text[])) '
      'WITH CHECK (tenant_id = ANY ((SELECT public.pulse_tenants())::text[]))',
      member);
  END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION pulse_protect(regclass) FROM PUBLIC;

-- One row for each (topic, incarnation) that ever was; its number stands for them in positions and receipts.
CREATE TABLE log_epochs (
  epoch integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text COLLATE "C" NOT NULL,
  incarnation text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (topic, incarnation)
);
GRANT SELECT, INSERT ON log_epochs TO pulse_app;

-- How far each stage has taken effect. source_offset: last raw offset in effect, -1 when none is;
-- log_offset: next offset to read in the stage's own input topic.
CREATE TABLE stage_positions (
  stage text COLLATE "C" NOT NULL,
  epoch integer NOT NULL REFERENCES log_epochs,
  partition integer NOT NULL CHECK (partition >= 0),
  source_offset bigint NOT NULL CHECK (source_offset >= -1),
  log_offset bigint NOT NULL CHECK (log_offset >= 0),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (stage, epoch, partition)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE ON stage_positions TO pulse_app;

-- Exact counts, written in the transaction that moves the position.
CREATE TABLE stage_counts (
  tenant_id text COLLATE "C" NOT NULL,
  received_minute timestamptz NOT NULL,
  stage text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  topic text COLLATE "C" NOT NULL,
  partition integer NOT NULL,
  events bigint NOT NULL,
  bytes bigint NOT NULL,
  PRIMARY KEY (tenant_id, received_minute, stage, outcome, topic, partition)
) WITH (fillfactor = 70);
SELECT pulse_protect('stage_counts');
GRANT SELECT, INSERT, UPDATE ON stage_counts TO pulse_app;
