-- What live executions wait for, and the events that came for them. An
-- execution's rows are written under the lock of its row in `executions`, by
-- its owner and by whoever publishes an event.

CREATE TABLE execution_listeners (
    execution_id text COLLATE "C" NOT NULL,
    id           bigint  NOT NULL,
    -- The checkpoint that set it: an engine may use a number again.
    since        bigint  NOT NULL,
    -- Whether one event is enough for it.
    once         boolean NOT NULL,
    PRIMARY KEY (execution_id, id)
) WITH (
    fillfactor = 85,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

-- The filters of a listener, found by the type of an event.
CREATE TABLE execution_subscriptions (
    -- Empty for events of any type.
    event_type   text COLLATE "C" NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    listener_id  bigint  NOT NULL,
    position     integer NOT NULL,
    filter       bytea   NOT NULL,
    PRIMARY KEY (event_type, execution_id, listener_id, position),
    FOREIGN KEY (execution_id, listener_id)
        REFERENCES execution_listeners (execution_id, id) ON DELETE CASCADE
) WITH (
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX execution_subscriptions_listener_idx
    ON execution_subscriptions (execution_id, listener_id);

CREATE TABLE received_events (
    -- In the order of arrival.
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id text COLLATE "C" NOT NULL,
    listener_id  bigint      NOT NULL,
    -- What tells the event from others: each is for a listener once.
    key          text COLLATE "C" NOT NULL,
    received_at  timestamptz NOT NULL,
    -- Null once it is consumed; the row stays as long as the listener.
    event        bytea,
    CONSTRAINT received_events_key UNIQUE (execution_id, listener_id, key),
    FOREIGN KEY (execution_id, listener_id)
        REFERENCES execution_listeners (execution_id, id) ON DELETE CASCADE
) WITH (
    fillfactor = 85,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX received_events_unread_idx
    ON received_events (execution_id, number) WHERE event IS NOT NULL;
