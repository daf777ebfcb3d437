"""Dead letters that only Redis has: which there are, all of some of them, and how Redis lets them go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.locating import DEAD
from penstock.producers.queue.scripts import Argument, Scripts

#: How long the record of a job without a time of its own is known after it was archived.
SHORTEST_KEEP = timedelta(days=1)
#: Ids that are asked for at once.
PAGE = 1_000

_MILLISECOND = timedelta(milliseconds=1)
_FIELDS = (
    *("state", "kind", "tenant", "died_at", "code", "told", "attempts", "recoveries", "crashes", "postpones"),
    *("accepted_at", "message", "history"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A job among the dead: its id as the queue holds it, and when it died, in ms since 1970."""

    queue: str
    member: bytes
    died_at: float


@dataclass(frozen=True, slots=True)
class Death:
    """One death, with everything that Redis has of it.

    Attributes:
        member: the id as the queue holds it.
        died_at: as the record has it, digits of ms since 1970.
        fields: of the record, by name; those that it has not are left out.
    """

    queue: str
    member: bytes
    died_at: bytes
    message: bytes = field(repr=False)
    fields: dict[str, bytes] = field(repr=False)

    def text(self, name: str, limit: int) -> str:
        """The first `limit` characters of a field; empty where there is none."""
        return self.fields.get(name, b"").decode(errors="replace")[:limit]

    def number(self, name: str) -> int:
        """A field as number; 0 where there is none. Raises ValueError."""
        return int(self.fields.get(name, b"0"))


class Unarchived:
    """The dead letters of a namespace's queues, on the side of Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._namespace = namespace

    def oldest(self, queue: str, limit: int, is_left_alone: Callable[[Standing], bool]) -> list[Standing]:
        """The first `limit` that are not left alone, by when they died.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        found: list[Standing] = []
        key = self._keys(queue).key(DEAD)
        for start in count(0, PAGE):
            with redis_errors("listing dead letters"):
                page = cast(
                    "list[tuple[bytes, float]]", self._client.zrange(key, start, start + PAGE - 1, withscores=True)
                )
            standing = (Standing(queue, member, died_at) for member, died_at in page)
            found += [one for one in standing if not is_left_alone(one)]
            if len(page) < PAGE or len(found) >= limit:
                return found[:limit]
        raise AssertionError("the pages have an end")

    def read(self, standing: Sequence[Standing], room: int) -> list[Death | None]:
        """All of the first of these, of one queue, as many as fit into `room` bytes, and the first one in any case.

        None for one that is not dead any more, or has no record.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        queue = standing[0].queue
        with redis_errors("reading dead letters"):
            answers = self._scripts.run("dead", self._keys(queue), room, *(one.member for one in standing))
        return [_death(one, answer) for one, answer in zip(standing, answers, strict=False)]

    def let_go(self, queue: str, deaths: Sequence[Death], open_now: tuple[int, int] | None = None) -> int:
        """Drop what PostgreSQL has, but for a record that tells that the job is known; returns how many went.

        A job that is not dead any more, or by a later death, is left as it is. Records whose time has passed go too.

        Args:
            queue: the one of these deaths.
            deaths: the letters of which are committed.
            open_now: how many open letters of the queue PostgreSQL has, and what `archived` said before the count.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        counted: tuple[Argument, ...] = ("", "") if open_now is None else open_now
        arguments: list[Argument] = [SHORTEST_KEEP // _MILLISECOND, *counted]
        for death in deaths:
            arguments += (death.member, death.died_at)
        with redis_errors("letting archived letters go"):
            gone, _expired = self._scripts.run("archived", self._keys(queue), *arguments)
        return int(gone)

    def archived(self, queue: str) -> int:
        """How many letters of a queue were ever let go.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        with redis_errors("counting archived letters"):
            return int(cast("bytes | None", self._client.hget(self._keys(queue).key("meta"), "archived")) or 0)

    def _keys(self, queue: str) -> QueueKeys:
        return QueueKeys(self._namespace, queue)


def _death(standing: Standing, answer: list[Any]) -> Death | None:
    fields = {name: value for name, value in zip(_FIELDS, answer, strict=True) if value is not None}
    if fields.get("state") != DEAD.encode() or "died_at" not in fields:
        return None
    return Death(standing.queue, standing.member, fields["died_at"], fields.pop("message", b""), fields)
