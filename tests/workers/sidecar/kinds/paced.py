"""The payload of a job that takes its time and ends as it is told. Found by `PYTHONPATH`, as a user's own kinds are."""

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue


class Paced(Payload, kind="test.paced", queue=Queue.POSTS):
    """Sleep, then end well, unless one of these is asked for."""

    sleep_seconds: float = 0.0
    fail: int = 0
    postpone: bool = False
    die: bool = False
    kill: bool = False
