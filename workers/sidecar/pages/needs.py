"""What pages need of the rest: a desk to ask and to act at, and the values that it tells."""
# ruff: noqa: D102  what `Desk` says holds for each of its methods

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.job_view import JobView
from penstock.workers.posts.choices import Choice
from penstock.workers.protection.circuits_view import CircuitView
from penstock.workers.protection.pauses import PausedKey
from penstock.workers.sidecar.pages.post_plan import Agenda

#: Rows of a list on one page.
ROWS = 50


@dataclass(frozen=True, slots=True)
class Missing:
    """A server that can't be reached now.

    Attributes:
        name: as people say it: `PostgreSQL`, `Redis`.
        as_of: when what the page shows of it was known; None where the page shows nothing of it.
    """

    name: str
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the deployment. `status` is HEALTHY, WARNING or CRITICAL."""

    status: str
    sentence: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Need:
    """Something that needs a person, and the next step for it.

    Attributes:
        severity: `critical`, `warning` or `info`.
        step: what to do about it; empty where the link says it all.
        link, path: a few words that lead to the page that is about it; empty where there is none.
    """

    severity: str
    sentence: str
    step: str
    link: str
    path: str


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue on the overview. `done_per_minute` is of the last minutes; None where that is not known."""

    counts: QueueCounts
    done_per_minute: float | None
    drain: timedelta | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of the last six hours, a value for each five minutes, oldest first; None where none is known."""

    done_per_minute: Sequence[float | None] = ()
    oldest_seconds: Sequence[float | None] = ()
    dead: Sequence[float | None] = ()
    lateness_seconds: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class PageOf:
    """A page of a list, and the cursor of the next (None: this is the last)."""

    items: Sequence[Any]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an edited payload can't be taken: each fault with its path."""

    faults: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Changed:
    """One difference between two payloads. A side is None where the path is not there."""

    path: str
    was: str | None
    will: str | None


@dataclass(frozen=True, slots=True)
class Edited:
    """An edited payload that the schema of its kind accepts, and what it changes."""

    changes: Sequence[Changed]
    edit: Any = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What an operator wants replayed: letters, a group or a filter, and how.

    `query` has the filter's parameters, as an address does.
    """

    ids: Sequence[UUID]
    query: Sequence[tuple[str, str]]
    canary: int
    pace_per_second: float
    stop_share: float
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search met: a job, dead letters, and addresses of further things of that name.

    Attributes:
        words: the address of the letters in which the text stands; empty where it is a name.
    """

    job: JobView | None = None
    letters: Sequence[Any] = ()
    links: Sequence[tuple[str, str]] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class PostsNow:
    """What of posts and accounts is late, or waits for somebody. Counts end at some ten thousand.

    Attributes:
        due_today, out_today: posts of today (UTC), cancelled ones aside, and those of them that are published.
        late, overdue: posts that should have been out a minute ago, and by how much the earliest is late.
        parked: posts that are due and wait for their accounts.
        dead, expired: of the last week, which is `week` as a parameter of an address.
        reauthorize, ending: accounts that must be authorised anew, and those whose token ends soon.
    """

    due_today: int
    out_today: int
    late: int
    overdue: timedelta
    unknown: int
    held: int
    parked: int
    dead: int
    expired: int
    week: str
    reauthorize: int
    ending: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What an operator has decided of a post.

    Attributes:
        due_at: when it goes out; None for at once.
        expected: the version that the operator saw; None to change whatever is there.
        external_id, url: of the post on its platform, where it was found there.
    """

    choice: Choice
    due_at: datetime | None = None
    expected: int | None = None
    external_id: str = ""
    url: str | None = None


class Desk(Protocol):
    """What pages ask, and do on behalf of `by`. One a request; each call answers within a second or two.

    Raises:
        PenstockError: from each method: of the families `QUEUE_` and `STORAGE_` where a server is away and nothing is
            known, `REQUEST_` where a question can't be read, and NotFoundError.
    """

    @property
    def missing(self) -> Sequence[Missing]:
        """The servers that are away, as far as this request has met them."""

    def health(self) -> Health: ...
    def needs(self) -> Sequence[Need]: ...
    def figures(self) -> Figures: ...
    def figures_of(self, queue: str) -> Figures: ...
    def queues(self) -> Sequence[QueueRow]: ...
    def weights(self, queue: str) -> Mapping[str, int]: ...
    def circuits(self) -> Sequence[CircuitView]: ...
    def limits(self, after: str | None = None) -> PageOf: ...
    def pauses(self) -> Sequence[PausedKey]: ...
    def groups(self, query: Mapping[str, Any], cursor: str | None) -> PageOf: ...
    def group(self, fingerprint: str) -> Any: ...
    def annotate(self, fingerprint: str, by: str, reason: str, note: str) -> None: ...
    def snooze(self, fingerprint: str, by: str, reason: str, until: datetime | None) -> None: ...
    def letters(self, query: Mapping[str, Any], cursor: str | None) -> PageOf: ...
    def count(self, query: Mapping[str, Any]) -> Any: ...
    def letter(self, dead_id: UUID) -> Any: ...
    def redacted(self, dead_id: UUID) -> Any: ...
    def reveal(self, dead_id: UUID, by: str, reason: str) -> Any: ...
    def editable(self, dead_id: UUID, by: str, reason: str) -> str: ...
    def propose(self, dead_id: UUID, text: str) -> Edited | Refused: ...
    def requeue(self, dead_id: UUID, by: str, reason: str, edited: Edited | None = None) -> bool: ...
    def discard(self, ids: Sequence[UUID], by: str, reason: str) -> int: ...
    def dry_run(self, order: ReplayOrder) -> Any: ...
    def start(self, order: ReplayOrder) -> Any: ...
    def replay(self, replay_id: UUID) -> Any: ...
    def replays(self, cursor: str | None) -> PageOf: ...
    def change_replay(self, replay_id: UUID, verb: str, by: str, reason: str) -> None: ...
    def pause(self, target: str, by: str, reason: str) -> None: ...
    def resume(self, target: str, by: str, reason: str) -> None: ...
    def force_circuit(self, name: str, state: str, by: str, reason: str, lasting: timedelta | None) -> None: ...
    def set_limit(
        self, key: str, limit: int, window: timedelta, lasting: timedelta | None, by: str, reason: str
    ) -> None: ...
    def clear_limit(self, key: str, by: str, reason: str) -> None: ...
    def audit(self, query: Mapping[str, str], cursor: str | None) -> PageOf: ...
    def agenda(self) -> Agenda: ...
    def posts_now(self) -> PostsNow | None: ...
    def next_posts(self) -> Sequence[Any]: ...
    def posts(self, query: Mapping[str, Any], cursor: str | None) -> PageOf: ...
    def post(self, post_id: UUID) -> Any: ...
    def reveal_post(self, post_id: UUID, by: str, reason: str) -> Any: ...
    def decide(self, post_id: UUID, decision: Decision, by: str, reason: str) -> None: ...
    def accounts(self, query: Mapping[str, Any], cursor: str | None) -> PageOf: ...
    def search(self, text: str) -> Found: ...
