"""The output of many processes as one stream of whole lines, each with the name of its process."""

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

#: ANSI foreground colours that are readable on light and dark terminals.
_COLOURS = (36, 33, 35, 32, 34, 31)
#: A line longer than this is cut, so that a process can't fill our memory.
_LINE_BYTES_LIMIT = 65_536


class PrefixedOutput:
    """Writes lines as `name | line`; coloured on a terminal, unless NO_COLOR is set (https://no-color.org).

    Attributes:
        lost: the stream can't be written any more, such as a pipe whose reader ended.
    """

    def __init__(self, stream: TextIO, names: Iterable[str]) -> None:
        self.lost = False
        self._stream = stream
        listed = list(names)
        width = max((len(name) for name in listed), default=0)
        colours = stream.isatty() and not os.environ.get("NO_COLOR")
        self._prefixes = {name: f"{name:<{width}} | " for name in listed}
        if colours:
            for number, name in enumerate(listed):
                colour = _COLOURS[number % len(_COLOURS)]
                self._prefixes[name] = f"\x1b[{colour}m{self._prefixes[name]}\x1b[0m"

    def write(self, name: str, line: bytes) -> None:
        """Write one line of the process `name`."""
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        if self.lost:
            return
        try:
            self._stream.write(f"{self._prefixes[name]}{text}\n")
            self._stream.flush()
        except OSError:
            self.lost = True


class LineReader:
    """Whole lines from a descriptor that is read without blocking."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""
        self.ended = False

    def lines(self) -> list[bytes]:
        """The lines that are there now; at the end of the stream an unfinished one too."""
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, _LINE_BYTES_LIMIT)
            self.ended = not data
            self._rest += data
        *whole, self._rest = self._rest.split(b"\n")
        if self._rest and (self.ended or len(self._rest) >= _LINE_BYTES_LIMIT):
            whole.append(self._rest)
            self._rest = b""
        return whole
