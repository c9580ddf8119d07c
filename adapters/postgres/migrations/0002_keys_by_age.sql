-- Keys are forgotten by their age, a few at a time: without looking at all of them.

CREATE INDEX keys_by_age ON stateward.keys (at);
