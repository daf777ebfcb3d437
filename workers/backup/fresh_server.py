"""A PostgreSQL that lives as long as one verification."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres

#: What it holds is thrown away: it need not survive anything.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_level": "minimal"} | {
    "max_wal_senders": "0",
    "autovacuum": "off",
}


@contextmanager
def fresh_server(scratch: Path | None) -> Iterator[str]:
    """The URL of an empty database, as superuser, on an embedded server of its own.

    Args:
        scratch: where its data lies; needs as much room as the database, and is in the system's temporary folder
            where this is None.

    Raises:
        EmbeddedServerError: it is not installed, or does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="penstock-verify-", dir=scratch))
    try:
        with Home(folder) as home:
            server = EmbeddedPostgres(home, settings=_SETTINGS)
            try:
                yield server.start().admin
            finally:
                server.stop()
    finally:
        shutil.rmtree(folder)
