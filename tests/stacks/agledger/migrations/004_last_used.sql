ALTER TABLE api_keys ADD COLUMN last_used_at timestamptz;
CREATE INDEX audit_vault_created ON audit_vault (created_at);
