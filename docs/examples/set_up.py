"""Makes the shop's login and table on the PostgreSQL of `make run`, and prints what its services need to know.

`eval "$(.venv/bin/python docs/examples/set_up.py)"`. Running it again gives the login another password.
"""

import secrets
import sys
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from penstock.workers.cli.environment import environment

ROLE = "shop"
TABLE = """
CREATE SCHEMA IF NOT EXISTS shop AUTHORIZATION shop;
CREATE TABLE IF NOT EXISTS shop.reviews (
    id    uuid PRIMARY KEY,
    name  text NOT NULL,
    stars integer NOT NULL CHECK (stars > 0)
);
ALTER TABLE shop.reviews OWNER TO shop;
"""


def set_up(admin_url: str) -> str:
    """Make what is missing; returns the URL of the shop's login."""
    password = secrets.token_urlsafe(24)
    with psycopg.connect(admin_url) as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
        verifier = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
        verb = "CREATE" if known is None else "ALTER"
        connection.execute(sql.SQL(verb + " ROLE shop LOGIN PASSWORD {}").format(sql.Literal(verifier)))
        # All that a producer needs: to execute penstock.enqueue.
        connection.execute("GRANT penstock_producer TO shop")
        connection.execute(TABLE)
    parts = urlsplit(admin_url)
    return parts._replace(netloc=f"{ROLE}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()


def main() -> None:
    """Set up, and print the variable for a shell."""
    found = environment()
    url = found.get("PENSTOCK_MIGRATION_DATABASE_URL") or found.get("DATABASE_URL")
    if url is None:
        sys.exit("no database: start one with `make run`, or set PENSTOCK_MIGRATION_DATABASE_URL to a superuser's")
    sys.stdout.write(f"export SHOP_DATABASE_URL='{set_up(url)}'\n")


if __name__ == "__main__":
    main()
