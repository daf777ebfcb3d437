"""Servers of one's own, and chance with a seed, for the tests that inject faults."""

from collections.abc import Iterator

import pytest

from tests.recovery.posts_trial import posts, stand_in
from tests.recovery.servers import OwnPostgres, OwnValkey, Seeded
from tests.recovery.trial import trial

__all__ = ["own_postgres", "own_valkey", "posts", "seeded", "stand_in", "trial"]


@pytest.fixture
def seeded() -> Seeded:
    """Chance that can be repeated; its seed stands in the test's output."""
    return Seeded()


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[OwnValkey]:
    """A Valkey of the module's own, flushed every second."""
    with OwnValkey() as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL of the module's own with a migrated database: `own_postgres.database`."""
    with OwnPostgres() as server:
        yield server
