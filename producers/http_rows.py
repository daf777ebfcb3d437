"""Rows as lines of JSON, made while they are sent."""

from collections.abc import Iterable, Iterator

from penstock.producers.batches import Row, plain_row
from penstock.schemas.limits import Limits
from penstock.schemas.submission_batch import encode_row

_PIECE_BYTES = 64 * 1024


class Lines:
    """The rows of one call, in pieces of some lines each; made anew for each try where the rows can be had again."""

    def __init__(self, rows: Iterable[Row], limits: Limits) -> None:
        self._rows = rows
        self._limits = limits
        self._is_spent = False

    def pieces(self) -> Iterator[bytes]:
        """All rows from the first."""
        rows = iter(self._rows)
        # What is its own iterator can be had once.
        self._is_spent = rows is self._rows
        held: list[bytes] = []
        size = 0
        for position, row in enumerate(rows):
            # JSON holds no line end but between its tokens, where a space does as well.
            line = encode_row(position, plain_row(row), self._limits).replace(b"\n", b" ").replace(b"\r", b" ")
            held.append(line)
            size += len(line) + 1
            if size >= _PIECE_BYTES:
                yield b"\n".join(held) + b"\n"
                held, size = [], 0
        if held:
            yield b"\n".join(held) + b"\n"

    def is_spent(self) -> bool:
        """Whether rows were taken that can't be had again."""
        return self._is_spent
