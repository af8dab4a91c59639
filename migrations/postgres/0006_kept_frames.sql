-- What a failed execution keeps, so that it can be run again from where it
-- failed: its frames as JSON text, dropped with it.
ALTER TABLE executions_ended ADD COLUMN kept_frames bytea;
