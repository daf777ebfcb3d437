"""Where a command finds its servers: the environment, else the embedded servers of PENSTOCK_HOME."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg

from penstock.producers import Producer
from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.database.failures import storage_errors
from penstock.workers.embedded.home import Home, read_servers
from penstock.workers.embedded.token_keys import token_keys_of
from penstock.workers.settings import WorkerSettings

_S = TypeVar("_S", bound=ProducerSettings)

DEFAULT_HOME = "~/.penstock"
_NO_SERVERS = "Set DATABASE_URL and REDIS_URL, or start everything on this machine: penstock up"


def home_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the embedded servers."""
    return Path(environ.get("PENSTOCK_HOME") or DEFAULT_HOME).expanduser()


def environment() -> dict[str, str]:
    """The environment, with the addresses of running embedded servers where it names none."""
    found = dict(os.environ)
    wants_database = not (found.get("DATABASE_URL") or found.get("DATABASE_URL_FILE"))
    wants_redis = not (found.get("REDIS_URL") or found.get("REDIS_URL_FILE"))
    servers = read_servers(home_path(found)) if wants_database or wants_redis else None
    if servers is None:
        return found
    if wants_database and servers.database_url:
        found["DATABASE_URL"] = servers.database_url
        found |= token_keys_of(Home(home_path(found)), found)
        if servers.admin_database_url:
            found.setdefault("PENSTOCK_MIGRATION_DATABASE_URL", servers.admin_database_url)
    if wants_redis and servers.redis_url:
        found["REDIS_URL"] = servers.redis_url
    return found


def worker_settings() -> WorkerSettings:
    """All settings.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    return _with_remedy(WorkerSettings)


def producer_settings() -> ProducerSettings:
    """The settings of a command that only enqueues.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    return _with_remedy(ProducerSettings)


def _with_remedy(settings: type[_S]) -> _S:
    try:
        return settings.from_environment(environment())
    except InvalidInputError as error:
        if set(error.details.get("settings", ())) <= {"DATABASE_URL", "REDIS_URL"}:
            raise InvalidInputError(Code.CONFIG_INVALID, error.message, remedy=_NO_SERVERS) from None
        raise


def open_producer(settings: ProducerSettings, tenant: str | None = None) -> Producer:
    """A producer for `tenant`, or the settings' own."""
    return Producer.from_settings(settings, tenant)


@contextmanager
def open_database(url: str) -> Iterator[psycopg.Connection]:
    """One connection, in autocommit; psycopg's errors become ours.

    Raises:
        PenstockError: of the `STORAGE_` family.
    """
    with (
        storage_errors(),
        psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=5,
            application_name="penstock-cli",
            prepare_threshold=None,  # a pooler may give each statement another server connection
        ) as connection,
    ):
        yield connection
