"""Files of submissions: one JSON object a line, plain or gzip."""

import gzip
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.limits import Limits

_GZIP_MAGIC = b"\x1f\x8b"
#: Standard input is kept in memory up to this, then on disk: it is read twice.
_SPOOL_BYTES = 8 * 1024 * 1024

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class SubmissionFile:
    """A file that can be read more than once."""

    def __init__(self, stream: BinaryIO, name: str, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self.name = name

    def rows(self) -> Iterator[bytes]:
        """Each row as compact JSON, in the file's order; empty lines are no rows.

        Raises:
            InvalidInputError: `REQUEST_FILE_INVALID` or `SUBMISSION_TOO_LARGE`, naming the line (from 1).
        """
        self._stream.seek(0)
        # Compressed or not is told by the content: names lie.
        if self._stream.read(2) == _GZIP_MAGIC:
            self._stream.seek(0)
            with gzip.open(self._stream) as plain:
                yield from self._lines(plain)
        else:
            self._stream.seek(0)
            yield from self._lines(self._stream)

    def _lines(self, lines: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
        # White space and the escapes of one row may take more room than the row itself, but not without end.
        longest = self._limits.row_bytes * 8
        for number in range(1, sys.maxsize):
            try:
                line = lines.readline(longest + 1)
            except (EOFError, OSError, zlib.error):
                raise self._fault(number, "the compressed file is broken there") from None
            if not line:
                return
            if len(line) > longest:
                raise self._too_large(number)
            if not line.isspace():
                yield self._row(number, line)

    def _row(self, number: int, line: bytes) -> bytes:
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        try:
            text.decode()
            _decode_object(text)
            row = msgspec.json.format(text, indent=-1)
        except UnicodeDecodeError:
            raise self._fault(number, "it is not UTF-8") from None
        except msgspec.ValidationError:
            raise self._fault(number, "it is JSON, but no object {id?, submitted_at?, answers}") from None
        except (msgspec.DecodeError, RecursionError):
            row = self._unusual_row(number, text)
        if len(row) > self._limits.row_bytes:
            raise self._too_large(number)
        return row

    def _unusual_row(self, number: int, text: bytes) -> bytes:
        """A row that is JSON, though with an unpaired surrogate: the worker rejects it and keeps it whole."""
        try:
            row = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise self._fault(number, "it is not JSON") from None
        if not isinstance(row, dict):
            raise self._fault(number, "it is JSON, but no object {id?, submitted_at?, answers}")
        return text.strip()

    def _fault(self, number: int, told: str) -> InvalidInputError:
        return InvalidInputError(
            Code.REQUEST_FILE_INVALID, f"line {number} of {self.name}: {told}", details={"line": number}
        )

    def _too_large(self, number: int) -> InvalidInputError:
        return InvalidInputError(
            Code.SUBMISSION_TOO_LARGE,
            f"line {number} of {self.name} is over the limit of {self._limits.row_bytes:,} bytes",
            details={"line": number},
        )


def _no_constant(name: str) -> None:
    # Python reads NaN and Infinity; JSON has no such thing.
    raise ValueError(name)


@contextmanager
def open_submissions(path: Path, limits: Limits) -> Iterator[SubmissionFile]:
    """Open a file of submissions; `-` is standard input.

    Raises:
        InvalidInputError: `REQUEST_FILE_NOT_FOUND` where it can't be opened.
    """
    if str(path) == "-":
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            yield SubmissionFile(spool, "standard input", limits)  # type: ignore[arg-type]  # it is a BinaryIO in all but name
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InvalidInputError(Code.REQUEST_FILE_NOT_FOUND, f"{str(path)!r} can't be read: {error.strerror}") from None
    with stream:
        yield SubmissionFile(stream, path.name, limits)
