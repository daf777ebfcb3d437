"""Rows that passed: an object for each, or columns where the rows brought nothing but answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import msgspec


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A row to be stored. `submitted_us` counts microseconds since 1970.

    A Struct, since a dataclass takes ten times as long to make.
    """

    submission_id: bytes
    submitted_us: int
    external_id: str | None
    answers: bytes
    position: int | None = None

    def __repr__(self) -> str:
        return f"<row {self.submission_id.hex()}>"


class PlainRows(Sequence[Accepted]):
    """Rows whose places are their identities, and the batch's instant theirs: columns, in the order of the ids.

    Most batches hold no others. To make an object for each row, and to read it, would take a tenth of a worker's time.

    Attributes:
        submitted_us: the instant of all of them, in microseconds since 1970.
        ids: 16 bytes each, ascending.
        answers: by the same places.
    """

    __slots__ = ("answers", "ids", "submitted_us")

    def __init__(self, submitted_us: int, ids: Sequence[bytes], answers: Sequence[bytes]) -> None:
        self.submitted_us = submitted_us
        self.ids = ids
        self.answers = answers

    @classmethod
    def of(cls, submitted_us: int, answers_by_id: Mapping[bytes, bytes]) -> "PlainRows":
        """Put rows into their order."""
        ids = sorted(answers_by_id)
        return cls(submitted_us, ids, list(map(answers_by_id.__getitem__, ids)))

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Accepted: ...
    @overload
    def __getitem__(self, place: slice) -> list[Accepted]: ...
    def __getitem__(self, place: int | slice) -> Accepted | list[Accepted]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return Accepted(self.ids[place], self.submitted_us, None, self.answers[place])

    def __iter__(self) -> Iterator[Accepted]:
        for row_id, answers in zip(self.ids, self.answers, strict=True):
            yield Accepted(row_id, self.submitted_us, None, answers)

    def __repr__(self) -> str:
        return f"<{len(self)} plain rows>"
