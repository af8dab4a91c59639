-- Overlap of a schedule's runs judged against all of them, an occurrence that
-- waits for them, and how far a schedule strays from its times.

-- The live runs of a schedule. What webhooks start is not in it.
CREATE INDEX executions_schedule_idx ON executions (trigger_id)
    WHERE trigger_kind IN ('cron', 'interval', 'once');

ALTER TABLE schedules
    -- The one occurrence that waits for the runs before it; null: none does.
    ADD COLUMN queued_nominal   timestamptz,
    ADD COLUMN queued_effective timestamptz,
    ADD COLUMN queued_at        timestamptz,
    ADD COLUMN queued_input     bytea,
    -- The last start: when it was due, and when it was.
    ADD COLUMN last_effective   timestamptz,
    ADD COLUMN last_started     timestamptz,
    -- By how many microseconds the last interval strayed; null: it did not.
    ADD COLUMN drift            bigint;
CREATE INDEX schedules_drift_idx ON schedules (trigger_id) WHERE drift IS NOT NULL;

ALTER TABLE fires
    -- Of a row with the outcome skipped: it waits to be started after all.
    ADD COLUMN waiting    boolean NOT NULL DEFAULT false,
    -- It was asked for afterwards.
    ADD COLUMN backfilled boolean NOT NULL DEFAULT false;

-- However a schedule goes, what waited for its turn is settled in the ledger.
CREATE FUNCTION millrace_settle_queued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE fires SET waiting = false, reason = 'its schedule was removed while it waited'
    WHERE trigger_id = OLD.trigger_id AND nominal_at = OLD.queued_nominal AND waiting
      AND day = (OLD.queued_nominal AT TIME ZONE 'UTC')::date;
    RETURN NULL;
END $$;
CREATE TRIGGER schedules_settle_queued AFTER DELETE ON schedules
    FOR EACH ROW WHEN (OLD.queued_nominal IS NOT NULL)
    EXECUTE FUNCTION millrace_settle_queued();
