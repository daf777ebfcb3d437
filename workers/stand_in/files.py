"""Pictures and videos for trials: `/files/NAME.mp4?bytes=N` has N bytes that say their own place."""

import re
from hashlib import sha256

from penstock.workers.stand_in.exchange import Request, Response

_TYPES = {"jpg": "image/jpeg", "png": "image/png", "mp4": "video/mp4"}
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_LARGEST = 64 * 1024 * 1024


def file_bytes(name: str, size: int) -> bytes:
    """The bytes of a file: the same for the same name and size."""
    block = sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def serve_file(request: Request) -> Response:
    """A whole file, or the part that was asked for."""
    name = request.path.rsplit("/", 1)[-1]
    size = min(int(request.fields.get("bytes", 1_000)), _LARGEST)
    content, kind = file_bytes(name, size), {"Content-Type": _TYPES.get(name.rsplit(".", 1)[-1], "text/plain")}
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None:
        return Response(200, content, kind)
    first, last = int(match[1]), min(int(match[2]), size - 1)
    return Response(206, content[first : last + 1], {**kind, "Content-Range": f"bytes {first}-{last}/{size}"})
