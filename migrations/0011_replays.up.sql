-- Replays: dead letters that are sent back to their queues with care, and how far each replay has come.

CREATE TABLE penstock.replays (
    replay_id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL CHECK (created_by <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    selection jsonb NOT NULL,
    canary integer NOT NULL CHECK (canary >= 0),
    pace_per_second double precision NOT NULL CHECK (pace_per_second > 0),
    stop_share double precision NOT NULL CHECK (stop_share BETWEEN 0 AND 1),
    status text NOT NULL DEFAULT 'preparing'
        CHECK (status IN ('preparing', 'canary', 'running', 'paused', 'stopped', 'cancelled', 'done')),
    resumes_to text CHECK (resumes_to IN ('preparing', 'canary', 'running')),
    prepared_died_at timestamptz,
    prepared_dead_id uuid,
    total bigint NOT NULL DEFAULT 0,
    sent bigint NOT NULL DEFAULT 0,
    done bigint NOT NULL DEFAULT 0,
    died bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    waiting bigint NOT NULL GENERATED ALWAYS AS (sent - done - died) STORED,
    tokens double precision NOT NULL DEFAULT 0,
    tokens_at timestamptz,
    canary_until timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    told text NOT NULL DEFAULT '',
    CHECK ((status = 'paused') = (resumes_to IS NOT NULL)),
    CHECK ((status IN ('stopped', 'cancelled', 'done')) = (ended_at IS NOT NULL)),
    CHECK (sent + skipped <= total AND done + died <= sent)
) WITH (fillfactor = 50);
COMMENT ON TABLE penstock.replays IS 'What operators had replayed; see docs/dead-letters.md.';
COMMENT ON COLUMN penstock.replays.created_at IS 'Letters that were archived later are not of this replay.';
COMMENT ON COLUMN penstock.replays.selection IS 'The filter, or the ids, that choose its letters.';
COMMENT ON COLUMN penstock.replays.resumes_to IS 'What it goes on with; only while it is paused.';
COMMENT ON COLUMN penstock.replays.prepared_died_at IS 'How far its letters are noted, in the order of their deaths.';
COMMENT ON COLUMN penstock.replays.tokens IS 'Letters that the pace allows now; it grows with time from tokens_at on.';
COMMENT ON COLUMN penstock.replays.told IS 'How it stands or ended, in a sentence.';

CREATE INDEX replays_created_idx ON penstock.replays (created_at DESC, replay_id DESC);
-- What a scheduler has to look at: few, however many there were.
CREATE INDEX replays_active_idx ON penstock.replays (created_at)
    WHERE status IN ('preparing', 'canary', 'running') OR waiting > 0;

CREATE TABLE penstock.replay_items (
    replay_id uuid NOT NULL REFERENCES penstock.replays ON DELETE CASCADE,
    dead_id uuid NOT NULL,
    ordinal bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'done', 'died', 'skipped')),
    PRIMARY KEY (replay_id, dead_id)
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000
);
COMMENT ON TABLE penstock.replay_items IS
    'The letters of a replay, each once, in the order of their deaths. Kept for a while after its end.';
CREATE INDEX replay_items_pending_idx ON penstock.replay_items (replay_id, ordinal) WHERE state = 'pending';
CREATE INDEX replay_items_sent_idx ON penstock.replay_items (replay_id, dead_id) WHERE state = 'sent';

GRANT INSERT ON penstock.replays TO penstock_worker;
GRANT UPDATE (status, resumes_to, prepared_died_at, prepared_dead_id, total, sent, done, died, skipped, tokens,
              tokens_at, canary_until, started_at, ended_at, told) ON penstock.replays TO penstock_worker;
GRANT INSERT, UPDATE (state), DELETE ON penstock.replay_items TO penstock_worker;
