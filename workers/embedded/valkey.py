"""The embedded Valkey: loopback alone, a password, an append-only file, nothing ever evicted."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.workers.embedded import binaries, ports
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.private_files import write_private
from penstock.workers.embedded.privileges import Identity, server_identity
from penstock.workers.embedded.server_process import ServerProcess

_SECRET = "valkey"  # noqa: S105 - the name of a file

#: `set-proc-title no` keeps the arguments readable, by which a server left over is recognised.
#: Without snapshots (`save ""`) the append-only file alone is the data.
_CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir "{data}"
appendonly yes
appendfsync {appendfsync}
aof-load-truncated yes
save ""
maxmemory-policy noeviction
daemonize no
set-proc-title no
logfile ""
"""


class EmbeddedValkey(ServerProcess):
    """Valkey 9 in a home whose lock the caller holds.

    Args:
        home: a locked home.
        appendfsync: how often the append-only file is flushed; `no` for tests.
        start_limit: how long loading the append-only file may take.
        stop_limit: how long a shutdown may take before the server is killed.
    """

    name = "valkey"
    program = "valkey-server"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        home: Home,
        *,
        appendfsync: str = "everysec",
        start_limit: timedelta = timedelta(minutes=2),
        stop_limit: timedelta = timedelta(seconds=30),
    ) -> None:
        super().__init__(home, start_limit=start_limit, stop_limit=stop_limit)
        self._appendfsync = appendfsync
        self._data = self.folder / "data"
        self._configuration = self.folder / "valkey.conf"

    @property
    def url(self) -> str:
        """The URL of the running server."""
        return f"redis://:{self.home.secret(_SECRET)}@{ports.LOOPBACK}:{self.port}/0"

    def start(self) -> str:
        """Start the server and return its URL.

        Raises:
            EmbeddedServerError: it can't be started.
        """
        if not self._data.exists():
            self._data.mkdir(mode=0o700)
        self._identity().own(self._data)
        self._start()
        return self.url

    def _identity(self) -> Identity:
        return server_identity((binaries.valkey_server(), self.folder))

    def _marker(self) -> str:
        return str(self._configuration)

    def _clear_leftovers(self) -> None:
        """Nothing: Valkey cuts an unfinished last entry off its file by itself."""

    def _command(self) -> list[str]:
        text = _CONFIGURATION.format(
            host=ports.LOOPBACK,
            port=self.port,
            password=self.home.secret(_SECRET),
            data=_quoted(self._data),
            appendfsync=self._appendfsync,
        )
        write_private(self._configuration, text)
        self._identity().own(self._configuration)
        return [str(binaries.valkey_server()), str(self._configuration)]

    def _is_ready(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:  # not listening yet, or loading
            return False
        finally:
            client.close()


def _quoted(path: Path) -> str:
    """The path inside a double-quoted string of Valkey's configuration."""
    return os.fspath(path).replace("\\", "\\\\").replace('"', '\\"')
