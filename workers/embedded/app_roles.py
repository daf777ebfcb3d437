"""The login that Penstock's processes use on the embedded PostgreSQL."""

import psycopg
from psycopg import sql

from penstock.workers.embedded.postgres import APP_ROLE

#: What the migrations make; the one login holds all of them on a single machine.
GROUP_ROLES = ("penstock_worker", "penstock_producer", "penstock_reader")


def grant_app_roles(admin_url: str, password: str) -> None:
    """Make the login with this password, or give it this password, and make it a member of each group role.

    Running it again changes nothing. A group role that the migrations have not made yet is left out.
    """
    with psycopg.connect(admin_url) as connection:
        # The server sees, and so could log, no more than the verifier.
        verifier = connection.pgconn.encrypt_password(password.encode(), APP_ROLE.encode(), b"scram-sha-256").decode()
        verb = "ALTER" if _exists(connection, APP_ROLE) else "CREATE"
        login = sql.SQL(verb + " ROLE {} LOGIN NOSUPERUSER PASSWORD {}")
        connection.execute(login.format(sql.Identifier(APP_ROLE), sql.Literal(verifier)))
        for group in GROUP_ROLES:
            if _exists(connection, group):
                grant = sql.SQL("GRANT {} TO {}")
                connection.execute(grant.format(sql.Identifier(group), sql.Identifier(APP_ROLE)))


def _exists(connection: psycopg.Connection, role: str) -> bool:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    return found is not None
