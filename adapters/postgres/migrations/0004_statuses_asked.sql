-- Where an app is follows from its last intent, and the fences of two targets are not compared: the
-- position of that intent, as whoever put the status knew it, comes before the fence.

ALTER TABLE stateward.statuses ADD COLUMN asked bigint NOT NULL DEFAULT 0;
