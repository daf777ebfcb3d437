"""One PostgreSQL and one Valkey for a test run, unless the environment names servers to use instead."""

import os
import shutil
import tempfile
from pathlib import Path

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey

ADMIN_URL = "PENSTOCK_TEST_DATABASE_ADMIN_URL"
REDIS_URL = "PENSTOCK_TEST_REDIS_URL"

#: The data of a test run need not outlive a power cut.
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class TestServers:
    """Servers in a temporary home; their URLs stand in the environment, which xdist's workers inherit."""

    __test__ = False

    def __init__(self) -> None:
        self._home = Home(Path(tempfile.mkdtemp(prefix="penstock-tests-")))
        self._postgres = EmbeddedPostgres(self._home, settings=FAST_SETTINGS)
        self._valkey = EmbeddedValkey(self._home, appendfsync="no")

    def start(self) -> None:
        """Start what the environment does not name yet."""
        self._home.lock()
        if ADMIN_URL not in os.environ:
            os.environ[ADMIN_URL] = self._postgres.start().admin
        if REDIS_URL not in os.environ:
            os.environ[REDIS_URL] = self._valkey.start()

    def stop(self) -> None:
        """Stop what was started and remove its data."""
        self._valkey.stop()
        self._postgres.stop()
        self._home.unlock()
        shutil.rmtree(self._home.path)
