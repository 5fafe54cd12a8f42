-- may be lost: a restart of the server after a crash empties it
CREATE UNLOGGED TABLE rate_limits (
	key_hash text PRIMARY KEY,
	requests int NOT NULL DEFAULT 0,
	since timestamptz NOT NULL DEFAULT now()
);
