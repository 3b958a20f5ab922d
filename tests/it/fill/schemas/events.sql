-- An event store: partitions by range, list and hash, sub-partitions, defaults, keys that point into them.
CREATE TABLE streams (id uuid PRIMARY KEY, kind text NOT NULL CHECK (kind IN ('order', 'cart', 'user')), version int NOT NULL DEFAULT 0);
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    stream_id uuid NOT NULL REFERENCES streams,
    version int NOT NULL CHECK (version > 0),
    kind text NOT NULL,
    payload jsonb NOT NULL CHECK (payload ? 'type'),
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (id, recorded_at),
    UNIQUE (stream_id, version, recorded_at)
) PARTITION BY RANGE (recorded_at);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY RANGE (recorded_at);
CREATE TABLE events_2024_h1 PARTITION OF events_2024 FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
CREATE TABLE events_2024_h2 PARTITION OF events_2024 FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
CREATE TABLE consumers (id serial PRIMARY KEY, name text NOT NULL UNIQUE, last_event_id bigint, last_recorded_at timestamptz, FOREIGN KEY (last_event_id, last_recorded_at) REFERENCES events (id, recorded_at) MATCH FULL);
CREATE TABLE metrics (region text NOT NULL, day date NOT NULL, name text NOT NULL, value double precision NOT NULL, PRIMARY KEY (region, day, name)) PARTITION BY LIST (region);
CREATE TABLE metrics_eu PARTITION OF metrics FOR VALUES IN ('de', 'fr', 'pt') PARTITION BY RANGE (day);
CREATE TABLE metrics_eu_old PARTITION OF metrics_eu FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE metrics_eu_new PARTITION OF metrics_eu FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE TABLE metrics_us PARTITION OF metrics FOR VALUES IN ('us');
CREATE TABLE sessions (id uuid NOT NULL, user_name text NOT NULL, started timestamptz NOT NULL, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE sessions_0 PARTITION OF sessions FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE sessions_1 PARTITION OF sessions FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE sessions_2 PARTITION OF sessions FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE TABLE clicks (session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE, at timestamptz NOT NULL, x int, y int) PARTITION BY RANGE (date_trunc('month', at AT TIME ZONE 'UTC'));
CREATE TABLE clicks_1 PARTITION OF clicks FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
CREATE TABLE clicks_2 PARTITION OF clicks FOR VALUES FROM ('2024-04-01') TO ('2024-05-01');
CREATE TABLE readings (sensor int NOT NULL, slot int NOT NULL, value numeric(8, 3), flag boolean NOT NULL DEFAULT false) PARTITION BY RANGE (sensor, slot);
CREATE TABLE readings_a PARTITION OF readings FOR VALUES FROM (1, 0) TO (1, 1000);
CREATE TABLE readings_b PARTITION OF readings FOR VALUES FROM (2, 0) TO (10, 0);
CREATE TABLE readings_rest PARTITION OF readings DEFAULT;
