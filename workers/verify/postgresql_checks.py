"""What is asked of PostgreSQL besides its health: encryption, migrations, partitions."""

import os
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict

from penstock.migrations.files import FOLDER, read_folder
from penstock.migrations.grants import require_granted
from penstock.migrations.records import Record, read_records
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.verify.places import stays_here
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

# The months from this one on that have a partition of their own.
_MONTHS = """
SELECT parent, ahead, EXISTS (
           SELECT FROM pg_inherits
            WHERE inhparent = to_regclass('penstock.' || parent)
              AND inhrelid = to_regclass(format('penstock.%%s_y%%sm%%s', parent, to_char(month, 'YYYY'),
                                                to_char(month, 'MM'))))
  FROM unnest(ARRAY['submissions', 'publish_attempts']) AS parent,
       generate_series(0, %s) AS ahead,
       LATERAL (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead)) AS of (month)
 ORDER BY parent DESC, ahead
"""
#: A scheduler makes three months ahead, each day anew; fewer mean that it has not for a while.
_AHEAD = 2
_NEXT = 1


def check_postgresql_encryption(target: Target) -> Iterator[Result]:
    """Whether what goes over a network is encrypted, and the server is who it should be.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    name = "postgresql_tls"
    with target.database() as connection:
        in_use, host = bool(connection.pgconn.ssl_in_use), connection.info.host
    asked = str(conninfo_to_dict(target.settings.database_url).get("sslmode") or os.environ.get("PGSSLMODE", "prefer"))
    remedy = "Put sslmode=verify-full and sslrootcert into DATABASE_URL (docs/operations.md)."
    if in_use and asked in {"verify-full", "verify-ca"}:
        yield Result.ok(name, "TLS is in use, and the certificate is checked")
    elif in_use and not stays_here(host):
        yield Result.warn(name, "TLS is in use, and whose certificate it is is not looked at", remedy)
    elif in_use or stays_here(host):
        yield Result.ok(name, "TLS is in use" if in_use else "it is on this machine")
    else:
        yield Result.warn(name, "no TLS: whoever listens on the network reads answers", remedy)


def check_migrations(target: Target) -> Iterator[Result]:
    """Whether what was applied is, byte for byte, what this release brings; then the roles' rights.

    Whether any is missing is told by the check `schema`, as health has it.

    Raises:
        PenstockError: `STORAGE_MIGRATION_CHANGED`, naming the files; else of the family `STORAGE_`.
    """
    folder = read_folder(FOLDER)
    with target.database() as connection:
        known = read_records(connection)
        own = [record for record in known.values() if record.version <= folder.latest]
        differences = [difference for record in own for difference in record.differences(folder)]
        if differences:
            raise PenstockError(Code.STORAGE_MIGRATION_CHANGED, "; ".join(differences))
        newer = len(known) - len(own)
        told = f"{len(own)} of {len(folder.migrations)} applied, each as its file says"
        yield Result.ok("migrations", told + (f"; {newer} of a newer release" if newer else ""))
        if known.keys() != folder.migrations.keys() or not all(map(_is_applied, known.values())):
            yield Result.skipped("rights", "what they should be is known where this release's migrations are applied")
            return
        try:
            require_granted(connection)
        except PenstockError as error:
            yield Result.of_error("rights", error)
            return
        yield Result.ok("rights", "each role may do what the migrations let it, and no more")


def _is_applied(record: Record) -> bool:
    return record.state == "applied"


def check_partitions(target: Target) -> Iterator[Result]:
    """Whether the months to come have their partitions, and none of the rows has landed beside them.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    name = "partitions"
    remedy = "Run penstock migrate up, which makes them; then see why the schedulers' loop `upkeep` does not."
    with target.database() as connection:
        rows = connection.execute(_MONTHS.encode(), (_AHEAD,)).fetchall()
        missing = [(f"{parent} {ahead} month(s) ahead", int(ahead)) for parent, ahead, is_there in rows if not is_there]
        if missing:
            told = f"no partition: {', '.join(words for words, _ in missing)}"
            is_near = any(ahead <= _NEXT for _, ahead in missing)
            yield Result.fail(name, told, remedy) if is_near else Result.warn(name, told, remedy)
            return
        row = connection.execute("SELECT EXISTS (SELECT FROM penstock.submissions_default)").fetchone()
    if row and row[0]:
        yield Result.warn(name, "rows of submissions lie in the default partition", remedy)
        return
    yield Result.ok(name, f"this month and {_AHEAD} more have theirs")
