CREATE TABLE api_keys (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL UNIQUE,
	key_digest text NOT NULL,
	key_hash text NOT NULL UNIQUE,
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN api_keys.key_digest IS 'SHA-256 of the key';
COMMENT ON COLUMN api_keys.key_hash IS 'HMAC-SHA-256 of the digest, by API_KEY_SECRET';

CREATE TABLE vault_signing_keys (
	key_id text PRIMARY KEY,
	public_key text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_vault (
	chain_position bigint PRIMARY KEY,
	envelope text NOT NULL,
	payload_hash text NOT NULL UNIQUE,
	previous_hash text,
	key_id text NOT NULL REFERENCES vault_signing_keys,
	signature text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN audit_vault.payload_hash IS 'SHA-256 of envelope and signature';
COMMENT ON COLUMN audit_vault.previous_hash IS 'payload_hash of the entry before it; null for the first one';

CREATE TABLE deliveries (
	job_id uuid PRIMARY KEY,
	chain_position bigint NOT NULL,
	worker_version text NOT NULL,
	delivered_at timestamptz NOT NULL DEFAULT now()
);
