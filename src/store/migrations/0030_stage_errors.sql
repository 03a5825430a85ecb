-- What last went wrong in a stage, by partition of its input topic, so that every process can show it.
-- A row stands for as long as the trouble does: the stage removes it once it goes on.
CREATE TABLE stage_errors (
  stage text COLLATE "C" NOT NULL,
  topic text COLLATE "C" NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  code text NOT NULL,
  detail text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (stage, topic, partition)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON stage_errors TO pulse_app;
