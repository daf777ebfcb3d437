"""The loop that leaves a sign of life: how late each loop of this process is."""

from collections.abc import Sequence
from datetime import timedelta

import redis

from penstock.workers.health.scheduler_signs import write_sign
from penstock.workers.scheduler.loop import Loop
from penstock.workers.telemetry.metrics import LOOP_LAG


class SchedulerSigns:
    """Tells how late this process's loops are, where every sidecar can read it.

    Args:
        client: the connection to Redis.
        namespace: of the deployment.
        process: a name that no other process has.
        loops: those that are told of.
    """

    name = "signs"
    interval = timedelta(seconds=2)
    channel = None

    def __init__(self, client: redis.Redis, namespace: str, process: str, loops: Sequence[Loop]) -> None:
        self._client = client
        self._namespace = namespace
        self._process = process
        self._intervals = {loop.name: loop.interval.total_seconds() for loop in loops}

    def run_once(self) -> bool:
        """Leave a sign.

        Raises:
            PenstockError: of the family `QUEUE_`.
        """
        lags = {sample.labels["loop"]: sample.value for family in LOOP_LAG.collect() for sample in family.samples}
        late = {name: max(0.0, lags[name] - interval) for name, interval in self._intervals.items() if name in lags}
        write_sign(self._client, self._namespace, self._process, late)
        return False
