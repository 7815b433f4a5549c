-- What the collector received, verbatim and append-only. Everything published is derived from
-- these tables and can be rebuilt from them at any time.

-- The collector's own identity, made at its first start. Its audience, the name that records
-- are sealed for, is the SHA-256 of the random id.
CREATE TABLE collector_identity (
    only_one   boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    random_id  bytea       NOT NULL CHECK (octet_length(random_id) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The keys that may submit. A key is never removed and never changed, only revoked.
CREATE TABLE runner_key (
    key_id     bytea       PRIMARY KEY CHECK (key_id = sha256(public_key)),
    public_key bytea       NOT NULL UNIQUE CHECK (octet_length(public_key) = 32),
    label      text        NOT NULL CHECK (octet_length(label) <= 256),
    allowed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz CHECK (revoked_at >= allowed_at)
);

-- One row per envelope ever accepted. Small and never partitioned: its primary key is what
-- makes a submission happen once. `seq` orders; it may have gaps.
CREATE TABLE envelope_id (
    content_id  bytea       PRIMARY KEY CHECK (octet_length(content_id) = 32),
    seq         bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX envelope_id_received_at ON envelope_id (received_at);

-- The signed bytes, as they came.
CREATE TABLE envelope (
    content_id   bytea PRIMARY KEY REFERENCES envelope_id,
    key_id       bytea NOT NULL REFERENCES runner_key,
    payload_type text  NOT NULL CHECK (octet_length(payload_type) BETWEEN 1 AND 256),
    payload      bytea NOT NULL CHECK (octet_length(payload) <= 1048576),
    signature    bytea NOT NULL CHECK (octet_length(signature) = 64)
);

-- What was decided when the envelope came in, and what was answered: a resend gets the same.
CREATE TABLE record (
    content_id bytea PRIMARY KEY REFERENCES envelope,
    tier       text  NOT NULL CHECK (tier IN
        ('quarantined', 'imported', 'self-reported', 'corroborated', 'verified', 'farm')),
    findings   jsonb NOT NULL CHECK (jsonb_typeof(findings) = 'array'),
    answer     jsonb NOT NULL CHECK (jsonb_typeof(answer) = 'object')
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON collector_identity
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON envelope_id
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON envelope
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON record
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Of a key, only the revocation may be added.
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON runner_key
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_revoked BEFORE UPDATE OF key_id, public_key, label, allowed_at ON runner_key
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER revoked_for_good BEFORE UPDATE ON runner_key
    FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL) EXECUTE FUNCTION refuse_change();
