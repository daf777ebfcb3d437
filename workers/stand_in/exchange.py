"""One request and one response of the stand-in, as plain values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_NAME = re.compile(rb'name="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Request:
    """What came in. `fields` are the query, the form and the JSON body together; `file` is a multipart form's file."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    fields: Mapping[str, Any]
    file: bytes = b""

    @property
    def token(self) -> str:
        """The token, from wherever it was sent."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme in {"Bearer", "OAuth"} else str(self.fields.get("access_token", ""))

    @property
    def account(self) -> str:
        """The account that the token speaks for: a token is `NAME.n`, a refresh token `NAME`."""
        token = self.token or str(self.fields.get("refresh_token", ""))
        return token.rsplit(".", 1)[0]


@dataclass(frozen=True, slots=True)
class Response:
    """What goes out; a `body` that is no bytes goes as JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


def read_request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    """Take a request apart; a body that can't be read as its type says has no fields."""
    parts = urlsplit(target)
    lower = {name.lower(): value for name, value in headers.items()}
    fields: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    kind, file = lower.get("content-type", ""), b""
    if kind.startswith("application/x-www-form-urlencoded"):
        fields |= parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    elif kind.startswith("application/json"):
        fields |= _object(body)
    elif match := _BOUNDARY.search(kind):
        named, file = _multipart(body, match[1].encode())
        fields |= named
    return Request(method, parts.path, lower, body, fields, file)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _multipart(body: bytes, boundary: bytes) -> tuple[dict[str, str], bytes]:
    fields, file = {}, b""
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if b"filename=" in head:
            file = content
        elif name:
            fields[name[1].decode()] = content.decode("utf-8", "replace")
    return fields, file
