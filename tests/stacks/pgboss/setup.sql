-- Role and database of the queue, as superuser: psql -v boss_password=… -f setup.sql
CREATE ROLE boss LOGIN CREATEDB PASSWORD :'boss_password';
CREATE DATABASE boss OWNER boss;
