"""Rows as they come: each line or list element checked to be one JSON object, and nothing of it changed.

The rows are those that `penstock submit` makes of the same file, byte for byte, so the two are the same work. What
JSON parsers disagree about is refused here: equal names in an object, numbers that no parser can hold, deep nesting.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.limits import Limits

BOM = b"\xef\xbb\xbf"
#: White space and the escapes of one row may take more room than the row itself, but not without end.
_SLACK = 8

_WANTED = 'it is no object {"submissions": […]}'
_SPACE = re.compile(r"[ \t\r\n]*+")

_decode = msgspec.json.Decoder().decode
_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


class RowError(ValueError):
    """Raised for what is no row; says why, and with which code."""

    def __init__(self, told: str, code: Code = Code.SUBMISSION_UNDECODABLE) -> None:
        super().__init__(told)
        self.told = told
        self.code = code

    def at(self, **place: int) -> InvalidInputError:
        """The error with the place of the row: `line` from 1, or `row` from 0."""
        ((name, number),) = place.items()
        return InvalidInputError(self.code, f"{name} {number:,}: {self.told}", details={name: number})


def check_row(text: bytes, limits: Limits) -> bytes:
    """The row as compact JSON.

    Raises:
        RowError: where it is no JSON object, or too long.
    """
    try:
        row = msgspec.json.format(text, indent=-1)
        found = _decode(row)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        row, found = _unusual(text)
    if not isinstance(found, dict):
        raise RowError("it is JSON, but no object {id?, submitted_at?, answers}", Code.SUBMISSION_INVALID)
    _require_utf8(row)
    # Each member has one `":` in compact JSON. More of them are in a text or an inner object, or names are equal.
    answers = found.get("answers")
    members = len(found) + (len(answers) if isinstance(answers, dict) else 0)
    if row.count(b'":') != members:
        parse_strictly(row)
    if len(row) > limits.row_bytes:
        raise _too_long(limits)
    return row


def rows_of_body(body: bytes, limits: Limits) -> Iterator[bytes]:
    """The rows of `{"submissions": […]}`, each as compact JSON.

    Raises:
        InvalidInputError: for a row, naming it from 0.
        RowError: where the body is not of that form.
    """
    try:
        elements = _elements(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        elements = _elements_by_scanning(body)
    for position, element in enumerate(elements):
        try:
            yield check_row(element, limits)
        except RowError as error:
            raise error.at(row=position) from None


def _elements(body: bytes) -> Iterator[bytes]:
    members = _members_of(body)
    if set(members) != {"submissions"}:
        raise RowError(_WANTED, Code.REQUEST_INVALID)
    if body.count(b'"submissions"') != 1:
        parse_strictly(body)
    found = bytes(members["submissions"])
    if not found.startswith(b"["):
        raise RowError(_WANTED, Code.REQUEST_INVALID)
    return map(bytes, _elements_of(found))


def _elements_by_scanning(body: bytes) -> Iterator[bytes]:
    """The elements of what the fast parser does not take, such as JSON with an unpaired surrogate."""
    found = parse_strictly(body)
    if not (isinstance(found, dict) and set(found) == {"submissions"} and isinstance(found["submissions"], list)):
        raise RowError(_WANTED, Code.REQUEST_INVALID)
    text = body.decode()
    place = text.index("[") + 1
    while (start := _SPACE.match(text, place).end()) < len(text) and text[start] != "]":  # type: ignore[union-attr]  # it matches the empty text
        _, end = _strict.raw_decode(text, start)
        yield text[start:end].encode()
        place = _SPACE.match(text, end).end()  # type: ignore[union-attr]  # as above
        place += text[place] == ","


def parse_strictly(text: bytes) -> Any:
    """Parse JSON that must be what every parser takes it for.

    Raises:
        RowError: where it is not JSON, or two members of an object have one name, or a number is beyond all bounds.
    """
    if text.startswith(BOM):
        raise RowError("it begins with a byte order mark")
    try:
        return _strict.decode(text.decode())
    except UnicodeDecodeError:
        raise RowError("it is not UTF-8") from None
    except RecursionError:
        raise RowError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RowError(f"it is not JSON: {_reason(error)} at character {error.pos + 1:,}") from None
    except _NumberError:
        raise RowError("it has a number that is beyond all bounds") from None


def longest_line(limits: Limits) -> int:
    """Bytes after which a line without an end is given up."""
    return limits.row_bytes * _SLACK


def _unusual(text: bytes) -> tuple[bytes, Any]:
    """What the fast parser does not take: mostly no JSON, rarely JSON with an unpaired surrogate."""
    found = parse_strictly(text)
    return text.strip(), found


def _require_utf8(row: bytes) -> None:
    try:
        row.decode()
    except UnicodeDecodeError:
        raise RowError("it is not UTF-8") from None


def _too_long(limits: Limits) -> RowError:
    return RowError(f"it has more than {limits.row_bytes:,} bytes", Code.SUBMISSION_TOO_LARGE)


def line_too_long(limits: Limits) -> RowError:
    """For a line that does not end."""
    return _too_long(limits)


class _NumberError(ValueError):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RowError("two members of an object have the same name")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _NumberError
    return value


def _whole(text: str) -> int:
    if len(text) > 1_000:
        raise _NumberError
    return int(text)


def _no_constant(_name: str) -> None:
    # Python reads NaN and Infinity; JSON has no such thing.
    raise RowError("it is not JSON: NaN and Infinity are no numbers there")


def _reason(error: json.JSONDecodeError) -> str:
    """The library's reason, which quotes nothing of the text."""
    return error.msg.partition(":")[0].removesuffix(" at").lower()


_strict = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_float=_finite, parse_int=_whole, parse_constant=_no_constant
)
