"""Everything on one machine: servers, migrations, processes; in this order up and in the reverse one down."""

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.accounts.token_keys import generate_key
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.failures import EmbeddedServerError
from penstock.workers.embedded.gateway_process import place_gateway
from penstock.workers.embedded.home import Home, Servers
from penstock.workers.embedded.ports import LOOPBACK
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.procfile import DEFAULT_PROCFILE, ProcessType, parse_procfile
from penstock.workers.embedded.sidecar_process import place_sidecar
from penstock.workers.embedded.stop_signals import StopSignals
from penstock.workers.embedded.supervisor import DEFAULT_GRACE, Supervisor
from penstock.workers.embedded.token_keys import with_token_keys
from penstock.workers.embedded.valkey import EmbeddedValkey

Announce = Callable[[str], None]
#: Told the address of the operators' pages, None where there are none.
OnReady = Callable[[str | None], None]


def run_up(
    home: Home,
    *,
    environment: Mapping[str, str],
    migrate: Callable[[str], object],
    announce: Announce,
    on_ready: OnReady | None = None,
    procfile: str = DEFAULT_PROCFILE,
    grace: timedelta = DEFAULT_GRACE,
) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP. Call it from the main thread.

    A second signal insists: it ends what is being started, or kills what does not stop.

    Args:
        home: where the data lies; locked and unlocked here.
        environment: of the processes; DATABASE_URL and REDIS_URL in it (or their `_FILE` forms) name servers of the
            user's own, which are then used instead of embedded ones.
        migrate: applies the migrations to the database of the URL that it is given.
        announce: told, a line at a time and without passwords, where things listen and what happens to them.
        on_ready: called once, in a thread of its own, when all is started, with the address of the operators' pages
            (None where no sidecar runs); what it raises stops everything.
        procfile: the text of a Procfile.
        grace: how long the processes may take to stop.

    Returns:
        0 after a requested stop, 1 when the reader of the standard output was gone.

    Raises:
        PenstockError: the home is in use, a server does not start, the Procfile is wrong.
        Exception: whatever `migrate` or `on_ready` raised, after everything was stopped.
    """
    kinds: Sequence[ProcessType] = parse_procfile(procfile)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        stack.enter_context(home)
        embedded = _start_servers(home, environment, signals, stack)
        if not signals.requested:
            _prepare_database(embedded, environment, migrate)
        if signals.requested:
            return 0
        servers = embedded.note()
        stack.callback(home.forget_servers)
        home.note_servers(servers)
        variables = _with_servers(environment, servers)
        if embedded.postgres is not None:
            variables = with_token_keys(home, variables, generate_key)
        kinds, variables = place_gateway(kinds, variables, announce)
        kinds, variables, pages = place_sidecar(kinds, variables, announce)
        supervisor = Supervisor(kinds, variables, signals, sys.stdout, announce)
        stack.callback(supervisor.stop, grace)
        _announce_addresses(home, embedded, pages, announce)
        signals.insisting_raises = False
        supervisor.run(_Watch(embedded, on_ready and partial(on_ready, pages), announce).look)
        announce("stopping")
        return 1 if supervisor.output_lost else 0


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The servers that this `up` runs itself; None where the user has one."""

    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None

    @property
    def servers(self) -> list[EmbeddedPostgres | EmbeddedValkey]:
        return [server for server in (self.postgres, self.valkey) if server is not None]

    def note(self) -> Servers:
        """What other commands are told about them."""
        return Servers(
            database_url=None if self.postgres is None else self.postgres.urls.app,
            admin_database_url=None if self.postgres is None else self.postgres.urls.admin,
            redis_url=None if self.valkey is None else self.valkey.url,
            pid=os.getpid(),
        )


class _Watch:
    """Looks after the servers, and after `on_ready`, between the supervisor's steps."""

    def __init__(self, embedded: _Embedded, on_ready: Callable[[], None] | None, announce: Announce) -> None:
        self._embedded = embedded
        self._on_ready = on_ready
        self._announce = announce
        self._failure: BaseException | None = None

    def look(self) -> None:
        """Start a server that died, call `on_ready` once, raise what it raised."""
        for server in self._embedded.servers:
            if not server.is_running():
                self._revive(server)
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            # A daemon: a stop does not wait for it, and servers that go away under it are no news.
            threading.Thread(target=self._call, args=(on_ready,), name="on-ready", daemon=True).start()
        if self._failure is not None:
            raise self._failure

    def _revive(self, server: EmbeddedPostgres | EmbeddedValkey) -> None:
        self._announce(f"{server.name} ended; it is started again")
        port = server.port
        server.start()
        if server.port != port:
            raise EmbeddedServerError(
                f"port {port} of {server.name} was taken by another program while the server was down",
                remedy="Run `penstock up` again: it finds another port and tells it to every process.",
            )

    def _call(self, on_ready: Callable[[], None]) -> None:
        try:
            on_ready()
        except BaseException as error:  # the main thread raises it
            self._failure = error


def _start_servers(home: Home, environment: Mapping[str, str], signals: StopSignals, stack: ExitStack) -> _Embedded:
    """Start the servers that the environment does not name; `stack` stops them."""
    home.forget_servers()
    embedded = _Embedded(
        EmbeddedPostgres(home) if _setting(environment, "DATABASE_URL") is None else None,
        EmbeddedValkey(home) if _setting(environment, "REDIS_URL") is None else None,
    )
    for server in embedded.servers:
        if not signals.requested:
            stack.callback(server.stop)
            server.start()
    return embedded


def _prepare_database(embedded: _Embedded, environment: Mapping[str, str], migrate: Callable[[str], object]) -> None:
    if embedded.postgres is not None:
        migrate(embedded.postgres.urls.admin)
        grant_app_roles(embedded.postgres.urls.admin, embedded.postgres.app_password)
        return
    own = _setting(environment, "PENSTOCK_MIGRATION_DATABASE_URL") or _setting(environment, "DATABASE_URL")
    if own is not None:
        migrate(own)


def _with_servers(environment: Mapping[str, str], servers: Servers) -> dict[str, str]:
    found = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    return {**environment, **{name: url for name, url in found.items() if url is not None}}


def _setting(environment: Mapping[str, str], name: str) -> str | None:
    """The setting `name`, or the content of the file that `name`_FILE names; None if neither is set."""
    if environment.get(name):
        return environment[name]
    path = environment.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise InvalidInputError(Code.CONFIG_INVALID, f"{name}_FILE: {path} can't be read: {error.strerror}") from None


def _announce_addresses(home: Home, embedded: _Embedded, pages: str | None, announce: Announce) -> None:
    announce(f"home: {home.path}")
    for server in embedded.servers:
        announce(f"{server.name} listens on {LOOPBACK}:{server.port}")
    if pages is not None:
        announce(f"the operators' pages: {pages}")
