"""The payload of a job that fails in a way of its own. Found by `PYTHONPATH`, as a user's own kinds are."""

from typing import Annotated

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.schemas.sensitive import Sensitive


class Failing(Payload, kind="test.failing", queue=Queue.POSTS):
    """Fail in one of seven ways, each quoting the secret where that can be quoted; any other way ends well."""

    way: int
    secret: Annotated[str, Sensitive()] = ""
