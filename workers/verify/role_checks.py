"""The login of the processes: enough for their work, and no more than that."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from penstock.migrations.grants import WORKER
from penstock.migrations.rights import OWNER
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

_WHO = f"""
SELECT current_user AS login, rolsuper AS superuser, rolcreaterole AS createrole, rolcreatedb AS createdb,
       rolreplication AS replication, rolbypassrls AS bypassrls,
       coalesce(pg_has_role(current_user, to_regrole('{WORKER}'), 'USAGE'), false) AS works,
       coalesce(pg_has_role(current_user, to_regrole('{OWNER}'), 'MEMBER'), false) AS owns,
       coalesce(has_schema_privilege(current_user, to_regnamespace('penstock')::oid, 'CREATE'), false) AS creates
  FROM pg_roles WHERE rolname = current_user
"""
_POWERS = ("superuser", "createrole", "createdb", "replication", "bypassrls")
# What this login may do to a table, and the role that all processes have may not.
_BEYOND = f"""
SELECT privilege || ' ON ' || c.oid::regclass
  FROM pg_class c CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
 WHERE relnamespace = to_regnamespace('penstock') AND relkind IN ('r', 'p', 'v', 'm')
   AND has_table_privilege(current_user, c.oid, privilege)
   AND NOT has_table_privilege(to_regrole('{WORKER}'), c.oid, privilege)
 ORDER BY relname <> 'operator_actions', 1
"""
_NAMED = 5


def check_role(target: Target) -> Iterator[Result]:
    """Whether the login has the workers' role, and nothing that would let it destroy what is kept.

    Raises:
        PenstockError: `STORAGE_PERMISSION_DENIED` where it lacks the role; else of the family `STORAGE_`.
    """
    with target.database() as connection:
        who = connection.cursor(row_factory=dict_row).execute(_WHO.encode()).fetchone() or {}
        login = str(who.get("login", ""))
        yield _suffices(connection, login, bool(who.get("works")))
        if not who.get("works"):
            return
        beyond = [str(row[0]) for row in connection.execute(_BEYOND.encode())]
        yield _is_bounded(connection, login, who, beyond)


def _suffices(connection: psycopg.Connection, login: str, works: bool) -> Result:
    if works:
        return Result.ok("role", f"{login} has the role {WORKER}")
    grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(WORKER), sql.Identifier(login)).as_string(connection)
    remedy = f"Migrate first where the role is not there; then have an administrator run: {grant};"
    told = f"{login} has not the rights of {WORKER}"
    return Result.of_error("role", PenstockError(Code.STORAGE_PERMISSION_DENIED, told, remedy=remedy))


def _is_bounded(connection: psycopg.Connection, login: str, who: dict[str, Any], beyond: Sequence[str]) -> Result:
    found = [f"is a role with {power.upper()}" for power in _POWERS if who[power]]
    if who["owns"]:
        found.append(f"is a member of {OWNER}: it can drop tables and rewrite what operators did")
    if who["creates"]:
        found.append("may make objects in the schema penstock")
    if beyond:
        more = len(beyond) - _NAMED
        found.append(f"may {', '.join(beyond[:_NAMED])}{f' and {more} more' if more > 0 else ''}")
    if not found:
        return Result.ok("role_bounds", f"{login} may drop nothing, and can't change what operators did")
    made = sql.SQL("CREATE ROLE penstock_app LOGIN IN ROLE {}").format(sql.Identifier(WORKER)).as_string(connection)
    remedy = f"Give the processes a login of their own with that role alone: {made}; and set its password."
    return Result.fail("role_bounds", f"{login} {'; '.join(found)}", remedy)
