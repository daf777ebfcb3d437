"""What the first pass has seen of a queue: where records put jobs, and where jobs were met."""

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.locating import ARCHIVED, LANES, READY, expected_place, texts
from penstock.producers.queue.records import JobState

_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What `QueueSightings.expected` holds of a job that has been met in its place, and of one that has ended.
_MET, _DONE = -1, -2
#: States of jobs that stand nowhere in their queue.
_ENDED = frozenset({str(JobState.DONE), ARCHIVED})
#: The number of a place that nobody looks into: no record's place.
UNLISTED = -3


@dataclass(slots=True)
class Suspect:
    """A job to look at again: the places where it was met, whether it was met twice, or where nobody looks for it.

    `job_id` has bytes that are no UTF-8 as surrogates.
    """

    queue: str
    job_id: str
    met_in: set[str] = field(default_factory=set)
    twice: bool = False
    unlisted: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A job record, as far as the pass reads it."""

    queue: str
    job_id: str
    kind: str | None
    state: str | None


@dataclass(slots=True)
class QueueSightings:
    """What the pass knows of one queue: 16 bytes of each id, and where its record puts it."""

    keys: QueueKeys
    expected: dict[bytes, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    suspects: dict[bytes, Suspect] = field(default_factory=dict)

    def number(self, suffix: str) -> int:
        """The number of a place; one that was not known gets the next."""
        if suffix not in self.places:
            self.places[suffix] = len(self.names)
            self.names.append(suffix)
        return self.places[suffix]

    def suspect(self, packed: bytes) -> Suspect:
        """Note a job as one to look at again."""
        return self.suspects.setdefault(packed, Suspect(self.keys.queue, unpack(packed)))


def note_record(queue: QueueSightings, job_id: bytes, answer: list[Any]) -> Record:
    """Take down where a record, as `records.lua` tells it, puts its job."""
    state, kind, tenant, lease, park = texts(answer[:5])
    packed, place = pack(job_id), expected_place(state, tenant or "", lease or "", park or "")
    if state in _ENDED:
        queue.expected[packed] = _DONE
    elif place is not None:
        queue.expected[packed] = queue.number(place)
    if state not in _ENDED and (place is None or not answer[5]):
        queue.suspect(packed)
    return Record(queue.keys.queue, job_id.decode(errors="replace"), kind, state)


def is_explained(suspect: Suspect, answer: list[Any]) -> bool:
    """True where the record, read after its job was met, puts the job where it was met and nowhere else."""
    state, _kind, tenant, lease, park = texts(answer[:5])
    if not suspect.met_in:
        # Done, or done and forgotten; the counters tell whether it was so.
        return state is None or state in _ENDED
    place, has_message = expected_place(state, tenant or "", lease or "", park or ""), bool(answer[5])
    in_lane = state == JobState.READY and len(suspect.met_in) == 1 and suspect.met_in <= set(LANES)
    fits = suspect.met_in == {place} or in_lane
    return fits and has_message and not suspect.twice and not suspect.unlisted


def meet(queue: QueueSightings, member: bytes, suffix: str, number: int) -> None:
    """Take down that a job stands in a place, the one of that number; suspect is what its record does not say."""
    packed = pack(member)
    expected = queue.expected.get(packed)
    if expected == number or (suffix in LANES and expected is not None and _is_ready(queue, expected)):
        queue.expected[packed] = _MET
        return
    suspect = queue.suspect(packed)
    suspect.twice |= expected == _MET or suffix in suspect.met_in
    suspect.met_in.add(suffix)
    suspect.unlisted |= number == UNLISTED
    if expected is not None and expected >= 0:
        queue.expected[packed] = _MET


def _is_ready(queue: QueueSightings, number: int) -> bool:
    return number >= 0 and queue.names[number].startswith(READY)


def pack(job_id: bytes) -> bytes:
    """An id in 16 bytes; one that is no UUID in its usual form as it is, after a mark."""
    if _UUID.fullmatch(job_id):
        return bytes.fromhex(job_id.replace(b"-", b"").decode())
    return b"=" * 17 + job_id


def unpack(packed: bytes) -> str:
    """The id that `pack` took."""
    return str(UUID(bytes=packed)) if len(packed) == 16 else packed[17:].decode(errors="surrogateescape")
