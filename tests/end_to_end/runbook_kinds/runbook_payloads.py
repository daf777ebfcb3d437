"""The job kind that the runbook's examples are about: a post goes out to a platform, through an account.

Written as a user would: outside Penstock, found by `PYTHONPATH`.
"""

from typing import ClassVar

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue


class PublishPost(Payload, kind="post.publish", queue=Queue.PUBLISHING):
    """Publish a post, once; nothing is called."""

    subjects: ClassVar = {"platform": "platform", "account": "account"}

    name: str
    platform: str = "instagram"
    account: str = "178414"
    #: The HTTP status that the platform answers with.
    status: int = 201
    takes_seconds: float = 0

    def idempotency_key(self) -> str:
        """The name."""
        return self.name
