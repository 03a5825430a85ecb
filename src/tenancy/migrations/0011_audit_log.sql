-- The audit log: who did what, append-only and hash-chained. Each tenant has a chain; `_platform` is the platform's own.

CREATE TABLE audit_log (
  tenant_id text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL CHECK (sequence >= 1),
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  details jsonb NOT NULL,
  previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  PRIMARY KEY (tenant_id, sequence)
);
SELECT pulse_protect('audit_log');
GRANT SELECT, INSERT ON audit_log TO pulse_app;

CREATE FUNCTION pulse_refuse_audit_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_log
  FOR EACH ROW EXECUTE FUNCTION pulse_refuse_audit_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION pulse_refuse_audit_change();

-- The last row of each chain. A chain alone cannot tell that its newest rows were taken away; its head can.
CREATE TABLE audit_heads (
  tenant_id text COLLATE "C" PRIMARY KEY,
  sequence bigint NOT NULL CHECK (sequence >= 1),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
SELECT pulse_protect('audit_heads');
GRANT SELECT, INSERT, UPDATE ON audit_heads TO pulse_app;
