"""An operator's edit of a dead letter's payload: judged by the kind's schema, with the difference that it makes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import Payload, job_kinds
from penstock.schemas.limits import Limits
from penstock.schemas.upcasting import present_version
from penstock.workers.dead_letters.letters import LetterDetail

#: Changes that a difference lists; what is over it is counted.
CHANGES_LIMIT = 200
_FAULTS_LIMIT = 100
#: A text of JSON, or white space outside of one.
_TEXT_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')

Change = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Edit:
    """A payload to be sent in the place of a letter's own.

    Attributes:
        difference: what changed: `path`, and what stood and stands there (`before`, `after`) by type and length,
            never by value; None for nothing.
        payload: compact JSON of the kind's present version, its numbers as the operator wrote them.
        version: the kind's present version.
    """

    difference: Sequence[Change]
    payload: bytes = field(repr=False)
    version: int


def propose(
    letter: LetterDetail,
    before: bytes,
    after: str | bytes,
    *,
    limits: Limits | None = None,
    kinds: Mapping[str, type[Payload]] | None = None,
) -> Edit:
    """Judge an edited payload; nothing is stored by it.

    `before` is the letter's payload, as `LetterSearch.payload` gives it; `after` the edited JSON text, of the kind's
    present version (`editable` gives the text to begin with).

    Raises:
        InvalidInputError: `JOB_UNKNOWN_KIND` where this process does not know the kind; `BATCH_TOO_LARGE`; or
            `JOB_PAYLOAD_INVALID` with `details["faults"]`: every fault, as `{path, message}`.
    """
    payload_type = _kind_of(letter, kinds)
    text, edited = _read(after)
    size_limit = (limits or Limits()).message_bytes
    if len(text) > size_limit:
        raise InvalidInputError(
            Code.BATCH_TOO_LARGE, f"the edited payload has {len(text):,} bytes; the limit is {size_limit:,}"
        )
    _require_same_job(letter, _validated(payload_type, text))
    return Edit(_difference(_upcast(letter, payload_type, before), edited), text, payload_type.payload_version)


def editable(letter: LetterDetail, before: bytes, kinds: Mapping[str, type[Payload]] | None = None) -> str:
    """The JSON text that an operator edits: indented, in the shape of the kind's present version.

    Raises:
        InvalidInputError: `JOB_UNKNOWN_KIND`, or `JOB_PAYLOAD_INVALID` where nothing leads to the present version.
    """
    return json.dumps(_upcast(letter, _kind_of(letter, kinds), before), ensure_ascii=False, indent=2)


def _kind_of(letter: LetterDetail, kinds: Mapping[str, type[Payload]] | None) -> type[Payload]:
    known = (job_kinds() if kinds is None else kinds).get(letter.letter.kind)
    if known is None:
        raise InvalidInputError(
            Code.JOB_UNKNOWN_KIND,
            f"the kind {letter.letter.kind[:200]!r} has no schema here, so its payload can't be judged",
            remedy="Name the package with its actor in PENSTOCK_ACTORS, or requeue it as it is.",
        )
    return known


def _upcast(letter: LetterDetail, payload_type: type[Payload], before: bytes) -> Any:
    payload, _ = present_version(payload_type, letter.payload_version, before)
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        # It may be what is wrong with it: everything is new then.
        return None


def _read(text: str | bytes) -> tuple[bytes, Any]:
    """The text without white space that means nothing, and its value."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        found = json.loads(decoded, parse_constant=_no_constant)
        return _TEXT_OR_SPACE.sub(lambda match: match[1] or "", decoded).encode(), found
    except json.JSONDecodeError as error:
        told = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except UnicodeError:
        told = "it is not UTF-8"
    except (ValueError, RecursionError) as error:
        told = str(error)
    raise _invalid([{"path": "", "message": f"it is no JSON: {told}"}])


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _validated(payload_type: type[Payload], text: bytes) -> Payload:
    try:
        return payload_type.model_validate_json(text)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise _invalid(
            [{"path": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in faults]
        ) from None


def _require_same_job(letter: LetterDetail, payload: Payload) -> None:
    """A job's id is made of its idempotency key, so another key would be another job under the first one's id."""
    key = payload.idempotency_key()
    if letter.idempotency_key is not None and key is not None and key != letter.idempotency_key:
        raise InvalidInputError(
            Code.JOB_PAYLOAD_INVALID,
            f"the edit changes what names the job: it is {letter.idempotency_key!r} and must stay so",
            remedy="Leave that as it is, or enqueue a new job and discard this one.",
        )


def _invalid(faults: Sequence[Mapping[str, str]]) -> InvalidInputError:
    first = "; ".join(f"{fault['path'] or 'payload'}: {fault['message']}" for fault in faults[:3])
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return InvalidInputError(
        Code.JOB_PAYLOAD_INVALID,
        f"the edited payload is not usable: {first}{more}",
        remedy="Correct each path that is named; the kind's schema is in docs/schemas.",
        details={"faults": list(faults[:_FAULTS_LIMIT])},
    )


def _difference(before: Any, after: Any) -> list[Change]:
    changes = list(_changes("", before, after))
    if len(changes) <= CHANGES_LIMIT:
        return changes
    rest = len(changes) - CHANGES_LIMIT
    return [*changes[:CHANGES_LIMIT], {"path": "…", "before": None, "after": f"{rest:,} more changes"}]


def _changes(path: str, before: Any, after: Any) -> list[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        places = [(name, before.get(name, _ABSENT), after.get(name, _ABSENT)) for name in names]
    elif isinstance(before, list) and isinstance(after, list):
        length = max(len(before), len(after))
        places = [(str(place), _element(before, place), _element(after, place)) for place in range(length)]
    elif _same(before, after):
        return []
    else:
        return [{"path": path, "before": _described(before), "after": _described(after)}]
    return [change for name, old, new in places for change in _changes(f"{path}.{name}" if path else name, old, new)]


_ABSENT = object()


def _element(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else _ABSENT


def _same(before: Any, after: Any) -> bool:
    # True equals 1 in Python, and not in JSON.
    return before is after or (type(before) is type(after) and before == after)


def _described(value: Any) -> str | None:
    match value:
        case str():
            return f"text, {len(value):,} characters"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case list():
            return f"list of {len(value):,}"
        case dict():
            return f"object of {len(value):,}"
    return "null" if value is None else None
