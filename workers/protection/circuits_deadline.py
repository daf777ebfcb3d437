"""Asks Redis with a deadline: whatever is the matter with it, the answer or its absence is known in time."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as OverdueError
from typing import Any

import redis

from penstock.producers.queue.scripts import Argument, Scripts
from penstock.schemas.errors import PenstockError
from penstock.workers.protection.keys import GATE_STEPS, gate_keys

_log = logging.getLogger(__name__)

#: The longest wait for an answer. Time-outs of sockets don't bound it: names are looked up, Sentinels are asked.
DECISION_SECONDS = 0.3
#: So long after a question without an answer no further one is asked.
AWAY_SECONDS = 1.0
#: Questions under way. Those that no answer comes to end by the time-outs of the client's sockets.
_THREADS = 32


class DeadlineScripts:
    """Runs steps of the gates, each in time. Safe to share between threads.

    The client's own tries add up to the time that a question without an answer lasts on: use one without replays.
    """

    def __init__(self, client: redis.Redis, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="penstock-circuits")
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._away = False

    def run(self, step: str, *arguments: Argument) -> Any | None:
        """What the step answers; None where Redis does not answer in time, or can't run it."""
        if self._clock() < self._away_until:
            return None
        try:
            asked: Future[Any] = self._threads.submit(self._scripts.run, step, self._keys, *arguments)
        except RuntimeError:
            # Closed, or the interpreter ends: nobody can be asked any more.
            return None
        try:
            answer = asked.result(DECISION_SECONDS)
        except OverdueError:
            asked.cancel()
            self._missed("it did not answer in time")
            return None
        except (redis.RedisError, OSError, PenstockError) as error:
            self._missed(type(error).__name__)
            return None
        self._answered()
        return answer

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _missed(self, why: str) -> None:
        with self._lock:
            first, self._away = not self._away, True
            self._away_until = self._clock() + AWAY_SECONDS
        if first:
            _log.warning("Redis can't be asked for circuits (%s)", why)

    def _answered(self) -> None:
        if not self._away:
            return
        with self._lock:
            back, self._away = self._away, False
        if back:
            _log.info("Redis can be asked for circuits again")
