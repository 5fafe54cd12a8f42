-- Roles and database of the ledger, as superuser: psql -v owner_password=… -v app_password=… -f setup.sql
CREATE ROLE agl_owner LOGIN CREATEDB PASSWORD :'owner_password';
CREATE ROLE agl_app LOGIN PASSWORD :'app_password';
CREATE DATABASE agledger OWNER agl_owner;
\connect agledger
ALTER SCHEMA public OWNER TO agl_owner;
