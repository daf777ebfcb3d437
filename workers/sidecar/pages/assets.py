"""The pages' own style and scripts: read once, named by their content, kept by browsers."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from penstock.schemas.errors import Code, NotFoundError

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    found = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    return {name: (content, hashlib.sha256(content).hexdigest()[:12]) for name, content in found.items()}


def asset_address(name: str) -> str:
    """The address of a file, which changes with its content."""
    return f"/static/{name}?v={_files()[name][1]}"


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def asset(name: str, v: str = "") -> Response:
    """A file of the package; nothing else can be reached, since names are looked up and not paths."""
    if name not in _files():
        raise NotFoundError(Code.REQUEST_FILE_NOT_FOUND, "the pages have no such file")
    content, version = _files()[name]
    kept = "public, max-age=31536000, immutable" if v == version else "no-cache"
    kind = _TYPES[Path(name).suffix]
    return Response(content, media_type=kind, headers={"Cache-Control": kept, "ETag": f'"{version}"'})
