"""The contract's golden exchanges: read from their files, sent, and held against what a gateway answers.

docs/contract/README.md tells how a file is to be read.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

FOLDER = Path(__file__).parents[2] / "docs" / "contract" / "exchanges"
_PLACE = re.compile(r"{{(?:(\w+) = )?(\w+)}}")


def _is_instant(value: object) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: What stands in an answer for a value that differs from run to run.
KINDS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str) and value != "",
    "uuid": lambda value: isinstance(value, str) and str(UUID(value)) == value,
    "instant": _is_instant,
    "count": _is_count,
    "seconds": lambda value: str(value).isdigit() and int(value) >= 1,
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, as a file has them."""

    name: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]
    is_polled: bool

    def send(self, url: str, known: Mapping[str, str]) -> httpx.Response:
        """Ask as the file says, with what is known in the place of names."""
        asked = filled(dict(self.request), known)
        body = asked.get("body")
        content = body if isinstance(body, str) else None if body is None else json.dumps(body)
        path, headers = asked["path"], asked.get("headers", {})
        return httpx.request(asked["method"], f"{url}{path}", headers=headers, content=content, timeout=60)

    def differences(self, found: httpx.Response, known: dict[str, str]) -> list[str]:
        """What the answer has otherwise than the file; what the file gives a name to is noted in `known`."""
        wanted = filled(dict(self.answer), known)
        told = [] if found.status_code == wanted["status"] else [f"status {found.status_code}: {found.text[:500]}"]
        for name, value in wanted.get("headers", {}).items():
            told += different(value, found.headers.get(name), f"header {name}", known)
        body = json.loads(found.content) if found.content else None
        return told + list(different(wanted.get("body"), body, "body", known))


def exchanges() -> list[Exchange]:
    """All of them, in the order in which they are to be sent."""
    return [_read(path) for path in sorted(FOLDER.glob("*.json"))]


def _read(path: Path) -> Exchange:
    told = json.loads(path.read_text(encoding="utf-8"))
    assert set(told) <= {"about", "request", "answer", "polled"}, path
    return Exchange(path.stem, told["request"], told["answer"], told.get("polled", False))


def filled(value: Any, known: Mapping[str, str]) -> Any:
    """The value with each known name's value in the name's place."""
    if isinstance(value, dict):
        return {name: filled(part, known) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, known) for part in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda place: known.get(place[2], place[0]) if place[1] is None else place[0], value)
    return value


def different(wanted: Any, found: Any, place: str, known: dict[str, str]) -> Iterator[str]:
    """Each difference by its place: members that are missing or new, other types, other values."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        yield from (f"{place}.{name} is missing" for name in wanted.keys() - found.keys())
        yield from (f"{place}.{name} is new" for name in found.keys() - wanted.keys())
        for name in wanted.keys() & found.keys():
            yield from different(wanted[name], found[name], f"{place}.{name}", known)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from different(one, other, f"{place}.{number}", known)
    elif not _is_as_told(wanted, found, known):
        yield f"{place}: {found!r} is not {wanted!r}"


def _is_as_told(wanted: Any, found: Any, known: dict[str, str]) -> bool:
    told = _PLACE.fullmatch(wanted) if isinstance(wanted, str) else None
    if told is None or told[2] not in KINDS:
        return type(wanted) is type(found) and bool(wanted == found)
    try:
        is_so = KINDS[told[2]](found)
    except (TypeError, ValueError):
        return False
    if is_so and told[1] is not None:
        known[told[1]] = str(found)
    return is_so
