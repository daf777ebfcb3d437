"""How a desk reads: with what was known last where a server is away, and a note of that for the page."""

from collections.abc import Callable, Hashable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from penstock.schemas.errors import UnavailableError
from penstock.workers.sidecar.pages.needs import Missing
from penstock.workers.sidecar.services import Services

T = TypeVar("T")

POSTGRESQL, REDIS = "PostgreSQL", "Redis"
#: Answers of this age are given to the next asker: many tabs then cost as much as one.
FRESH_FOR = timedelta(milliseconds=500)


class Reads:
    """Reads for one request. `missing` tells which servers were away, and how old what is shown of them is.

    Args:
        services: to ask.
        fresh_for: the age up to which an answer that is known will do.
    """

    def __init__(self, services: Services, fresh_for: timedelta = FRESH_FOR) -> None:
        self._services = services
        self._fresh_for = fresh_for
        self._missed: dict[str, datetime | None] = {}

    @property
    def missing(self) -> Sequence[Missing]:
        """The servers that are away."""
        for presence in self._services.servers.away():
            self._missed.setdefault(presence.name, None)
        return [Missing(name, as_of) for name, as_of in sorted(self._missed.items())]

    def _read(self, server: str, name: Hashable, ask: Callable[[], T]) -> T:
        """What is known now, or was last.

        Raises:
            PenstockError: where nothing is known, or the thing is not there.
        """
        try:
            answer = self._services.known.read(("page", name), ask, fresh_for=self._fresh_for)
        except UnavailableError:
            self._missed.setdefault(server, None)
            raise
        if answer.stale:
            self._note(server, answer.as_of)
        return answer.value

    def _read_or(self, server: str, name: Hashable, ask: Callable[[], T], otherwise: T) -> T:
        """As `_read`, for a part of a page that can do without it."""
        try:
            return self._read(server, name, ask)
        except UnavailableError:
            return otherwise

    def _note(self, server: str, as_of: datetime) -> None:
        known = self._missed.get(server)
        self._missed[server] = as_of if known is None else min(known, as_of)
