-- Administration gets a role of its own.  In this order: its password; ADMIN_DATABASE_URL, and the proxy is created anew;
-- only then REVOKE service_role FROM authenticator.
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticator_admin') THEN
		CREATE ROLE authenticator_admin NOLOGIN NOINHERIT;
	END IF;
END $$;
GRANT service_role TO authenticator_admin;
