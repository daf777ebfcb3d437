"""Answers as JSON text: decoded without loss, and written as `jsonb` reads them."""

import json
import re
from dataclasses import dataclass
from typing import TypeAlias

from penstock.schemas.text import is_storable

#: PostgreSQL's `numeric` has 131,072 digits before the point and 16,383 after it; this is far from both.
_MODEST_NUMBER = re.compile(r"-?[0-9.]{1,1000}(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A JSON number as it is written, because neither float nor int keeps every one of them."""

    text: str


Answer: TypeAlias = "bool | str | JsonNumber | list[Answer] | dict[str, Answer] | None"


class ShadowingMembers(dict[str, Answer]):
    """An object that was sent with a name twice, where `jsonb` would refuse what stood before the last."""


class UndecodableError(ValueError):
    """Raised when bytes are not UTF-8 JSON. The message says why, and quotes nothing."""


def decode_answers(raw: bytes) -> Answer:
    """Decode a row's `answers`. Of members with the same name the last counts, as in `jsonb`.

    Where `jsonb` would refuse what stood before, the object is a `ShadowingMembers`.
    Unpaired surrogates that were sent as escapes are in the texts; NaN and the infinities are not JSON.

    Raises:
        UndecodableError: for what is not UTF-8, not JSON, or nested deeper than Python's stack.
    """
    try:
        # Decoded here, since json.loads would take bytes in UTF-16 and UTF-32 too.
        decoded: Answer = json.loads(
            raw.decode(),
            parse_int=JsonNumber,
            parse_float=JsonNumber,
            parse_constant=_refuse_constant,
            object_pairs_hook=_members,
        )
    except UnicodeDecodeError as error:
        raise UndecodableError(f"the answers must be UTF-8; byte {error.start} is not") from None
    except json.JSONDecodeError as error:
        raise UndecodableError(f"the answers must be JSON; what stands at character {error.pos} is not") from None
    except RecursionError:
        raise UndecodableError("the answers must be an object of plain answers; these are nested too deep") from None
    return decoded


def encode_answers(answers: dict[str, Answer]) -> bytes:
    """Write canonical answers as compact UTF-8 JSON.

    Raises:
        UnicodeEncodeError: for a text with an unpaired surrogate, which no rule lets through.
    """
    return _json_text(answers).encode()


def _json_text(value: Answer) -> str:
    if isinstance(value, JsonNumber):
        return value.text
    if isinstance(value, dict):
        members = (f"{_json_text(name)}:{_json_text(member)}" for name, member in value.items())
        return "{" + ",".join(members) + "}"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _members(pairs: list[tuple[str, Answer]]) -> dict[str, Answer]:
    members = dict(pairs)
    if len(members) == len(pairs) or all(_is_storable(value) for _, value in pairs):
        return members
    return ShadowingMembers(members)


def _is_storable(value: Answer) -> bool:
    """Whether `jsonb` surely takes a value that no rule has seen."""
    match value:
        case str():
            return is_storable(value)
        case JsonNumber(text):
            return _MODEST_NUMBER.fullmatch(text) is not None
        case list():
            return all(map(_is_storable, value))
        case dict():
            return not isinstance(value, ShadowingMembers) and all(map(_is_storable, (*value, *value.values())))
        case _:
            return True


def _refuse_constant(_name: str) -> Answer:
    raise UndecodableError("the answers must be JSON, which has no NaN and no infinities")
