"""What a sidecar reads of schedulers for `/metrics`: samples by the name of the metric. They may be on any machine."""

import redis

from penstock.workers.health.scheduler_signs import HEARD_WITHIN, lateness, read_signs

#: As `shared_readings.Samples`.
Samples = dict[str, list[tuple[tuple[str, ...], float]]]


def read_schedulers(client: redis.Redis, namespace: str) -> Samples:
    """How many there are, and how late each of their loops is.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    signs = read_signs(client, namespace)
    return {
        "penstock_schedulers": [((), float(sum(sign.age < HEARD_WITHIN for sign in signs)))],
        "penstock_scheduler_late_seconds": [((loop,), late) for loop, late in sorted(lateness(signs).items())],
    }
