"""Keys to check, a reader that counts, a clock to set, and a way to PostgreSQL that can be cut, frozen and mended."""

import asyncio
import socket
import socketserver
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from penstock.producers.gateway.keys import KeyCheck
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.producers.storage.api_keys import ApiKeyReader, StoredKey
from penstock.producers.storage.api_keys_changes import KeySummary, WantedKey, add_key, lock_key, revoke_key
from penstock.schemas.api_key import ApiKey, Scope
from tests.system import Database

SECRET = "k1:" + "s" * 32
GRACE = timedelta(minutes=15)
T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run it in an event loop; what hangs fails."""

    async def main() -> T:
        return await asyncio.wait_for(work(), 60)

    return asyncio.run(main())


def bearer(key: ApiKey) -> str:
    return f"Bearer {key.text}"


@dataclass(frozen=True, slots=True)
class Made:
    """A key that was made, and what is known of it."""

    key: ApiKey
    summary: KeySummary

    @property
    def header(self) -> str:
        return bearer(self.key)

    @property
    def wrong_header(self) -> str:
        """A key of the same prefix with another secret."""
        other = ApiKey.make()
        return f"Bearer pk_{self.key.prefix}{other.text[15:]}"


@dataclass(frozen=True, slots=True)
class Desk:
    """Who makes and revokes keys."""

    database: Database

    def make(self, secret: str = SECRET, **wanted: Any) -> Made:
        key = ApiKey.make()
        asked = {"tenant": "acme", "name": "a key", "scopes": [Scope.POSTS_WRITE], "created_by": "me"} | wanted
        with psycopg.connect(self.database.admin_url, autocommit=True) as connection:
            return Made(key, add_key(connection, key, KeySecrets.from_setting(secret), WantedKey(**asked)))

    def revoke(self, made: Made) -> None:
        with psycopg.connect(self.database.admin_url) as connection:
            revoke_key(connection, lock_key(connection, str(made.summary.key_id)))

    def last_used(self, made: Made) -> Any:
        return self.database.value("SELECT last_used_at FROM penstock.api_keys WHERE key_id = %s", made.summary.key_id)


class CountingReader(ApiKeyReader):
    """A reader that remembers what was asked of it."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url)
        self.reads: list[list[str]] = []
        self.uses: list[dict[UUID, timedelta]] = []

    async def read(self, prefixes: Sequence[str]) -> dict[str, StoredKey]:
        self.reads.append(list(prefixes))
        return await super().read(prefixes)

    async def note_uses(self, uses: Mapping[UUID, timedelta]) -> None:
        await super().note_uses(uses)
        self.uses.append(dict(uses))


@dataclass(slots=True)
class Clock:
    """Monotonic seconds that a test sets."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Replica:
    """A gateway's check of keys without its upkeep, which a test does step by step."""

    url: str
    secret: str = SECRET
    grace: timedelta = GRACE
    clock: Clock = field(default_factory=Clock)
    seen: list[str] = field(default_factory=list)
    reader: CountingReader = field(init=False)
    check: KeyCheck = field(init=False)

    def __post_init__(self) -> None:
        self.reader = CountingReader(self.url)
        secrets = KeySecrets.from_setting(self.secret)
        self.check = KeyCheck(self.reader, secrets, self.grace, observe=self.seen.append, clock=self.clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.check.__aexit__(kind, error, traceback)


class Way:
    """Forwards TCP to the server of `url`, until it is cut (connections end, new ones too) or frozen."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 5432)
        self._flows = threading.Event()
        self._flows.set()
        self._is_cut = False
        self._ends: list[socket.socket] = []
        way = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                way._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        host, _, _ = parts.netloc.rpartition("@")
        port = self._server.server_address[1]
        self.url = parts._replace(
            netloc=f"{host}@127.0.0.1:{port}", query="sslmode=disable&gssencmode=disable"
        ).geturl()

    def cut(self) -> None:
        self._is_cut = True
        for end in self._ends:
            _hang_up(end)
        self._ends.clear()

    def freeze(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._is_cut = False
        self._flows.set()

    def _serve(self, client: socket.socket) -> None:
        if self._is_cut:
            return
        with socket.create_connection(self._target) as server:
            self._ends += [client, server]
            forward = threading.Thread(target=self._pump, args=(client, server), daemon=True)
            forward.start()
            self._pump(server, client)
            forward.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self._flows.wait()
                sink.sendall(data)
        except OSError:
            pass  # the other direction has hung up
        for end in (source, sink):
            _hang_up(end)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.mend()
        self.cut()
        self._server.shutdown()
        self._server.server_close()


def _hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
