"""What this machine tells: its processes' figures, and its disk."""

import shutil
from collections.abc import Iterator

from penstock.workers.health.report import Check, Status
from penstock.workers.health.sources import Sources

_MB = 1024 * 1024


def look_at_processes(sources: Sources) -> Iterator[Check]:
    """Errors, caches, memory and pools. Nothing where nobody reads the metrics.

    Raises:
        OSError: the metrics' folder can't be read.
    """
    if sources.vitals is None:
        return
    settings, vitals = sources.settings, sources.vitals()
    yield _figure("errors", vitals.error_share, settings.health_error_share, "of the jobs that ended lately died")
    yield _figure(
        "caches",
        vitals.cache_hit_share,
        settings.health_cache_hits,
        "of the look-ups were answered by caches",
        low=True,
    )
    yield _memory(vitals.memory_bytes, settings.health_memory_mb)
    yield _figure("pool", vitals.pool_share, settings.health_pool_share, "of the connections to PostgreSQL are taken")


def _figure(name: str, share: float | None, limit: float, told: str, *, low: bool = False) -> Check:
    if share is None:
        return Check(name, Status.HEALTHY, "nothing is known yet", threshold=limit)
    wrong = share < limit if low else share > limit
    words = f"{share:.1%} {told}"
    return Check(
        name,
        Status.WARNING if wrong else Status.HEALTHY,
        words,
        value=share,
        threshold=limit,
        unit="share",
        sentence=words if wrong else None,
        step="See the figures of the last hours" if name != "errors" else "See what they died of",
        path="/" if name != "errors" else "/dead-letters",
    )


def _memory(found: float | None, limit: float) -> Check:
    if found is None:
        return Check("memory", Status.HEALTHY, "nothing is known yet", threshold=limit, unit="MB")
    size = found / _MB
    wrong = size > limit
    return Check(
        "memory",
        Status.WARNING if wrong else Status.HEALTHY,
        f"the largest process takes {size:,.0f} MB",
        value=size,
        threshold=limit,
        unit="MB",
        sentence=f"A process takes {size:,.0f} MB of memory" if wrong else None,
        step="See which one, and what its jobs hold",
    )


def look_at_disk(sources: Sources) -> Iterator[Check]:
    """How much of the disk under PENSTOCK_HOME is free.

    Raises:
        OSError: nothing of the path is there.
    """
    place = sources.settings.home.expanduser().absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    share, limit = usage.free / usage.total, sources.settings.health_disk_free_share
    wrong = share < limit
    yield Check(
        "disk",
        Status.WARNING if wrong else Status.HEALTHY,
        f"{share:.0%} free",
        value=share,
        threshold=limit,
        unit="free",
        sentence=f"Only {share:.0%} of the disk is free" if wrong else None,
        step="Make room",
    )
