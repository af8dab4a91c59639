-- An instance that takes up events which others have left holds them for a
-- while; those that fail are taken up again then.
ALTER TABLE emitted_events ADD COLUMN held_until timestamptz;
