-- What triggers of the type event listen to.

CREATE TABLE event_listeners (
    -- The type of events; empty for all.
    event_type TEXT NOT NULL,
    trigger_id TEXT NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    PRIMARY KEY (event_type, trigger_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_listeners_trigger_idx ON event_listeners (trigger_id);
