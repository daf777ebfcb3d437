"""What all tests share: real servers, and a place of one's own on them."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from tests.servers import ADMIN_URL, REDIS_URL, TestServers

pytest_plugins = ["tests.system"]

HERE = Path(__file__).parent

_SERVERS = pytest.StashKey[TestServers]()

#: Modules that start whole systems on servers of their own, minutes in all. They run at full size (`make test-faults`),
#: and where they are named.
LONG = frozenset(
    {
        "deploy/monitoring/test_live.py",
        "deploy/test_composed.py",
        "end_to_end/test_after_restore.py",
        "end_to_end/test_backup_faults.py",
        "end_to_end/test_debian_servers.py",
        "end_to_end/test_point_in_time.py",
        "end_to_end/test_roles.py",
        "end_to_end/test_tls.py",
    }
)


#: Modules that take longest, begun first: none of them must be left when the other processors have nothing more to do.
#: (`--no-loadscope-reorder` in pyproject.toml, or those with the most tests would be, however quick they are.)
FIRST = (
    "browser/test_every_page.py",
    "end_to_end/test_demo_posts.py",
    "recovery/test_postgresql_away.py",
    "recovery/test_archive_killed.py",
    "end_to_end/test_examples.py",
    "end_to_end/test_http_surface.py",
    "recovery/test_posts_trial.py",
    "end_to_end/test_http_hostile.py",
    "recovery/test_sentinel.py",
    "recovery/test_fairness.py",
    "end_to_end/test_no_leaks.py",
    "recovery/test_poison.py",
    "end_to_end/test_walkthrough.py",
    "recovery/test_posts_scenarios.py",
    "end_to_end/test_up_accounts.py",
    "end_to_end/test_prometheus.py",
    "recovery/test_posts_tokens.py",
    "recovery/test_all_at_once.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest modules first; the same in each of xdist's processes."""
    places = {HERE / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the long modules to those who ask for them."""
    if os.environ.get("PENSTOCK_TEST_FULL") or not collection_path.is_relative_to(HERE):
        return None
    return True if collection_path.relative_to(HERE).as_posix() in LONG else None


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers, in xdist's controller before its workers, or in the only process."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    servers = TestServers()
    config.stash[_SERVERS] = servers
    servers.start()
    os.environ.setdefault("PENSTOCK_TEST_APP_PASSWORD", secrets.token_urlsafe(16))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that was skipped has shown nothing, so it fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(session.config, "workerinput") or reporter is None or os.environ.get("CI") != "true":
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped:
        reporter.write_line(f"{len(skipped)} test(s) were skipped, which is a failure where CI=true", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    servers = config.stash.get(_SERVERS, None)
    if servers is not None:
        servers.stop()


@dataclass(frozen=True, slots=True)
class BlankDatabase:
    """A database of one's own without any object in it."""

    name: str
    admin_url: str


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The Redis of this run. Keep to keys that begin with `namespace`."""
    return os.environ[REDIS_URL]


@pytest.fixture(scope="module")
def namespace(redis_url: str) -> Iterator[str]:
    """A prefix of one's own for keys; what has it is deleted at the end."""
    prefix = f"test-{secrets.token_hex(6)}"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=10_000):
            client.delete(key)


@pytest.fixture(scope="module")
def blank_database() -> Iterator[BlankDatabase]:
    """A new database, dropped at the end whoever is still connected."""
    database = create_database()
    yield database
    drop_database(database)


def create_database() -> BlankDatabase:
    server_url = os.environ[ADMIN_URL]
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return BlankDatabase(name, urlsplit(server_url)._replace(path=f"/{name}").geturl())


def drop_database(database: BlankDatabase) -> None:
    with psycopg.connect(os.environ[ADMIN_URL], autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))
