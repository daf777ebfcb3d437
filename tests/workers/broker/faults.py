"""A client of Redis whose answers get lost: the real one, with failures around the real calls."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis

from penstock.producers.queue.scripts import script

STEPS = ("enqueue", "join", "lease", "leave", "release", "settle", "start", "tick")


class FaultyClient:
    """Runs every call on a real client; steps fail when they are told to, before Redis has them or after it."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._names = {script(name).sha: name for name in STEPS}
        for name in STEPS:
            # Known to the server, so that each step is one call.
            client.script_load(script(name).source)
        self._lock = threading.Lock()
        self._faults: dict[str, list[tuple[str, Callable[[], Exception]]]] = {}
        #: How often each step failed, and how often it was tried.
        self.failed: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()

    def fail(
        self,
        step: str,
        times: int = 1,
        *,
        when: str = "before",
        error: Callable[[], Exception] = lambda: redis.ConnectionError("cut"),
    ) -> None:
        """Have the next `times` calls of a step fail, `before` or `after` Redis ran it."""
        with self._lock:
            self._faults.setdefault(step, []).extend([(when, error)] * times)

    def mend(self) -> None:
        """Let every call through again."""
        with self._lock:
            self._faults.clear()

    def evalsha(self, sha: str, *arguments: Any) -> Any:
        name = self._names.get(sha, "another")
        with self._lock:
            self.tried[name] += 1
            faults = self._faults.get(name)
            when, error = faults.pop(0) if faults else ("", None)
            self.failed[name] += error is not None
        if error is not None and when == "before":
            raise error()
        answer = self._client.evalsha(sha, *arguments)
        if error is not None:
            raise error()
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
