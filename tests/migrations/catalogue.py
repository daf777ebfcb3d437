"""All that PostgreSQL's catalogue says of the schema `penstock`, to compare two states of it."""

import psycopg

_QUERIES = {
    "relations": """
        SELECT c.relname, c.relkind, c.relpersistence, c.relispartition, pg_get_userbyid(c.relowner),
               array(SELECT item::text FROM unnest(c.relacl) AS item ORDER BY 1), obj_description(c.oid, 'pg_class'),
               pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid)
          FROM pg_class c WHERE c.relnamespace = 'penstock'::regnamespace""",
    "columns": """
        SELECT c.relname, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
               format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               array(SELECT item::text FROM unnest(a.attacl) AS item ORDER BY 1),
               pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'penstock'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT conname, conrelid::regclass::text, convalidated, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'penstock'::regnamespace""",
    "indexes": """
        SELECT i.indexrelid::regclass::text, i.indisvalid, pg_get_indexdef(i.indexrelid)
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'penstock'::regnamespace""",
    "functions": """
        SELECT p.proname, pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
               array(SELECT item::text FROM unnest(p.proacl) AS item ORDER BY 1), obj_description(p.oid, 'pg_proc')
          FROM pg_proc p WHERE p.pronamespace = 'penstock'::regnamespace""",
    "triggers": """
        SELECT t.tgname, t.tgenabled, pg_get_triggerdef(t.oid)
          FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
         WHERE c.relnamespace = 'penstock'::regnamespace AND NOT t.tgisinternal""",
    "schema": """
        SELECT pg_get_userbyid(nspowner), array(SELECT item::text FROM unnest(nspacl) AS item ORDER BY 1)
          FROM pg_namespace WHERE nspname = 'penstock'""",
    "default privileges": """
        SELECT pg_get_userbyid(defaclrole), defaclnamespace::regnamespace::text, defaclobjtype,
               array(SELECT item::text FROM unnest(defaclacl) AS item ORDER BY 1)
          FROM pg_default_acl""",
}


def catalogue(connection: psycopg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """What the schema is made of, without anything that differs from one making of it to the next."""
    # Qualified names in every definition, whatever the caller's search_path.
    connection.execute("SET search_path = pg_catalog")
    return {kind: sorted(connection.execute(query.encode()).fetchall(), key=repr) for kind, query in _QUERIES.items()}


def traces(connection: psycopg.Connection) -> dict[str, int]:
    """What this database holds of Penstock: objects of its owner, rights of its roles, default privileges."""
    row = connection.execute("""
        SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'penstock'),
               (SELECT count(*) FROM pg_default_acl),
               (SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
                 WHERE r.rolname LIKE 'penstock%'
                   AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()))
    """).fetchone()
    assert row is not None
    return dict(zip(("schemas", "default privileges", "dependencies on roles"), row, strict=True))
