-- Overlap of a schedule's runs judged against all of them, an occurrence that
-- waits for them, and how far a schedule strays from its times.

-- The live runs of a schedule. What webhooks start is not in it.
CREATE INDEX executions_schedule_idx ON executions (trigger_id)
    WHERE trigger_kind IN ('cron', 'interval', 'once');

-- The one occurrence that waits for the runs before it; null: none does.
ALTER TABLE schedules ADD COLUMN queued_nominal INTEGER;
ALTER TABLE schedules ADD COLUMN queued_effective INTEGER;
ALTER TABLE schedules ADD COLUMN queued_at INTEGER;
ALTER TABLE schedules ADD COLUMN queued_input BLOB;
-- The last start: when it was due, and when it was.
ALTER TABLE schedules ADD COLUMN last_effective INTEGER;
ALTER TABLE schedules ADD COLUMN last_started INTEGER;
-- By how many microseconds the last interval strayed; null: it did not.
ALTER TABLE schedules ADD COLUMN drift INTEGER;
CREATE INDEX schedules_drift_idx ON schedules (trigger_id) WHERE drift IS NOT NULL;

-- Of a row with the outcome skipped: it waits to be started after all.
ALTER TABLE fires ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
-- It was asked for afterwards.
ALTER TABLE fires ADD COLUMN backfilled INTEGER NOT NULL DEFAULT 0;

-- However a schedule goes, what waited for its turn is settled in the ledger.
CREATE TRIGGER schedules_settle_queued AFTER DELETE ON schedules
FOR EACH ROW WHEN old.queued_nominal IS NOT NULL
BEGIN
    UPDATE fires SET waiting = 0, reason = 'its schedule was removed while it waited'
    WHERE trigger_id = old.trigger_id AND nominal_at = old.queued_nominal AND waiting;
END;
