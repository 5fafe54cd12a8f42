ALTER TABLE api_keys ADD COLUMN tenant text NOT NULL DEFAULT 'default';
