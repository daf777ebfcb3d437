"""The stand-in, and the platforms that talk to it."""

from collections.abc import Iterator

import pytest

from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.stand_in.server import StandIn
from tests.workers.platforms.driver import open_platforms


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def platforms(stand_in: StandIn) -> Iterator[Platforms]:
    with open_platforms(stand_in) as opened:
        yield opened


@pytest.fixture
def impatient(stand_in: StandIn) -> Iterator[Platforms]:
    """Platforms that give a call up soon, for what never answers."""
    with open_platforms(stand_in, PENSTOCK_PLATFORM_READ_SECONDS="0.4") as opened:
        yield opened
