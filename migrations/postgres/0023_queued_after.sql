-- Of the occurrence that waits: when the one before it was to start. Null for
-- one that has been waiting since before this column.
ALTER TABLE schedules ADD COLUMN queued_after timestamptz;
