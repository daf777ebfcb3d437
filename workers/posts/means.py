"""What posts are published with, in a process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.posts.authorising import Authoriser
from penstock.workers.posts.conversation import Speaker
from penstock.workers.posts.steps import Steps


@dataclass(frozen=True, slots=True)
class Means:
    """Shared by all threads.

    Attributes:
        visible_for: the longest that a visible step can take.
        look_ups: how long to wait before each further look-up of a try that was not found.
        max_retries: attempts of a job after the first one.
        clock: now, aware.
    """

    steps: Steps
    authoriser: Authoriser
    platforms: Platforms
    speaker: Speaker
    visible_for: timedelta
    look_ups: Sequence[timedelta]
    max_retries: int
    clock: Callable[[], datetime]
