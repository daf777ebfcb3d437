"""What a login needs before it can migrate, and the SQL that gives it that."""

import psycopg
from psycopg import sql

from penstock.schemas.errors import Code, PenstockError

OWNER = "penstock_owner"
ROLES = (OWNER, "penstock_worker", "penstock_reader", "penstock_producer")

# Since PostgreSQL 16 a membership says whether one may SET ROLE; who may not, but has the ADMIN option, grants it
# to itself. Before, any member may, and CREATEROLE allows every grant of a role that is not a superuser.
_MAY_BECOME_OWNER = {
    False: "pg_has_role(rolname, 'MEMBER')",
    True: "pg_has_role(rolname, 'SET')",
}
_MAY_GRANT_OWNER = {
    False: "pg_has_role(rolname, 'MEMBER WITH ADMIN OPTION')"
    " OR (SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user)",
    True: "pg_has_role(rolname, 'MEMBER WITH ADMIN OPTION')",
}


def require_rights(connection: psycopg.Connection, *, bootstrapped: bool) -> None:
    """See that the login can make what is missing, and can act as the owner of what is there.

    Args:
        connection: as the login that migrates.
        bootstrapped: the first migration, which grants the login what it may grant itself, is applied.

    Raises:
        PenstockError: `STORAGE_PERMISSION_DENIED`; its remedy is the SQL for the database's administrator.
    """
    membership = _missing_membership(connection, bootstrapped=bootstrapped)
    statements = [*_missing_roles(connection), *membership, *_missing_create(connection)]
    if statements:
        text = " ".join(f"{statement.as_string(connection)};" for statement in statements)
        raise PenstockError(
            Code.STORAGE_PERMISSION_DENIED,
            f"the role {connection.info.user} may not migrate this database",
            remedy=f"Have an administrator run: {text}",
            details={"sql": text},
        )


def may_act_as_owner(connection: psycopg.Connection) -> bool:
    """Whether the login could `act_as_owner`."""
    may_become = _MAY_BECOME_OWNER[connection.info.server_version >= 160000]
    return _asks(connection, f"SELECT {may_become} FROM pg_roles WHERE rolname = '{OWNER}'")


def act_as_owner(connection: psycopg.Connection) -> None:
    """Let what follows in this transaction belong to the owner, whoever the login is."""
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))


def _missing_roles(connection: psycopg.Connection) -> list[sql.Composed]:
    found = {
        str(name)
        for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(ROLES),))
    }
    if _asks(connection, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"):
        return []
    missing = [role for role in ROLES if role not in found]
    statements = [sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)) for role in missing]
    return [*statements, _grant_owner(connection)] if OWNER in missing else statements


def _missing_membership(connection: psycopg.Connection, *, bootstrapped: bool) -> list[sql.Composed]:
    is_recent = connection.info.server_version >= 160000
    reachable = _MAY_BECOME_OWNER[is_recent]
    if not bootstrapped:
        reachable = f"{reachable} OR {_MAY_GRANT_OWNER[is_recent]}"
    unreachable = f"SELECT NOT ({reachable}) FROM pg_roles WHERE rolname = '{OWNER}'"
    return [_grant_owner(connection)] if _asks(connection, unreachable) else []


def _missing_create(connection: psycopg.Connection) -> list[sql.Composed]:
    needed = """
        SELECT NOT has_database_privilege(current_database(), 'CREATE')
               AND NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'penstock')
    """
    if not _asks(connection, needed):
        return []
    database, login = sql.Identifier(connection.info.dbname), sql.Identifier(connection.info.user)
    return [sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, login)]


def _grant_owner(connection: psycopg.Connection) -> sql.Composed:
    return sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(connection.info.user))


def _asks(connection: psycopg.Connection, question: str) -> bool:
    row = connection.execute(question.encode()).fetchone()
    return bool(row and row[0])
