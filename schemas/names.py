"""Names that other systems choose for things in Penstock: forms, batches, tenants, and queues of ours."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from penstock.schemas.errors import Code, InvalidInputError

#: Forms, batches and tenants: safe in URLs, file names and log lines without escaping.
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,200}$"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")

#: The tenant of jobs that name none.
DEFAULT_TENANT = "default"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Queue(StrEnum):
    """The queues of Penstock."""

    SUBMISSIONS = "submissions"
    POSTS = "posts"
    PUBLISHING = "publishing"


def require_name(value: str, code: Code, what: str) -> str:
    """Return `value` if it is a usable name.

    Raises:
        InvalidInputError: with `code`, naming `what` it is.
    """
    if not _NAME.match(value):
        shown = value if len(value) <= 80 else value[:77] + "..."
        raise InvalidInputError(code, f"{shown!r} can't be {what}: use 1 to 200 of A-Z a-z 0-9 . _ -")
    return value
