"""What a database is made of besides rows: a digest of each definition, with its owner and everybody's rights to it.

A digest is comparable between servers of one major version: another may write the same definition differently. What
extensions bring is left out, as pg_dump leaves it out.
"""

import psycopg

#: Schemas of the database's own.
OWN_SCHEMA = "nspname !~ '^pg_' AND nspname <> 'information_schema'"

# Rights as one text, defaults spelt out: a right that is granted by default may be noted or not.
_RIGHTS = """(
    SELECT string_agg(format('%s %s%s', CASE grantee WHEN 0 THEN 'public' ELSE grantee::regrole::text END,
                             privilege_type, CASE WHEN is_grantable THEN '*' ELSE '' END), ', '
                      ORDER BY grantee = 0, grantee::regrole::text, privilege_type)
      FROM aclexplode({acl}))"""
_RELATION_RIGHTS = _RIGHTS.format(
    acl="coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner))"
)
_NOT_AN_EXTENSIONS = "NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = {oid} AND e.deptype = 'e')"
_OWN_RELATIONS = f"""pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OWN_SCHEMA}
       AND {_NOT_AN_EXTENSIONS.format(oid="c.oid")}"""

# Each gives the name of a thing and its parts.
_QUERIES = {
    "relation": f"""
        SELECT c.oid::regclass::text, ARRAY[c.relkind::text, c.relpersistence::text, c.relowner::regrole::text,
               {_RELATION_RIGHTS}, c.relrowsecurity::text, c.relforcerowsecurity::text,
               pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid), array_to_string(c.reloptions, ' '),
               CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END]
          FROM {_OWN_RELATIONS} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')""",
    "column": f"""
        SELECT format('%s.%I', c.oid::regclass, a.attname), ARRAY[format_type(a.atttypid, a.atttypmod),
               a.attnotnull::text, a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid),
               a.attcollation::regcollation::text, {_RIGHTS.format(acl="a.attacl")}]
          FROM {_OWN_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')""",
    "constraint": f"""
        SELECT format('%I on %s', k.conname, c.oid::regclass), ARRAY[pg_get_constraintdef(k.oid), k.convalidated::text]
          FROM {_OWN_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid""",
    "index": f"""
        SELECT i.indexrelid::regclass::text, ARRAY[pg_get_indexdef(i.indexrelid)]
          FROM {_OWN_RELATIONS} JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid""",
    "trigger": f"""
        SELECT format('%I on %s', t.tgname, c.oid::regclass), ARRAY[pg_get_triggerdef(t.oid), t.tgenabled::text]
          FROM {_OWN_RELATIONS} JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal""",
    "policy": f"""
        SELECT format('%I on %s', p.polname, c.oid::regclass), ARRAY[p.polcmd::text, p.polpermissive::text,
               pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)]
          FROM {_OWN_RELATIONS} JOIN pg_policy p ON p.polrelid = c.oid""",
    "function": f"""
        SELECT p.oid::regprocedure::text, ARRAY[p.proowner::regrole::text, l.lanname::text, p.prokind::text,
               pg_get_function_result(p.oid), md5(p.prosrc), p.prosecdef::text, p.provolatile::text,
               p.proparallel::text, p.proisstrict::text, array_to_string(p.proconfig, ' '),
               {_RIGHTS.format(acl="coalesce(p.proacl, acldefault('f', p.proowner))")}]
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OWN_SCHEMA}
          JOIN pg_language l ON l.oid = p.prolang
         WHERE {_NOT_AN_EXTENSIONS.format(oid="p.oid")}""",
    "schema": f"""
        SELECT quote_ident(n.nspname), ARRAY[n.nspowner::regrole::text,
               {_RIGHTS.format(acl="coalesce(n.nspacl, acldefault('n', n.nspowner))")}]
          FROM pg_namespace n WHERE {OWN_SCHEMA}""",
    "default rights": f"""
        SELECT format('%s of %s in %s', d.defaclobjtype, d.defaclrole::regrole,
                      coalesce(d.defaclnamespace::regnamespace::text, 'all')),
               ARRAY[{_RIGHTS.format(acl="d.defaclacl")}]
          FROM pg_default_acl d""",
}


def read_definitions(connection: psycopg.Connection) -> dict[str, str]:
    """A digest of each definition, by kind and name.

    Args:
        connection: whose `search_path` finds `pg_catalog` alone, so that names are qualified.
    """
    return {
        f"{kind} {name}": digest
        for kind, query in _QUERIES.items()
        for name, digest in connection.execute(_digested(query).encode())
    }


def _digested(query: str) -> str:
    return (
        "SELECT name, left(encode(sha256(convert_to(parts::text, 'UTF8')), 'hex'), 16)"
        f" FROM ({query}) AS definition (name, parts)"
    )
