"""The desk's part for the overview, queues, circuits, limits and the audit."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.producers.queue.counts import QueueCounts
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import Queue
from penstock.workers.database.operator_actions import ActionFilter, ActionLog
from penstock.workers.dead_letters.moments import parse_moment
from penstock.workers.protection.circuits_view import CircuitState, CircuitView
from penstock.workers.protection.limits_control import LimitControl, NewOverride
from penstock.workers.protection.limits_view import LimitState
from penstock.workers.protection.pauses import PauseControl, PausedKey
from penstock.workers.queues.control import QueueControl
from penstock.workers.queues.post_points import PostPoint
from penstock.workers.sidecar.pages.desk_reads import POSTGRESQL, REDIS, Reads
from penstock.workers.sidecar.pages.history import SPAN, figures_of, rates_of
from penstock.workers.sidecar.pages.needs import ROWS, Figures, Health, Need, PageOf, QueueRow


class GateDesk(Reads):
    """What stands between jobs and their work, and how all of it is."""

    def health(self) -> Health:
        """The report's sentence."""
        report = self._services.health.report()
        return Health(str(report.status), report.sentence, report.at)

    def needs(self) -> Sequence[Need]:
        """What needs a person, the most pressing first."""
        found = self._services.attention.needs()
        return [Need(one.severity, one.sentence, one.step, one.link, one.path) for one in found]

    def figures(self) -> Figures:
        """The last six hours of all queues."""
        minutes = SPAN // timedelta(minutes=1)
        nothing: Sequence[PostPoint] = []
        posts = self._read_or(REDIS, "trend of posts", lambda: self._services.trends.posts(minutes), nothing)
        return figures_of(self._trend(), datetime.now(UTC), posts)

    def figures_of(self, queue: str) -> Figures:
        """The last six hours of one queue."""
        return figures_of([item for item in self._trend() if item.queue == queue], datetime.now(UTC))

    def _trend(self) -> Sequence[Any]:
        minutes = SPAN // timedelta(minutes=1)
        return self._read_or(REDIS, "trends", lambda: self._services.trends.read(minutes), [])

    def queues(self) -> Sequence[QueueRow]:
        """Each queue; none where Redis is away and nothing was known."""
        inspector = self._services.queues
        nothing: list[QueueCounts] = []
        found = self._read_or(REDIS, "queues", lambda: [inspector.counts(queue) for queue in Queue], nothing)
        rates = rates_of(self._trend(), datetime.now(UTC))
        return [_row(counts, rates.get(counts.queue)) for counts in found]

    def weights(self, queue: str) -> Mapping[str, int]:
        """Tenants whose weight is not 1."""
        return self._read_or(REDIS, ("weights", queue), lambda: self._queue_control("").weights(queue), {})

    def circuits(self) -> Sequence[CircuitView]:
        """Every circuit that was ever asked."""
        return self._read_or(REDIS, "circuits", self._services.circuits.states, [])

    def limits(self, after: str | None = None) -> PageOf:
        """A page of limits."""
        nothing: tuple[list[LimitState], str | None] = ([], None)
        page = self._services.limits.page
        states, following = self._read_or(REDIS, ("limits", after), lambda: page(ROWS, after), nothing)
        return PageOf(states, following)

    def pauses(self) -> Sequence[PausedKey]:
        """What is paused besides whole queues."""
        return self._read_or(REDIS, "pauses", self._services.pauses.list, [])

    def pause(self, target: str, by: str, reason: str) -> None:
        """Pause a queue, or a gate key (which has a colon)."""
        if ":" in target:
            self._pause_control(by).pause(target, reason)
        else:
            self._queue_control(by).pause(target, reason)

    def resume(self, target: str, by: str, reason: str) -> None:
        """Resume a queue, or a gate key."""
        if ":" in target:
            self._pause_control(by).resume(target, reason)
        else:
            self._queue_control(by).resume(target, reason)

    def force_circuit(self, name: str, state: str, by: str, reason: str, lasting: timedelta | None) -> None:
        """Force a circuit open or closed, or let it go by its calls again."""
        if state == "auto":
            self._services.circuits.auto(name, reason, by)
        elif state == CircuitState.OPEN:
            self._services.circuits.force(name, CircuitState.OPEN, reason, by, lasting)
        else:
            self._services.circuits.force(name, CircuitState.CLOSED, reason, by, lasting)

    def set_limit(
        self, key: str, limit: int, window: timedelta, lasting: timedelta | None, by: str, reason: str
    ) -> None:
        """Set a limit in the place of the callers' own."""
        self._limit_control(by).set_override(key, NewOverride(limit, window, lasting), reason)

    def clear_limit(self, key: str, by: str, reason: str) -> None:
        """Let the callers' own limit hold again."""
        self._limit_control(by).clear_override(key, reason)

    def audit(self, query: Mapping[str, str], cursor: str | None) -> PageOf:
        """What operators did, newest first."""
        now = datetime.now(UTC)
        moments = {name: _moment(name, query[name], now) for name in ("since", "until") if name in query}
        texts = {name: query[name] for name in ("actor", "action", "target", "text") if name in query}
        chosen = ActionFilter(**texts, **moments)  # type: ignore[arg-type]  # names of two kinds of fields
        page = self._read(
            POSTGRESQL,
            ("audit", tuple(sorted(query.items())), cursor),
            lambda: ActionLog(self._services.pool).list(chosen, limit=ROWS, cursor=cursor),
        )
        return PageOf(page.items, page.next)

    def _queue_control(self, by: str) -> QueueControl:
        return QueueControl(self._services.client, self._services.settings.namespace, by)

    def _pause_control(self, by: str) -> PauseControl:
        return PauseControl(self._services.client, self._services.settings.namespace, by)

    def _limit_control(self, by: str) -> LimitControl:
        return LimitControl(self._services.client, self._services.settings.namespace, by)


def _row(counts: Any, done_per_minute: float | None) -> QueueRow:
    drain = timedelta(minutes=counts.ready / done_per_minute) if counts.ready and done_per_minute else None
    return QueueRow(counts, done_per_minute, drain)


def _moment(name: str, text: str, now: datetime) -> datetime:
    found = parse_moment(text, now)
    if found is None:
        told = f"{name}: {text[:60]!r} is neither an instant with its offset nor so long ago, such as 6h"
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, told)
    return found
