-- Up to which nominal time a schedule makes up for what was missed, one run
-- after the other; null: for nothing.
ALTER TABLE schedules ADD COLUMN catch_up_to INTEGER;
