-- The consumer makes these tables when they are missing.

-- The events that had their effect: ce-source and ce-id.
CREATE TABLE IF NOT EXISTS persat_seen (
    id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS persat_seen_at ON persat_seen (at);

-- The effects: put your own tables in this one's place.
CREATE TABLE IF NOT EXISTS persat_history (
    kind     text NOT NULL,
    -- As persat.SubjectToken writes it: an identity of Persat can hold characters and
    -- have a length that an index does not take.
    entity   text NOT NULL,
    number   bigint GENERATED ALWAYS AS IDENTITY,
    event    text NOT NULL,
    type     text NOT NULL,
    state    text NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (kind, entity, number)
);

-- The messages that can never be handled, by their sequence in the stream.
CREATE TABLE IF NOT EXISTS persat_aside (
    sequence bigint PRIMARY KEY,
    reason   text NOT NULL,
    data     bytea NOT NULL
);
