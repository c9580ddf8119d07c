-- The log, what belongs to it, and the one function that appends to it.

CREATE TABLE stateward.stored_events (
    notification_id bigint PRIMARY KEY,  -- without a default: only `append` hands out positions
    originator_id text NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    UNIQUE (originator_id, originator_version)
);

-- One row for each group commit: a chain over the digests of its records.
CREATE TABLE stateward.seals (
    position bigint PRIMARY KEY,
    seal bytea NOT NULL,
    digests bytea NOT NULL
);

CREATE TABLE stateward.keys (
    actor text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    outcome bytea NOT NULL,
    first_position bigint NOT NULL,
    events integer NOT NULL,
    at double precision NOT NULL,
    PRIMARY KEY (actor, key)
);

CREATE TABLE stateward.tombstones (
    position bigint PRIMARY KEY,
    digest bytea NOT NULL,
    actor text NOT NULL,
    at double precision NOT NULL
);

CREATE TABLE stateward.rewinds (
    at double precision NOT NULL,
    actor text NOT NULL,
    witness text NOT NULL,
    seen bigint NOT NULL,
    head bigint NOT NULL,
    seal bytea NOT NULL
);

CREATE TABLE stateward.installation (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id text NOT NULL
);

CREATE TABLE stateward.secrets (
    ref text NOT NULL,
    token text NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL,
    at double precision NOT NULL,
    PRIMARY KEY (ref, token)
);

CREATE TABLE stateward.key_check (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    tag bytea NOT NULL
);

-- The lock under which positions are handed out. Whoever holds it is alone until its transaction
-- has ended, so positions are handed out in the order of commits.
CREATE FUNCTION stateward.take_turn() RETURNS void
LANGUAGE sql VOLATILE AS $$ SELECT pg_advisory_xact_lock(8315168253862016868) $$;

-- Where the next group begins: behind every event, seal, and position that was accepted as lost.
CREATE FUNCTION stateward.last_position() RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT greatest(
        (SELECT max(notification_id) FROM stateward.stored_events),
        (SELECT max(position) FROM stateward.seals),
        (SELECT max(seen) FROM stateward.rewinds),
        0
    )
$$;

-- Appends a group, or nothing at all and the facts that speak against it.
--
--   names, expected   the streams of the group, and the version each must be at (NULL: any)
--   slots, nths       of each event: its stream's place in `names`, its number in that stream
--   types, payloads   of each event
--   actors .. counts  the idempotency keys, with what each remembers; `firsts` counts from 1
--   moment            seconds since the epoch
--
-- `versions` are those that the streams are at, before this group. `known` are the keys that were
-- used before, by their places, with what they remember.
CREATE FUNCTION stateward.append(
    names text[], expected bigint[],
    slots integer[], nths bigint[], types text[], payloads bytea[],
    actors text[], keys text[], digests bytea[], outcomes bytea[],
    firsts integer[], counts integer[], moment double precision,
    OUT written boolean, OUT start bigint, OUT head bigint, OUT seal bytea, OUT versions bigint[],
    OUT known integer[], OUT known_digests bytea[], OUT known_outcomes bytea[],
    OUT known_firsts bigint[], OUT known_counts integer[]
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_variable
DECLARE
    amount constant integer := cardinality(slots);
    records bytea;
BEGIN
    PERFORM stateward.take_turn();
    start := stateward.last_position();
    SELECT s.position, s.seal INTO head, seal
        FROM stateward.seals s ORDER BY s.position DESC LIMIT 1;
    head := coalesce(head, 0);
    seal := coalesce(seal, decode(repeat('00', 32), 'hex'));
    SELECT array_agg(coalesce((
            SELECT e.originator_version FROM stateward.stored_events e
            WHERE e.originator_id = n.name ORDER BY e.originator_version DESC LIMIT 1
        ), 0) ORDER BY n.place)
        INTO versions FROM unnest(names) WITH ORDINALITY AS n(name, place);
    IF cardinality(keys) > 0 THEN
        SELECT array_agg(a.place), array_agg(k.digest), array_agg(k.outcome),
               array_agg(k.first_position), array_agg(k.events)
            INTO known, known_digests, known_outcomes, known_firsts, known_counts
            FROM unnest(actors, keys) WITH ORDINALITY AS a(actor, key, place)
            JOIN stateward.keys k ON k.actor = a.actor AND k.key = a.key;
    END IF;
    written := known IS NULL AND NOT EXISTS (
        SELECT FROM unnest(expected, versions) AS v(wanted, found) WHERE v.wanted <> v.found
    );
    IF NOT written THEN
        RETURN;
    END IF;
    IF cardinality(keys) > 0 THEN
        INSERT INTO stateward.keys (actor, key, digest, outcome, first_position, events, at)
            SELECT k.actor, k.key, k.digest, k.outcome, start + k.first, k.events, moment
            FROM unnest(actors, keys, digests, outcomes, firsts, counts)
                AS k(actor, key, digest, outcome, first, events);
    END IF;
    IF amount = 0 THEN
        RETURN;
    END IF;
    WITH added AS (
        INSERT INTO stateward.stored_events
            (notification_id, originator_id, originator_version, topic, state)
        SELECT start + e.number, names[e.slot], versions[e.slot] + e.nth, e.type, e.payload
            FROM unnest(slots, nths, types, payloads) WITH ORDINALITY
                AS e(slot, nth, type, payload, number)
        RETURNING notification_id AS position, stateward.record_digest(
            notification_id, originator_id, originator_version, topic, sha256(state)) AS digest
    )
    SELECT string_agg(a.digest, ''::bytea ORDER BY a.position) INTO records FROM added a;
    head := start + amount;
    seal := sha256(seal || records);
    INSERT INTO stateward.seals (position, seal, digests) VALUES (head, seal, records);
    PERFORM pg_notify('stateward_log', head::text);
END
$$;

-- As `bus.seals.record_digest`.
CREATE FUNCTION stateward.record_digest(
    at bigint, stream text, version bigint, type text, digest_of_data bytea
) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT sha256(
        int8send(at) || int8send(version)
        || int4send(octet_length(stream)) || int4send(octet_length(type))
        || convert_to(stream, 'UTF8') || convert_to(type, 'UTF8') || digest_of_data
    )
$$;
