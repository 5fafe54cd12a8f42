-- The proxy's own role.  It cannot log in before it has been given its password:
-- ALTER ROLE authenticator LOGIN PASSWORD, what AUTHENTICATOR_PASSWORD says.
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticator') THEN
		CREATE ROLE authenticator NOLOGIN NOINHERIT;
	END IF;
END $$;
GRANT service_role TO authenticator;
