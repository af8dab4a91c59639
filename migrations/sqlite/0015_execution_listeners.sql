-- What live executions wait for, and the events that came for them.

CREATE TABLE execution_listeners (
    execution_id TEXT NOT NULL,
    id           INTEGER NOT NULL,
    -- The checkpoint that set it: an engine may use a number again.
    since        INTEGER NOT NULL,
    -- Whether one event is enough for it.
    once         INTEGER NOT NULL CHECK (once IN (0, 1)),
    PRIMARY KEY (execution_id, id)
) STRICT, WITHOUT ROWID;

-- The filters of a listener, found by the type of an event.
CREATE TABLE execution_subscriptions (
    -- Empty for events of any type.
    event_type   TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    listener_id  INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    filter       BLOB NOT NULL,
    PRIMARY KEY (event_type, execution_id, listener_id, position),
    FOREIGN KEY (execution_id, listener_id)
        REFERENCES execution_listeners (execution_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX execution_subscriptions_listener_idx
    ON execution_subscriptions (execution_id, listener_id);

CREATE TABLE received_events (
    -- In the order of arrival.
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    listener_id  INTEGER NOT NULL,
    -- What tells the event from others: each is for a listener once.
    key          TEXT NOT NULL,
    received_at  INTEGER NOT NULL,
    -- Null once it is consumed; the row stays as long as the listener.
    event        BLOB,
    UNIQUE (execution_id, listener_id, key),
    FOREIGN KEY (execution_id, listener_id)
        REFERENCES execution_listeners (execution_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX received_events_unread_idx
    ON received_events (execution_id, number) WHERE event IS NOT NULL;
