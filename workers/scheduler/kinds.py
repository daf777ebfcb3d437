"""What the scheduler has to know of job kinds: their queue, and whether their effects can be asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.schemas.job import job_kinds
from penstock.schemas.names import Queue
from penstock.workers.registry import discover_all


@dataclass(frozen=True, slots=True)
class KindFacts:
    """One kind. `ledger`: each of its effects shows in `penstock.effects`. `urgent`: its jobs must not be late."""

    queue: Queue
    ledger: bool
    urgent: bool = False


def known_kinds(actors: str) -> Mapping[str, KindFacts]:
    """Every kind of this release and of the packages that `actors` (the setting `PENSTOCK_ACTORS`) names.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where a package can't be imported.
    """
    registrations = discover_all(actors)
    # Importing actors makes their payloads known; a kind without an actor here may have one in another release.
    return {
        kind: KindFacts(payload.queue, kind not in registrations or registrations[kind].ledger, payload.urgent)
        for kind, payload in job_kinds().items()
    }
