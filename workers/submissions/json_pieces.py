"""JSON cut into its pieces by brackets, commas and quotes alone, for what no JSON parser takes.

One row that is not JSON (NaN, an unpaired surrogate, a control character, nesting that ends every stack) makes the
whole payload none. This finds where each row ends all the same, so that the others need not pay for it.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise

_STRING = rb'"(?:[^"\\]|\\.)*+"'
_TOKEN = re.compile(_STRING + rb'|[][{},"]', re.DOTALL)
_MEMBER = re.compile(rb"(" + _STRING + rb")[ \t\n\r]*:(.*)", re.DOTALL)
_WHITE_SPACE = b" \t\n\r"
_CLOSING = {b"[": b"]", b"{": b"}"}


class UncuttableError(ValueError):
    """Raised when quotes or brackets do not pair, so that nobody can tell where a piece ends."""


def list_pieces(text: bytes) -> list[bytes]:
    """The elements of a list as they stand there, without white space around them.

    Raises:
        UncuttableError: for what is no list from its first bracket to its last.
    """
    return _pieces(text, b"[")


def object_pieces(text: bytes) -> dict[str, bytes]:
    """The members of an object: each name, and the value as it stands there. Of equal names the last counts.

    Raises:
        UncuttableError: for what is no object from its first bracket to its last, or has a member without a name.
    """
    return dict(_member(piece) for piece in _pieces(text, b"{"))


def _member(piece: bytes) -> tuple[str, bytes]:
    parts = _MEMBER.fullmatch(piece)
    if parts is None:
        raise UncuttableError("a member has no name")
    try:
        return json.loads(parts[1].decode()), parts[2].strip(_WHITE_SPACE)
    except ValueError:
        raise UncuttableError("a member's name is no JSON string") from None


def _pieces(text: bytes, opening: bytes) -> list[bytes]:
    text = text.strip(_WHITE_SPACE)
    if text[:1] != opening:
        raise UncuttableError(f"it does not begin with {opening.decode()}")
    cuts = [0, *_outer_commas(text), len(text) - 1]
    pieces = [text[begin + 1 : end].strip(_WHITE_SPACE) for begin, end in pairwise(cuts)]
    return [] if pieces == [b""] else pieces


def _outer_commas(text: bytes) -> Iterator[int]:
    """Where the commas stand that are within the outermost brackets and no others."""
    awaited: list[bytes] = []
    end = 0
    for found in _TOKEN.finditer(text):
        token, end = found[0], found.end()
        if token == b'"':
            # A string without an end. Going on would look for its end from each quote in it once more.
            break
        if token in _CLOSING:
            awaited.append(_CLOSING[token])
        elif token == b"," and len(awaited) == 1:
            yield found.start()
        elif token in _CLOSING.values() and (awaited.pop() != token or not awaited):
            break
    if awaited or end != len(text):
        raise UncuttableError("quotes or brackets do not pair, or more follows them")
