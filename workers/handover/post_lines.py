"""Files of posts: one JSON object a line. Every line is read, and all that is wrong with any of them is told."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import Name
from penstock.schemas.post_content import Media, PostContent
from penstock.schemas.scheduled_post import LatenessPolicy

#: Bytes of one line; no platform takes a text of a tenth of it.
LINE_BYTES = 1024 * 1024
#: Lines of one file: they are checked, and so are in memory, together.
LINES_LIMIT = 100_000

#: What a fault in a member is called; any other one is `REQUEST_FILE_INVALID`.
_CODES: Mapping[str, Code] = {
    "text": Code.POST_TEXT_INVALID,
    "media": Code.POST_MEDIA_INVALID,
    "options": Code.POST_OPTION_INVALID,
    "link": Code.POST_OPTION_INVALID,
    "due_at": Code.POST_SCHEDULE_INVALID,
    "lateness_policy": Code.POST_SCHEDULE_INVALID,
    "grace_seconds": Code.POST_SCHEDULE_INVALID,
}
_VIDEO = re.compile(r"\.(mp4|mov|m4v|webm|avi|mkv|mpeg|mpg|3gp)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LineFault:
    """One thing that is wrong with a line (from 1). `field` is such as `text` or `media.0.url`; None for all of it."""

    line: int
    field: str | None
    code: Code
    message: str

    def as_dict(self) -> dict[str, Any]:
        """The fault as JSON values."""
        return {"line": self.line, "field": self.field, "code": str(self.code), "message": self.message}


def _media(value: Any) -> Any:
    """A mere address stands for a picture, or for a video where its path ends like one."""
    if not isinstance(value, str):
        return value
    try:
        is_video = _VIDEO.search(urlsplit(value).path) is not None
    except ValueError:
        is_video = False
    return {"url": value, "kind": "video" if is_video else "image"}


class PostLine(BaseModel):
    """What a line may say. `scheduled_at` is another name of `due_at`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    platform: Annotated[str, Field(max_length=50)] | None = None
    text: str = ""
    media: tuple[Annotated[Media, BeforeValidator(_media)], ...] = ()
    link: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    due_at: AwareDatetime
    lateness_policy: LatenessPolicy = LatenessPolicy.RUN
    grace_seconds: Annotated[int, Field(ge=0, le=366 * 86_400)] = 3_600
    owner: Name | None = None
    key: Name | None = None

    def content(self) -> PostContent:
        """What the post says. Raises ValidationError."""
        return PostContent(text=self.text, media=self.media, link=self.link, options=self.options)


def read_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, PostLine | list[LineFault]]]:
    """Each line by its number, or what is wrong with it; empty lines are none.

    Raises:
        InvalidInputError: `REQUEST_FILE_INVALID` where a line or the file has no end.
    """
    for number in range(1, LINES_LIMIT + 2):
        line = stream.readline(LINE_BYTES + 1)
        if not line:
            return
        if len(line) > LINE_BYTES or number > LINES_LIMIT:
            told = f"{name}: over {LINES_LIMIT:,} lines, or line {number} has over {LINE_BYTES:,} bytes"
            raise InvalidInputError(Code.REQUEST_FILE_INVALID, told, details={"line": number})
        if not line.isspace():
            yield number, _read(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)


def _read(number: int, line: bytes) -> PostLine | list[LineFault]:
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except UnicodeDecodeError:
        return [LineFault(number, None, Code.REQUEST_FILE_INVALID, "it is not UTF-8")]
    except (ValueError, RecursionError):
        return [LineFault(number, None, Code.REQUEST_FILE_INVALID, "it is not JSON")]
    if not isinstance(found, dict):
        return [LineFault(number, None, Code.REQUEST_FILE_INVALID, "it is JSON, but no object")]
    if "scheduled_at" in found:
        if "due_at" in found:
            told = "it is due_at by another name, and both are there"
            return [LineFault(number, "scheduled_at", Code.POST_SCHEDULE_INVALID, told)]
        found["due_at"] = found.pop("scheduled_at")
    return _checked(number, found)


def _checked(number: int, found: dict[str, Any]) -> PostLine | list[LineFault]:
    if not isinstance(found.get("due_at", ""), str):
        # A number would pass for seconds since 1970, or for milliseconds.
        return [LineFault(number, "due_at", Code.POST_SCHEDULE_INVALID, "an instant is a text such as RFC 3339 has it")]
    try:
        return PostLine.model_validate(found)
    except ValidationError as error:
        return faults_of(number, error)


def faults_of(number: int, error: ValidationError) -> list[LineFault]:
    """What pydantic found, without the values."""
    told = error.errors(include_input=False, include_url=False, include_context=False)
    return [_fault(number, tuple(str(part) for part in one["loc"]), one["msg"]) for one in told]


def _fault(number: int, place: tuple[str, ...], message: str) -> LineFault:
    code = _CODES.get(place[0] if place else "", Code.REQUEST_FILE_INVALID)
    return LineFault(number, ".".join(place)[:200] or None, code, message.removeprefix("Value error, "))


def _no_constant(name: str) -> None:
    # Python reads NaN and Infinity; JSON has no such thing.
    raise ValueError(name)


@contextmanager
def open_posts(path: Path) -> Iterator[BinaryIO]:
    """Open a file of posts; `-` is standard input.

    Raises:
        InvalidInputError: `REQUEST_FILE_NOT_FOUND` where it can't be opened.
    """
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InvalidInputError(Code.REQUEST_FILE_NOT_FOUND, f"{str(path)!r} can't be read: {error.strerror}") from None
    with stream:
        yield stream
