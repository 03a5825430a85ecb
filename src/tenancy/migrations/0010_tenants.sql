-- Tenants and their API keys, and how every process learns that one of them changed.

-- `revision` is the id of the transaction that changed the row last. It rises, and unlike a number from a sequence it can
-- be compared with a snapshot: whatever a snapshot does not see yet carries a transaction id at or above its xmin.
CREATE FUNCTION pulse_stamp_revision() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  NEW.revision := pg_current_xact_id()::text::bigint;
  RETURN NEW;
END
$$;

CREATE TABLE tenants (
  tenant_id text COLLATE "C" PRIMARY KEY CHECK (tenant_id ~ '^[a-z0-9-][a-z0-9_-]{0,62}$'),
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
  topics text NOT NULL CHECK (topics IN ('shared', 'dedicated')),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  requests_per_minute integer NOT NULL CHECK (requests_per_minute >= 1),
  client_address_policy text NOT NULL CHECK (client_address_policy IN ('keep', 'truncate', 'drop')),
  lookups jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(lookups) = 'array'),
  created_at timestamptz NOT NULL,
  revision bigint NOT NULL
);
CREATE INDEX tenants_revision ON tenants (revision);
CREATE TRIGGER stamp_revision BEFORE INSERT OR UPDATE ON tenants
  FOR EACH ROW EXECUTE FUNCTION pulse_stamp_revision();
SELECT pulse_protect('tenants');
GRANT SELECT, INSERT ON tenants TO pulse_app;
-- The id and the topics of a tenant never change.
GRANT UPDATE (name, status, requests_per_minute, client_address_policy, lookups) ON tenants TO pulse_app;

-- key_hash is the SHA-256 of the key; the key itself is shown once and kept nowhere.
CREATE TABLE api_keys (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  key_id text COLLATE "C" NOT NULL,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  key_hash bytea NOT NULL CHECK (octet_length(key_hash) = 32),
  scopes text[] NOT NULL CHECK (scopes <@ ARRAY['ingest', 'read', 'admin'] AND cardinality(scopes) BETWEEN 1 AND 3),
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  revision bigint NOT NULL,
  PRIMARY KEY (tenant_id, key_id)
);
CREATE INDEX api_keys_revision ON api_keys (revision);
CREATE TRIGGER stamp_revision BEFORE INSERT OR UPDATE ON api_keys
  FOR EACH ROW EXECUTE FUNCTION pulse_stamp_revision();
SELECT pulse_protect('api_keys');
GRANT SELECT, INSERT ON api_keys TO pulse_app;
GRANT UPDATE (revoked_at) ON api_keys TO pulse_app;

-- The directory of each process must know the keys of all tenants: a credential names no tenant before it is found.
-- Row-level security is forced, so that even the owner, as whom the function below runs, needs a policy to read.
DO $$
BEGIN
  EXECUTE format('CREATE POLICY directory ON tenants FOR SELECT TO %I USING (true)', current_user);
  EXECUTE format('CREATE POLICY directory ON api_keys FOR SELECT TO %I USING (true)', current_user);
END
$$;

-- Tenants and keys that changed in a transaction with an id of at least `since` (0: all of them, without dead keys), and
-- the horizon: what to ask for next. Every transaction below the horizon has ended and is seen by this very snapshot;
-- one that commits later has an id at or above it, so no change is missed, at the price of reading some twice.
-- STABLE matters: rows and horizon come from the one snapshot of the calling statement.
CREATE FUNCTION pulse_directory_changes(since bigint) RETURNS TABLE (kind text, entry jsonb)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'horizon', jsonb_build_object('horizon', pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
  UNION ALL
  SELECT 'tenant', jsonb_build_object(
    'tenant_id', tenant_id, 'name', name, 'topics', topics, 'status', status,
    'requests_per_minute', requests_per_minute, 'client_address_policy', client_address_policy, 'lookups', lookups)
  FROM public.tenants WHERE revision >= since
  UNION ALL
  SELECT 'key', jsonb_build_object(
    'tenant_id', tenant_id, 'key_id', key_id, 'key_hash', encode(key_hash, 'hex'), 'scopes', to_jsonb(scopes),
    'expires_at_ms', floor(extract(epoch FROM expires_at) * 1000), 'revoked', revoked_at IS NOT NULL)
  FROM public.api_keys WHERE revision >= since AND (since > 0 OR revoked_at IS NULL)
$$;
REVOKE EXECUTE ON FUNCTION pulse_directory_changes(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pulse_directory_changes(bigint) TO pulse_app;
