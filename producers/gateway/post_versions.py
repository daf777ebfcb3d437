"""Versions of posts as ETags, and changes that hold only for the version that the asker has seen."""

import re

from starlette.requests import Request

from penstock.producers.gateway.problems import ProblemError
from penstock.schemas.errors import Code, InvalidInputError, PenstockError

_TAG = re.compile(r'(?:W/)?"v(?P<version>[0-9]{1,9})-[0-9a-f]+"')


def tag_of(version: int) -> str:
    """What the ETag of a post of that version begins with."""
    return f"v{version}-"


def expected_version(request: Request) -> int | None:
    """The version that `If-Match` wants; None where it is not there, or takes any.

    Raises:
        InvalidInputError: `REQUEST_INVALID` where it is no ETag of a post.
    """
    told = request.headers.get("if-match", "*").strip()
    if told == "*":
        return None
    found = _TAG.fullmatch(told)
    if found is None:
        raise InvalidInputError(Code.REQUEST_INVALID, "If-Match is no ETag that a post has")
    return int(found["version"])


def failed_precondition(error: PenstockError, *, has_condition: bool) -> Exception:
    """The error; 412 where it says that `If-Match` does not hold."""
    if has_condition and error.code is Code.POST_CHANGED:
        return ProblemError(error, 412)
    return error
