"""Which actor runs which job kind. Actors are found, not listed: each is a module of `penstock.workers.actors`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType

from penstock.schemas.job import Payload
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.transaction import Transaction
from penstock.workers.forms.cache import FormCache
from penstock.workers.job import Job, Outcome
from penstock.workers.settings import WorkerSettings

#: Job logic: leased jobs of one kind and the transaction that they share, in; one outcome per job, in order, out.
Actor = Callable[[Sequence[Job], Transaction], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Policy:
    """How failures of a kind are treated."""

    max_retries: int = 3
    backoff_base: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Resources:
    """What an actor may be built with."""

    settings: WorkerSettings
    forms: FormCache
    partitions: Partitions


@dataclass(frozen=True, slots=True)
class Registration:
    """An actor's declaration: the module's `REGISTRATION`."""

    payload: type[Payload]
    build: Callable[[Resources], Actor]
    policy: Policy = field(default_factory=Policy)


def discover(package: ModuleType) -> Mapping[str, Registration]:
    """The registrations of every module of `package`, by job kind.

    Raises:
        TypeError: where a module has no `REGISTRATION`, or two claim one kind.
    """
    found: dict[str, Registration] = {}
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        registration = getattr(loaded, "REGISTRATION", None)
        if not isinstance(registration, Registration):
            raise TypeError(f"{loaded.__name__} has no REGISTRATION")
        kind = registration.payload.kind
        if kind in found:
            raise TypeError(f"two actors claim the kind {kind!r}")
        found[kind] = registration
    return found
