-- What apps and targets are like now, told by whoever decides over them, read by every gateway.
-- Disposable: it is told anew whenever it changes. A body of NULL says that there is none any more.

CREATE SEQUENCE stateward.status_changes;

CREATE TABLE stateward.statuses (
    about text PRIMARY KEY,
    epoch bigint NOT NULL,
    change bigint NOT NULL,
    body bytea,
    at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX statuses_by_change ON stateward.statuses (change);
