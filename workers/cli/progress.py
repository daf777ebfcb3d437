"""A progress line on a terminal; silence elsewhere, where it would be noise in a log."""

import sys
from types import TracebackType
from typing import Self

_WIDTH = 40


class Bar:
    """One line on standard error that is drawn again as work goes on."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown = sys.stderr.isatty() and not as_json
        self._doing = ""
        self._total = 0
        self._drawn = -1

    def begin(self, doing: str, total: int) -> None:
        """Begin a phase of `total` rows."""
        self.end()
        self._doing, self._total, self._drawn = doing, total, -1
        self.move(0)

    def move(self, done: int) -> None:
        """Show that `done` rows of the phase are done."""
        if not self._shown or not self._total:
            return
        filled = min(done * _WIDTH // self._total, _WIDTH)
        if filled == self._drawn and done != self._total:
            return
        self._drawn = filled
        bar = "█" * filled + "·" * (_WIDTH - filled)
        sys.stderr.write(f"\r{self._doing} {bar} {done:,} of {self._total:,}\x1b[K")
        sys.stderr.flush()

    def note(self, text: str) -> None:
        """Say something beside the bar, on a line of its own; where there is no bar, too."""
        if self._as_json:
            return
        begin = "\r\x1b[K" if self._shown else ""
        sys.stderr.write(f"{begin}{text}\n")
        sys.stderr.flush()
        self._drawn = -1

    def end(self) -> None:
        """Leave the line as it stands."""
        if self._shown and self._total:
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
