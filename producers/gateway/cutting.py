"""A stream's bytes cut into lines, and rows cut into batches: what is held is bounded."""

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.producers.gateway.rows import check_row, line_too_long, longest_line
from penstock.schemas.limits import Limits

#: A batch ends before it has more bytes of rows than this. Part of what makes batches of a stream the same when it is
#: sent again, so it is no setting.
BATCH_BYTES = 4 * 1024 * 1024
#: What the members of a batch besides its rows may take.
_HEAD_BYTES = 2_048


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one batch. `number` counts the batches of a stream from 1, `first_position` its rows from 0."""

    number: int
    first_position: int
    rows: tuple[bytes, ...]


class Cutter:
    """Cuts rows into batches: of as many as the limit says, or of fewer where they are long."""

    def __init__(self, limits: Limits) -> None:
        self._size = limits.batch_size
        self._bytes = max(1, min(BATCH_BYTES, limits.message_bytes - _HEAD_BYTES))
        self._rows: list[bytes] = []
        self._held = 0
        self._parts = 0
        self._position = 0

    @property
    def rows(self) -> int:
        """Rows that were taken so far."""
        return self._position + len(self._rows)

    def add(self, row: bytes) -> Part | None:
        """Take a row; returns the batch that was full before it, if any."""
        full = None
        if self._rows and (len(self._rows) >= self._size or self._held + len(row) + 1 > self._bytes):
            full = self.rest()
        self._rows.append(row)
        self._held += len(row) + 1
        return full

    def rest(self) -> Part | None:
        """The rows that are no full batch yet."""
        if not self._rows:
            return None
        self._parts += 1
        part = Part(self._parts, self._position, tuple(self._rows))
        self._position += len(self._rows)
        self._rows, self._held = [], 0
        return part


class Lines:
    """Takes bytes as they come and gives the rows of whole lines; empty lines are no rows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._longest = longest_line(limits)
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        #: Lines that were looked at, from 1.
        self.number = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The rows of the lines that end in this piece.

        Raises:
            RowError: for a line that is no row; `number` is its.
        """
        if not self._begun and piece.isspace():
            # A small packed body can hold any number of empty lines.
            self.number += piece.count(b"\n")
            return
        *whole, begun = piece.split(b"\n")
        for line in whole:
            yield from self._row(self._completed(line) if self._begun else line)
        if begun:
            self._begun.append(begun)
            self._begun_bytes += len(begun)
            if self._begun_bytes > self._longest:
                self.number += 1
                raise line_too_long(self._limits)

    def end(self) -> Iterator[bytes]:
        """The row of the last line, which needs no end of line."""
        if self._begun:
            yield from self._row(b"".join(self._begun))

    def _completed(self, end: bytes) -> bytes:
        line = b"".join((*self._begun, end))
        self._begun, self._begun_bytes = [], 0
        return line

    def _row(self, line: bytes) -> Iterator[bytes]:
        self.number += 1
        if line and not line.isspace():
            yield check_row(line, self._limits)
