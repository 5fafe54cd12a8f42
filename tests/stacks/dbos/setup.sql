-- Roles and database of the DBOS application, as superuser: psql -v owner_password=… -v app_password=… -f setup.sql
CREATE ROLE dbos_owner LOGIN CREATEDB PASSWORD :'owner_password';
CREATE ROLE dbos_app LOGIN PASSWORD :'app_password';
CREATE DATABASE dbos OWNER dbos_owner;
REVOKE ALL ON DATABASE dbos FROM PUBLIC;
GRANT CONNECT ON DATABASE dbos TO dbos_app;
\connect dbos
SET ROLE dbos_owner;
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO dbos_app;
-- one row for each execution of a step: a step that was repeated has two
CREATE TABLE app.steps (
	workflow text NOT NULL,
	step int NOT NULL,
	version text NOT NULL,
	at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT, INSERT ON app.steps TO dbos_app;
