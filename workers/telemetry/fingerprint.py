"""The fingerprint of a failure: equal for failures of one cause, in dead letters and wherever they are told."""

import hashlib
import re
from collections.abc import Collection, Sequence

#: What differs between two failures of one cause, and what stands for it; the order matters.
_PLACEHOLDERS = (
    (re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|“[^”]*”|\u2039[^\u203a]*\u203a"), "<text>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,}\b"), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_MESSAGE_LIMIT = 2_000
#: A frame as the queue's history tells it: `file:line in function`.
_FRAME = re.compile(r"(?P<file>.+):\d+ in (?P<function>.+)\Z", re.DOTALL)
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|<frozen |<string>")
_PACKAGE = re.compile(r"(?:.*/)?(?:\.src/)?penstock/(?=.)")


def fingerprint(kind: str, code: str, error: str | None, message: str, site: str | None) -> str:
    """16 hexadecimal digits of SHA-256 over what failures of one cause have in common.

    `error` is module and class of the exception; numbers, ids, instants and quoted texts in the message don't matter;
    `site` is as `site_of` tells it.
    """
    parts = (kind, code, error or "", normalised(message), site or "")
    return hashlib.sha256("\x00".join(parts).encode(errors="backslashreplace")).hexdigest()[:16]


def normalised(message: str) -> str:
    """The message with placeholders for what differs between two failures of one cause."""
    found = message[:_MESSAGE_LIMIT]
    for pattern, placeholder in _PLACEHOLDERS:
        found = pattern.sub(placeholder, found)
    return found.strip()


def site_of(frames: Sequence[str], own: Collection[int] | None = None) -> str | None:
    """Where it failed: file and function of the innermost frame that is no library's; None where there is none.

    Without the line's number and the place of the installation, so that a release and a machine don't matter.

    Args:
        frames: outermost first, each as `file:line in function`.
        own: positions of those that are no library's; told by their paths if absent.
    """
    for position in range(len(frames) - 1, -1, -1):
        found = _FRAME.match(frames[position])
        if found is not None and (_is_own(found["file"]) if own is None else position in own):
            return f"{_inside(found['file'])} in {found['function']}"
    return None


def _is_own(file: str) -> bool:
    # Installed from a wheel, this package and a user's stand among the libraries.
    return _LIBRARY.search(file) is None or "/penstock/" in file


def _inside(file: str) -> str:
    """The path below the package's root, or the last parts of it."""
    inside, found = _PACKAGE.subn("penstock/", file, count=1)
    return inside if found else "/".join(file.split("/")[-3:])
