-- The roles, the schema, who may see what in it, and the record of what was applied.
-- This one runs as the login that migrates; every later migration runs as penstock_owner.

-- Roles belong to the cluster: another of its databases may have them already, or be making them right now.
-- In that case this fails with 23505 or 42710, and the runner does the whole migration again.
DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['penstock_owner', 'penstock_worker', 'penstock_reader', 'penstock_producer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END
$roles$;

-- Since PostgreSQL 16 who makes a role may administer it, but has to grant itself the right to act as it.
DO $act_as_owner$
BEGIN
    IF current_setting('server_version_num')::integer >= 160000 THEN
        IF NOT (pg_has_role('penstock_owner', 'SET') AND pg_has_role('penstock_owner', 'USAGE')) THEN
            EXECUTE format('GRANT penstock_owner TO %I WITH SET TRUE, INHERIT TRUE', current_user);
        END IF;
    ELSIF NOT pg_has_role('penstock_owner', 'MEMBER') THEN
        EXECUTE format('GRANT penstock_owner TO %I', current_user);
    END IF;
END
$act_as_owner$;

-- A database administrator may have made the schema for a login that is not allowed to.
DO $schema$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'penstock') THEN
        CREATE SCHEMA penstock AUTHORIZATION penstock_owner;
    END IF;
END
$schema$;

SET LOCAL ROLE penstock_owner;

GRANT USAGE ON SCHEMA penstock TO penstock_worker, penstock_reader, penstock_producer;

-- Tomorrow's tables and partitions: all may be read by both, and whatever else a worker needs is granted where the
-- table is made. PostgreSQL lets everybody execute a new function; only a default of the whole database undoes that.
ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner IN SCHEMA penstock
    GRANT SELECT ON TABLES TO penstock_worker, penstock_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner IN SCHEMA penstock
    GRANT SELECT ON SEQUENCES TO penstock_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner
    REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE TABLE penstock.schema_migrations (
    version integer PRIMARY KEY CHECK (version >= 1),
    name text NOT NULL,
    up_checksum text NOT NULL,
    down_checksum text NOT NULL,
    state text NOT NULL CHECK (state IN ('started', 'applied')),
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE penstock.schema_migrations IS 'What was applied; checksums are SHA-256 of the files'' content.';
COMMENT ON COLUMN penstock.schema_migrations.state IS
    'started: a migration outside a transaction began and did not end; penstock migrate up runs it again';
