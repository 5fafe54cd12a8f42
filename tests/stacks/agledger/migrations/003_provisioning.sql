CREATE TABLE provisioning (
	name text PRIMARY KEY,
	settings jsonb NOT NULL
);
INSERT INTO provisioning VALUES ('default', '{"retention_days": 365}'), ('webhooks', '{"enabled": false}');
