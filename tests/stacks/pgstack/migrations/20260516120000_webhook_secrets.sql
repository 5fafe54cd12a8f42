-- Webhook secrets move to a table of their own.  Webhooks must be created again after this: they are switched off.
CREATE TABLE pgr.webhook_secrets (
	webhook bigint PRIMARY KEY REFERENCES app.webhooks ON DELETE CASCADE,
	secret text NOT NULL
);
INSERT INTO pgr.webhook_secrets SELECT id, secret FROM app.webhooks;
ALTER TABLE app.webhooks DROP COLUMN secret;
UPDATE app.webhooks SET enabled = false;
GRANT SELECT, INSERT, UPDATE, DELETE ON pgr.webhook_secrets TO service_role;
