-- Stored events, one partition for each UTC day of receipt, so that retention is a DROP TABLE and never a DELETE.
--
-- Indexes, as few as the searches allow (each costs about a tenth of the insert rate):
--   primary key            an event by its id over all days; with the position, the second guard of "exactly once"
--                          (the id alone is not unique: CloudEvents are unique only within their source)
--   events_by_time         pages of a tenant, newest first; events of one millisecond are told apart by a sort
--   events_by_type         the same for one type
--   events_by_key/_request only the rows that carry one
CREATE TABLE events (
  tenant_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  received_at timestamptz NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  event_time timestamptz NOT NULL,
  schema_version text COLLATE "C",
  subject text COLLATE "C",
  source text COLLATE "C",
  idempotency_key text COLLATE "C",
  request_id text COLLATE "C",
  protocol text COLLATE "C" NOT NULL,
  attempt integer NOT NULL,
  trace_id text COLLATE "C",
  enrichment jsonb NOT NULL,
  data jsonb,
  -- The raw position that the event came from: its receipt.
  epoch integer NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  -- Length of the canonical envelope; bounds a page before its events are read.
  bytes integer NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, event_id, received_at, epoch, partition, record_offset)
) PARTITION BY RANGE (received_at);

CREATE INDEX events_by_time ON events (tenant_id, received_at);
CREATE INDEX events_by_type ON events (tenant_id, event_type, received_at);
CREATE INDEX events_by_key ON events (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX events_by_request ON events (tenant_id, request_id) WHERE request_id IS NOT NULL;

-- Takes the days that have no partition (a clock far off); searched and aged like all others.
CREATE TABLE events_default PARTITION OF events DEFAULT;
SELECT pulse_protect('events');
-- DELETE is for the retention of the default partition and for erasure; partitions carry no grants of their own.
GRANT SELECT, INSERT, DELETE ON events TO pulse_app;

-- Makes the partition of a UTC day. Answers 'exists', 'made', 'refused' (an absurd day, or too many partitions) or
-- 'blocked' (the default partition holds rows of that day already; they and later ones stay there).
-- SECURITY DEFINER because pulse_app owns nothing; the new table is protected before it can be reached.
-- Attaching locks the parent only against other changes of the schema, so inserts go on.
CREATE FUNCTION pulse_store_make_partition(day date) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET lock_timeout = '3s'
  SET timezone = 'UTC'
AS $$
DECLARE
  partition_name text := 'events_' || to_char(day, 'YYYYMMDD');
BEGIN
  IF to_regclass('public.' || partition_name) IS NOT NULL THEN
    RETURN 'exists';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('pulse_store_partitions'));
  -- By a query, whose snapshot is taken now: to_regclass may still answer from before the lock.
  IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = partition_name) THEN
    RETURN 'exists';
  END IF;
  IF day NOT BETWEEN '2020-01-01' AND '2199-12-31'
    OR (SELECT count(*) FROM pg_inherits WHERE inhparent = 'public.events'::regclass) > 4000 THEN
    RETURN 'refused';
  END IF;
  -- Rows are only ever added: vacuum early enough for index-only scans, not at every fifth of a large table.
  EXECUTE format(
    'CREATE TABLE public.%I (LIKE public.events INCLUDING ALL) WITH ('
    'autovacuum_vacuum_insert_threshold = 500000, autovacuum_vacuum_insert_scale_factor = 0.5, '
    'autovacuum_analyze_threshold = 50000, autovacuum_analyze_scale_factor = 0.5)', partition_name);
  EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, pulse_app', partition_name);
  PERFORM public.pulse_protect(format('public.%I', partition_name)::regclass);
  EXECUTE format('ALTER TABLE public.events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
    partition_name, day::timestamptz, (day + 1)::timestamptz);
  RETURN 'made';
EXCEPTION
  WHEN check_violation THEN
    RETURN 'blocked';
END
$$;
REVOKE EXECUTE ON FUNCTION pulse_store_make_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pulse_store_make_partition(date) TO pulse_app;

-- Drops the oldest partition that lies wholly before a day, and answers its day; null when there is none. One at a time,
-- because each takes a short lock on the whole table. Today and later days are refused.
CREATE FUNCTION pulse_store_drop_partition(before date) RETURNS date
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET lock_timeout = '3s'
  SET timezone = 'UTC'
AS $$
DECLARE
  oldest text;
BEGIN
  IF before > current_date THEN
    RAISE EXCEPTION 'events of % are not old enough to be dropped', before - 1 USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('pulse_store_partitions'));
  SELECT member.relname INTO oldest
    FROM pg_inherits JOIN pg_class member ON member.oid = inhrelid
    WHERE inhparent = 'public.events'::regclass
      AND member.relname ~ '^events_[0-9]{8}$'
      AND member.relname < 'events_' || to_char(before, 'YYYYMMDD')
    ORDER BY member.relname LIMIT 1;
  IF oldest IS NULL THEN
    RETURN NULL;
  END IF;
  EXECUTE format('DROP TABLE public.%I', oldest);
  RETURN to_date(substr(oldest, 8), 'YYYYMMDD');
END
$$;
REVOKE EXECUTE ON FUNCTION pulse_store_drop_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pulse_store_drop_partition(date) TO pulse_app;

-- Events by minute and by hour, by type, written in the transaction of the rows, so that a week of metrics needs no scan
-- of events: minutes for short ranges and the edges of long ones, whole hours (a sixtieth of the rows) between the edges.
-- Topic and partition are in the key so that two lanes never wait for each other's row.
CREATE TABLE event_counts (
  tenant_id text COLLATE "C" NOT NULL,
  -- 1 or 60.
  bucket_minutes smallint NOT NULL,
  bucket timestamptz NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  topic text COLLATE "C" NOT NULL,
  partition integer NOT NULL,
  events bigint NOT NULL,
  bytes bigint NOT NULL,
  PRIMARY KEY (tenant_id, bucket_minutes, bucket, event_type, topic, partition)
) WITH (fillfactor = 70);
SELECT pulse_protect('event_counts');
GRANT SELECT, INSERT, UPDATE, DELETE ON event_counts TO pulse_app;

-- Events that Postgres refused to hold, with their canonical envelope, so that they can be stored again later.
CREATE TABLE store_parked (
  tenant_id text COLLATE "C" NOT NULL,
  epoch integer NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  received_at timestamptz NOT NULL,
  -- The valid topic, under which the event is counted.
  topic text COLLATE "C" NOT NULL,
  -- SQLSTATE and message of the refusal.
  code text NOT NULL,
  detail text NOT NULL,
  value bytea NOT NULL,
  parked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, epoch, partition, record_offset)
);
SELECT pulse_protect('store_parked');
GRANT SELECT, INSERT, DELETE ON store_parked TO pulse_app;
