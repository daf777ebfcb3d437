"""The roles that a database's owners and rights name: read for a backup, and made where they are missing.

Roles belong to the server, so no dump of a database holds them. Passwords stay where they are, and no role is made more
powerful than an ordinary login: who restores gives both again.
"""

import psycopg
from psycopg import sql

from penstock.workers.backup.catalogue import OWN_SCHEMA
from penstock.workers.backup.manifest import Content, Membership, Role

# Those that rights in this database name, the owners of what is in it, and their members, however indirect.
_ROLES = f"""
WITH RECURSIVE named AS (
    SELECT refobjid AS role FROM pg_shdepend
     WHERE refclassid = 'pg_authid'::regclass
       AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OWN_SCHEMA}
    UNION SELECT p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OWN_SCHEMA}
    UNION SELECT n.nspowner FROM pg_namespace n WHERE {OWN_SCHEMA}
), found AS (
    SELECT role FROM named
    UNION
    SELECT m.member FROM pg_auth_members m JOIN found ON m.roleid = found.role JOIN pg_roles r ON r.oid = m.member
     WHERE NOT r.rolsuper
)
SELECT r.rolname, r.rolcanlogin, r.rolinherit FROM found JOIN pg_roles r ON r.oid = found.role
 WHERE r.rolname !~ '^pg_' ORDER BY r.rolname
"""
# PostgreSQL 16 said of a membership whether one inherits by it, and may SET ROLE.
_MEMBERSHIPS = {
    False: "SELECT g.rolname, r.rolname, bool_or(m.admin_option), NULL, NULL",
    True: "SELECT g.rolname, r.rolname, bool_or(m.admin_option), bool_or(m.inherit_option), bool_or(m.set_option)",
}
_OF_THESE = """
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
 WHERE g.rolname = ANY(%s) AND r.rolname = ANY(%s) GROUP BY 1, 2 ORDER BY 1, 2
"""


def read_roles(connection: psycopg.Connection) -> tuple[list[Role], list[Membership]]:
    """The roles of the connection's database, and who of them is a member of whom."""
    roles = [Role(*row) for row in connection.execute(_ROLES.encode())]
    names = [role.name for role in roles]
    query = _MEMBERSHIPS[_knows_options(connection)] + _OF_THESE
    return roles, [Membership(*row) for row in connection.execute(query.encode(), (names, names))]


def make_roles(connection: psycopg.Connection, content: Content) -> list[str]:
    """Make the roles that are missing, and the memberships of all; returns the logins that were made.

    A login comes without a password: nobody can log in as it until it is given one.
    """
    known = {str(name) for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    missing = [role for role in content.roles if role.name not in known]
    with connection.transaction():
        for role in missing:
            options = f" {'LOGIN' if role.login else 'NOLOGIN'} {'INHERIT' if role.inherit else 'NOINHERIT'}"
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role.name)) + sql.SQL(options))
        for membership in content.memberships:
            connection.execute(_grant(membership, has_options=_knows_options(connection)))
    return [role.name for role in missing if role.login]


def _grant(membership: Membership, *, has_options: bool) -> sql.Composed:
    grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(membership.role), sql.Identifier(membership.member))
    if not has_options:
        return grant + sql.SQL(" WITH ADMIN OPTION" if membership.admin else "")
    told = {"ADMIN": membership.admin, "INHERIT": membership.inherit, "SET": membership.set}
    options = ", ".join(f"{name} {value}".upper() for name, value in told.items() if value is not None)
    return grant + sql.SQL(f" WITH {options}")


def _knows_options(connection: psycopg.Connection) -> bool:
    return connection.info.server_version >= 160000
