"""The rule of file: a reference to a file that its owner keeps, never bytes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from penstock.schemas.errors import Code
from penstock.schemas.text import is_storable
from penstock.workers.answers.json_text import Answer, JsonNumber
from penstock.workers.answers.numbers import parse_number, whole_json, whole_value
from penstock.workers.answers.rule import UNSTORABLE, RefusedAnswerError, Shape

_URL_CHARACTERS = 2_048
_NAME_CHARACTERS = 255
#: A media type without parameters: two restricted names (RFC 6838 §4.2).
_NAME_OF_TYPE = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_CONTENT_TYPE = re.compile(rf"{_NAME_OF_TYPE}/{_NAME_OF_TYPE}")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
#: What `urlsplit` would drop or browsers would read as something else.
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\]|\s")


@dataclass(frozen=True, slots=True)
class FileRule:
    """An object `{url, name, size, content_type, sha256?}` and no other member."""

    def read(self, answer: Answer) -> Answer:
        """The reference, `size` written as digits only and `sha256` in lower case."""
        if not isinstance(answer, dict):
            raise RefusedAnswerError(
                (Code.ANSWER_TYPE_INVALID, "send an object {url, name, size, content_type, sha256?}")
            )
        faults = []
        if wanted := _wanted(answer):
            faults.append((Code.ANSWER_FILE_INVALID, f"send {'; '.join(wanted)}"))
        if not all(is_storable(text) for text in answer.values() if isinstance(text, str)):
            faults.append(UNSTORABLE)
        if faults:
            raise RefusedAnswerError(*faults)
        return {name: _canonical(name, member) for name, member in answer.items()}

    def shape(self) -> Shape:
        """The same object, with a look at the address and the name."""
        return Shape(_Reference, lambda reference: _is_https(reference.url) and is_storable(reference.name))


class _Reference(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    url: str
    name: Annotated[str, Meta(min_length=1, max_length=_NAME_CHARACTERS)]
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    content_type: Annotated[str, Meta(pattern=rf"\A{_CONTENT_TYPE.pattern}\Z")]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")] | msgspec.UnsetType = msgspec.UNSET


def _wanted(reference: Mapping[str, Answer]) -> list[str]:
    """What each wrong member should have been."""
    wanted = [wanted for name, (accepts, wanted) in _MEMBERS.items() if not accepts(reference.get(name))]
    if "sha256" in reference and not _is_sha256(reference["sha256"]):
        wanted.append("sha256 as 64 hexadecimal digits, or none")
    if not reference.keys() <= _ALLOWED:
        wanted.append("no other members")
    return wanted


def _is_https(url: Answer) -> bool:
    if not isinstance(url, str) or len(url) > _URL_CHARACTERS or _NOT_IN_URL.search(url):
        return False
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False


def _is_name(name: Answer) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= _NAME_CHARACTERS


def _is_size(size: Answer) -> bool:
    return _size_bytes(size) is not None


def _is_content_type(content_type: Answer) -> bool:
    return isinstance(content_type, str) and _CONTENT_TYPE.fullmatch(content_type) is not None


def _is_sha256(digest: Answer) -> bool:
    return isinstance(digest, str) and _SHA256.fullmatch(digest) is not None


_MEMBERS: Mapping[str, tuple[Callable[[Answer], bool], str]] = {
    "url": (_is_https, f"url as an https address of at most {_URL_CHARACTERS:,} characters without user name"),
    "name": (_is_name, f"name as a string of 1 to {_NAME_CHARACTERS} characters"),
    "size": (_is_size, "size as a whole number of bytes"),
    "content_type": (_is_content_type, "content_type as type/subtype"),
}
_ALLOWED = _MEMBERS.keys() | {"sha256"}


def _size_bytes(size: Answer) -> int | None:
    written = parse_number(size.text) if isinstance(size, JsonNumber) else None
    value = whole_value(written) if written else None
    return value if value is not None and value >= 0 else None


def _canonical(name: str, member: Answer) -> Answer:
    if name == "size" and isinstance(member, JsonNumber):
        return whole_json(member)
    return member.lower() if name == "sha256" and isinstance(member, str) else member
