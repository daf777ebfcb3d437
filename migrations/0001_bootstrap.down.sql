-- Roles stay: they belong to the cluster, and other databases of it may use them.

DROP TABLE penstock.schema_migrations;

ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner IN SCHEMA penstock
    REVOKE SELECT ON TABLES FROM penstock_worker, penstock_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner IN SCHEMA penstock
    REVOKE SELECT ON SEQUENCES FROM penstock_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE penstock_owner
    GRANT EXECUTE ON FUNCTIONS TO PUBLIC;

-- Without CASCADE: what somebody else put into the schema is not ours to drop.
DROP SCHEMA penstock;
