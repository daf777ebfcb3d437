"""An erasure from its mark to its receipt, in steps that are a transaction each.

The order is what makes sure that nothing is missed. First whoever was storing rows when the mark was made is awaited.
Then what rests is changed: submissions, rejections, dead letters, replays, posts. Whoever was requeueing a letter just
then is waited for too, and then what moves is looked at: the outbox, and behind it the queues. What moves on from there
meets the mark, as a row or as a letter, so the last step only waits until the queues have let go.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance import letters, outbox, posts, rejections, replays, submissions
from penstock.workers.compliance.person import Person
from penstock.workers.compliance.queues import AWAITED, WaitingJobs
from penstock.workers.compliance.requests import PersonRequest, end_request, is_open, save_progress
from penstock.workers.database.transaction import Transaction, Transactions

#: The longest time for which one delivery goes on; what is left is done by the next one, after a break for others.
WORK = timedelta(seconds=20)
BREAK = timedelta(milliseconds=100)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=1), timedelta(seconds=30)

_NOW = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
_ALL_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::text::xid8"

Progress = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: `next`: its phase is over; `wait`: somebody else has to do something first."""

    next: bool = False
    wait: bool = False


_ON, _OVER, _WAIT = Step(), Step(next=True), Step(wait=True)
_Phase = Callable[[psycopg.Connection[Any], Progress], Step]


class Erasure:
    """Erases one person. It goes on where an earlier run ended, however that did.

    Args:
        transactions: one for each step.
        request: that asked for it.
        person: whom it names.
        waiting: looks into Redis.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        transactions: Transactions,
        request: PersonRequest,
        person: Person,
        waiting: WaitingJobs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactions = transactions
        self._request = request
        self._id: UUID = request.request_id
        self._person = person
        self._waiting = waiting
        self._clock = clock
        rows: Mapping[str, _Phase] = {
            "settling": self._settle,
            "submissions": self._submissions,
            "leaving": self._leaving,
            "rejections": self._rejections,
        }
        moving: Mapping[str, _Phase] = {
            "dead_letters": self._letters,
            "replays": self._replays,
            "posts": self._posts,
            "settling_again": self._settle,
            "outbox": self._outbox,
            "queues": self._queues,
            "posts_again": self._posts,
        }
        self._phases = {**rows, **moving}

    def run(self) -> timedelta | None:
        """Go on for some time; returns after which time to go on, or None where all is done.

        Raises:
            PenstockError: of the families `STORAGE_` and `QUEUE_`; what was done stays so.
        """
        ends_at = self._clock() + WORK.total_seconds()
        while self._clock() < ends_at:
            progress = self._transactions.run(self._step)
            if progress is None:
                return None
            if progress.get("waits"):
                doublings = min(int(progress["waits"]) - 1, 10)
                return min(LONGEST_WAIT, FIRST_WAIT * 2.0**doublings)
        return BREAK

    def _step(self, transaction: Transaction) -> Progress | None:
        connection = transaction.connection
        if not is_open(connection, self._id):
            return None
        row = connection.execute(
            "SELECT progress FROM penstock.person_data_requests WHERE request_id = %s", (self._id,)
        ).fetchone()
        progress: Progress = {"phase": next(iter(self._phases)), "counts": {}} | (row[0] if row else {})
        step = self._phases[progress["phase"]](connection, progress)
        progress["waits"] = progress.get("waits", 0) + 1 if step.wait else 0
        if step.next and not self._advance(progress):
            end_request(connection, self._id, self._receipt(progress))
            return None
        save_progress(connection, self._id, progress)
        return progress

    def _advance(self, progress: Progress) -> bool:
        """Go to the next phase; False behind the last."""
        names = list(self._phases)
        following = names.index(progress["phase"]) + 1
        progress.pop("place", None)
        if following < len(names):
            progress["phase"] = names[following]
        return following < len(names)

    def _receipt(self, progress: Progress) -> dict[str, Any]:
        return {
            "counts": progress["counts"],
            "mentions": progress.get("mentions", []),
            "digest": self._request.digest.hex(),
            "key_id": self._request.key_id,
            "erased_before": self._request.asked_at.isoformat(),
        }

    def _settle(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        """Wait until every transaction that was under way has ended."""
        if "place" not in progress:
            row = connection.execute(_NOW).fetchone()
            progress["place"] = row[0] if row else ""
            return _ON
        row = connection.execute(_ALL_ENDED, (progress["place"],)).fetchone()
        return _OVER if row is not None and row[0] else _WAIT

    def _submissions(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        if not self._person.has_rows:
            return _OVER
        found = submissions.look(connection, self._person, progress.get("place", {}))
        _count(progress, "submissions", submissions.erase(connection, self._id, found.rows))
        _count(progress, "mentions", len(found.mentions))
        listed = progress.setdefault("mentions", [])
        listed += found.mentions[: submissions.MENTIONS_LISTED - len(listed)]
        progress["place"] = found.place
        return _OVER if found.place is None else _ON

    def _leaving(self, connection: psycopg.Connection[Any], _: Progress) -> Step:
        """Wait until no partition is on its way out: whoever archives it counts its rows, and must find them there."""
        return _WAIT if self._person.has_rows and submissions.are_some_leaving(connection) else _OVER

    def _rejections(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        if not self._person.has_rows:
            return _OVER
        batch_id, position = progress.get("place", ("", -1))
        found = rejections.look(connection, self._person, (batch_id, position))
        _count(progress, "rejections", rejections.erase(connection, self._id, found.rows))
        progress["place"] = found.place
        return _OVER if found.place is None else _ON

    def _letters(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        place = UUID(progress.get("place", str(UUID(int=0))))
        found = letters.look(connection, self._person, place, lock=True)
        _count(progress, "dead_letters", letters.erase(connection, self._id, found.letters))
        progress["place"] = str(found.place)
        return _OVER if found.place is None else _ON

    def _replays(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        _count(progress, "replays", replays.erase(connection, self._id, self._person))
        return _OVER

    def _posts(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        if self._person.subject.kind is not SubjectKind.OWNER:
            return _OVER
        owners = posts.owners(connection, self._person)
        erased = sum(posts.erase(connection, self._id, owner) for owner in owners)
        _count(progress, "posts", erased)
        if erased:
            return _ON
        return _WAIT if any(posts.left(connection, self._person, owner) for owner in owners) else _OVER

    def _outbox(self, connection: psycopg.Connection[Any], progress: Progress) -> Step:
        found = outbox.look(connection, self._person, progress.get("place", 0), self._request.asked_at)
        _count(progress, "outbox", outbox.erase(connection, self._id, found.jobs))
        progress["place"] = found.place
        return _OVER if found.place is None else _ON

    def _queues(self, _: psycopg.Connection[Any], progress: Progress) -> Step:
        """Look through the queues until one look finds nothing; jobs that were found are awaited by their names."""
        awaited = progress.get("awaited", [])
        if progress.get("place") is None and awaited:
            progress["awaited"] = self._waiting.still_there(awaited)
            return _WAIT if progress["awaited"] else _ON
        queue, cursor = progress.get("place") or (0, 0)
        page = self._waiting.look(self._person, self._request.asked_at, (queue, cursor))
        progress["awaited"] = [*dict.fromkeys([*awaited, *page.keys])][:AWAITED]
        progress["place"] = page.place
        if page.place is not None:
            return _ON
        _count(progress, "awaited_jobs", len(progress["awaited"]))
        return _WAIT if progress["awaited"] else _OVER


def _count(progress: Progress, name: str, more: int) -> None:
    progress["counts"][name] = progress["counts"].get(name, 0) + more
