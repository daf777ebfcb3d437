"""The first pass: all records, then all places, in pages. What does not fit is suspect: jobs move meanwhile."""

import itertools
from collections.abc import Iterator
from typing import cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.locating import ALONE, DEAD, LANES, LEASED, PARKED, READY, SCHEDULED, URGENT
from penstock.producers.queue.scripts import Scripts
from penstock.workers.reconcile.sightings import (
    UNLISTED,
    QueueSightings,
    Record,
    Suspect,
    is_explained,
    meet,
    note_record,
)

#: Keys or ids of a page: some milliseconds of Redis's time each.
PAGE = 1_000
_PLACES = (READY.encode(), LEASED.encode(), PARKED.encode())


class FirstPass:
    """Goes through the queues of a namespace once. Memory: about 100 bytes for each job that has a record."""

    def __init__(self, client: redis.Redis, namespace: str, queues: list[str]) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._prefix = f"{namespace}:{{".encode()
        self._queues = {queue: QueueSightings(QueueKeys(namespace, queue)) for queue in queues}

    def records(self) -> Iterator[list[Record]]:
        """Read all records, a page at a time, and note what places there are. To be run through before `suspects`."""
        with redis_errors("reading job records"):
            cursor = -1
            while cursor:
                cursor, keys = self._client.scan(max(cursor, 0), match=self._prefix + b"*", count=PAGE)
                page = self._read_records(cast("list[bytes]", keys))
                if page:
                    yield page

    def suspects(self) -> Iterator[Suspect]:
        """Go through the places; give each job that does not fit, now or because it moved since its record was read."""
        with redis_errors("reading the places of jobs"):
            for queue in self._queues.values():
                self._walk(queue)
        for queue in self._queues.values():
            for packed, place in queue.expected.items():
                if place >= 0:
                    queue.suspect(packed)
            queue.expected.clear()
            while queue.suspects:
                page = [queue.suspects.popitem()[1] for _ in range(min(PAGE, len(queue.suspects)))]
                yield from self._unexplained(queue, page)

    def _read_records(self, keys: list[bytes]) -> list[Record]:
        asked: dict[str, list[bytes]] = {queue: [] for queue in self._queues}
        for key in keys:
            name, _, suffix = key.removeprefix(self._prefix).partition(b"}:")
            queue = self._queues.get(name.decode(errors="replace"))
            if queue is None:
                continue
            if suffix.startswith(b"job:"):
                asked[queue.keys.queue].append(suffix.removeprefix(b"job:"))
            elif suffix.startswith(_PLACES):
                queue.number(suffix.decode(errors="replace"))
        return [record for name, ids in asked.items() if ids for record in self._read(self._queues[name], ids)]

    def _unexplained(self, queue: QueueSightings, page: list[Suspect]) -> list[Suspect]:
        """Those that their records, read after their places this time, do not explain.

        Most have come or gone meanwhile. To look for each of them in one instant would walk through long lists.
        """
        ids = [suspect.job_id.encode(errors="surrogateescape") for suspect in page]
        with redis_errors("reading job records"):
            answers = self._scripts.run("records", queue.keys, *ids)
        return [suspect for suspect, answer in zip(page, answers, strict=True) if not is_explained(suspect, answer)]

    def _read(self, queue: QueueSightings, ids: list[bytes]) -> list[Record]:
        answers = self._scripts.run("records", queue.keys, *ids)
        return [note_record(queue, job_id, answer) for job_id, answer in zip(ids, answers, strict=True)]

    def _walk(self, queue: QueueSightings) -> None:
        listed = {*LANES, SCHEDULED, DEAD, *self._listed(queue.keys)}
        for suffix in listed:
            queue.number(suffix)
        # Jobs move from ready to leased and on: whoever walks the other way round meets fewer of them twice.
        for suffix, number in sorted(queue.places.items(), key=_against_the_flow):
            is_list = suffix in LANES or suffix.startswith(READY)
            for page in self._list(queue.keys.key(suffix)) if is_list else self._sorted_set(queue.keys.key(suffix)):
                for member in page:
                    meet(queue, member, suffix, number if suffix in listed else UNLISTED)

    def _listed(self, keys: QueueKeys) -> list[str]:
        tenants = cast("list[bytes]", self._client.lrange(keys.key("rotation"), 0, -1))
        boots = cast("list[bytes]", self._client.zrange(keys.key("workers"), 0, -1))
        parks = cast("list[bytes]", self._client.hkeys(keys.key("parks")))
        named = ((READY, tenants), (LEASED, boots), (PARKED, parks))
        return [prefix + name.decode(errors="replace") for prefix, names in named for name in names]

    def _list(self, key: str) -> Iterator[list[bytes]]:
        # From the end: leases shorten a list at its head, and pages counted from there would leave jobs out. What is
        # added at the end meanwhile moves the pages, so that the next one begins with jobs of the one before.
        before: list[bytes] = []
        for last in itertools.count(-1, -PAGE):
            page = cast("list[bytes]", self._client.lrange(key, last - PAGE + 1, last))
            if not page:
                return
            yield _without_overlap(page, before)
            before = page

    def _sorted_set(self, key: str) -> Iterator[list[bytes]]:
        cursor = -1
        while cursor:
            cursor, members = self._client.zscan(key, max(cursor, 0), count=PAGE)
            yield [cast("bytes", member) for member, _ in members]


def _against_the_flow(place: tuple[str, int]) -> int:
    order = (READY, URGENT, ALONE, LEASED, SCHEDULED, PARKED, DEAD)
    return -next(number for number, name in enumerate(order) if place[0].startswith(name))


def _without_overlap(page: list[bytes], before: list[bytes]) -> list[bytes]:
    """The page without the jobs at its end with which the page before began."""
    if before and before[0] in page:
        start = page.index(before[0])
        if page[start:] == before[: len(page) - start]:
            return page[:start]
    return page
