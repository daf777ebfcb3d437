"""What a database holds, measured within one snapshot: how many rows, which rows, which definitions."""

from collections.abc import Callable

import psycopg
from psycopg import sql

from penstock.workers.backup.catalogue import OWN_SCHEMA, read_definitions
from penstock.workers.backup.manifest import Content, TableContent
from penstock.workers.backup.roles import read_roles

# How a value looks as text must not depend on the server that is asked.
_PLAIN = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "row_security": "off",
    "search_path": "pg_catalog",
}
_TABLES = f"""
SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE {OWN_SCHEMA} AND c.relkind = %s
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e')
 ORDER BY n.nspname, c.relname
"""
# The first 64 bits of each row's SHA-256, added up: the order of rows does not matter, two equal rows do not cancel
# each other, and every server and version computes the same. ROW(...) names all columns whatever they are called.
_MEASURE = """
SELECT count(*),
       coalesce(sum(('x' || left(encode(sha256(convert_to(ROW(t.*)::text, 'UTF8')), 'hex'), 16))::bit(64)::bigint), 0)
  FROM ONLY {} AS t
"""
_LAST_VALUE = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {}"

#: Called between steps; what it raises ends the measuring.
Check = Callable[[], None]


def measure(connection: psycopg.Connection, check: Check = lambda: None) -> Content:
    """Everything that the connection's snapshot shows of its database.

    Args:
        connection: within a transaction that is repeatable read.
        check: called before each table.

    Raises:
        psycopg.Error: whatever PostgreSQL says.
    """
    set_plain(connection)
    sequences = {name: _one(connection, _LAST_VALUE, place) for name, place in _relations(connection, "S").items()}
    definitions, (roles, memberships) = read_definitions(connection), read_roles(connection)
    tables: dict[str, TableContent] = {}
    for name, place in _relations(connection, "r").items():
        check()
        tables[name] = _measure(connection, place)
    return Content(tables, sequences, definitions, roles, memberships)


def lock_tables(connection: psycopg.Connection) -> None:
    """Hold every table as it is until the transaction ends; rows may change, definitions may not.

    Raises:
        psycopg.Error: a lock is not to be had within the connection's `lock_timeout`, or a table may not be read.
    """
    places = list(_relations(connection, "r").values())
    if places:
        names = sql.SQL(", ").join(places)
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(names))


def set_plain(connection: psycopg.Connection) -> None:
    """Have values come as text in one and the same way."""
    for name, value in _PLAIN.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


def _relations(connection: psycopg.Connection, kind: str) -> dict[str, sql.Identifier]:
    rows = connection.execute(_TABLES.encode(), (kind,)).fetchall()
    return {f"{schema}.{name}": sql.Identifier(schema, name) for _, schema, name in rows}


def _measure(connection: psycopg.Connection, place: sql.Identifier) -> TableContent:
    row = connection.execute(sql.SQL(_MEASURE).format(place)).fetchone()
    count, checksum = row or (0, 0)
    return TableContent(int(count), str(checksum))


def _one(connection: psycopg.Connection, query: str, place: sql.Identifier) -> int:
    row = connection.execute(sql.SQL(query).format(place)).fetchone()
    return int(row[0]) if row else 0
