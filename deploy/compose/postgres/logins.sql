-- Run once by the image of PostgreSQL, as superuser, when the data directory is new: the login that Penstock's
-- processes share. `penstock migrate up` makes the group roles where they are missing, and grants them their rights.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/app_password`
CREATE ROLE penstock_worker NOLOGIN;
CREATE ROLE penstock_reader NOLOGIN;
CREATE ROLE penstock_producer NOLOGIN;
-- What is logged is no password.
SET log_min_duration_statement = -1;
SET log_statement = none;
CREATE ROLE penstock_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
GRANT penstock_worker, penstock_producer, penstock_reader TO penstock_app;
