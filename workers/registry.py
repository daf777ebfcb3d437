"""Which actor runs which job kind.

Actors are found, not listed: each is a module of `penstock.workers.actors` or of a package that `PENSTOCK_ACTORS`
names.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import Payload
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.forms.cache import FormCache
from penstock.workers.job import Job, Outcome
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.flags import Flags
from penstock.workers.protection.gates import JobGates
from penstock.workers.protection.limits import RateLimits
from penstock.workers.settings import WorkerSettings

#: By name, since actors import this module.
_OWN_ACTORS = "penstock.workers.actors"

#: Job logic: leased jobs of one kind and the transaction that they share, in; one outcome per job, in order, out.
Actor = Callable[[Sequence[Job], Transaction], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Policy:
    """How jobs of a kind are run, and how their failures are treated.

    Attributes:
        max_retries: attempts after the first one.
        backoff_base, backoff_cap: the wait before the n-th retry is drawn from 0 to base * 2**(n-1), at most the cap.
        time_limit: the longest run of one delivery; keep the statements' limits below it.
        group_limit: jobs that one delivery may hold, in one transaction; 1 for an actor that takes them singly.
        patience: how long a job may be told "not now" by its actor until it is a dead letter.
    """

    max_retries: int = 3
    backoff_base: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=30)
    time_limit: timedelta = timedelta(seconds=60)
    group_limit: int = 1
    patience: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Resources:
    """What an actor may be built with.

    Attributes:
        transactions: for an actor that commits more than once, since it talks to somebody between its steps.
        circuits, limits: for one that calls another service.
        worker, release: name this process and what it runs, for records.
    """

    settings: WorkerSettings
    forms: FormCache
    partitions: Partitions
    flags: Flags
    transactions: Transactions
    circuits: Circuits
    limits: RateLimits
    worker: str
    release: str


@dataclass(frozen=True, slots=True)
class Registration:
    """An actor's declaration: the module's `REGISTRATION`.

    `ledger` says that each job's effect shows in `penstock.effects`, as `claim_effect` and the ledger of batches see
    to. False for a kind whose proof stands elsewhere: whoever asks for its effect has to believe Redis.

    `gates` names what a job has to pass before it runs, beside the gates of its kind and its tenant that every job has:
    accounts and platforms that may be paused, circuits, limits. It is asked before each run, so it has to be quick.

    `needs_storage` says that no job of the kind can run while PostgreSQL is away. A queue all of whose kinds need it is
    not served in that time.
    """

    payload: type[Payload]
    build: Callable[[Resources], Actor]
    policy: Policy = field(default_factory=Policy)
    ledger: bool = True
    needs_storage: bool = True
    gates: Callable[[Job], JobGates] | None = None


def discover(*packages: ModuleType) -> Mapping[str, Registration]:
    """The registrations of every module of `packages`, by job kind.

    A module whose name begins with an underscore is none of an actor: it may hold what actors share.

    Raises:
        TypeError: where a module has no `REGISTRATION`, or two claim one kind.
    """
    found: dict[str, Registration] = {}
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.startswith("_"):
                continue
            registration = _registration_of(f"{package.__name__}.{module.name}")
            kind = registration.payload.kind
            if kind in found:
                raise TypeError(f"two actors claim the kind {kind!r}")
            found[kind] = registration
    return found


def discover_all(setting: str) -> Mapping[str, Registration]:
    """The registrations of Penstock's own actors and of the packages that `PENSTOCK_ACTORS` names.

    Args:
        setting: importable packages, parted by commas; white space around a name is no part of it.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where a name is no package that can be imported.
        TypeError: as `discover`.
    """
    names = [name.strip() for name in setting.split(",")]
    # A package that is named twice is one package.
    return discover(*(_package(name) for name in dict.fromkeys([_OWN_ACTORS, *filter(None, names)])))


def _registration_of(module: str) -> Registration:
    registration = getattr(importlib.import_module(module), "REGISTRATION", None)
    if not isinstance(registration, Registration):
        raise TypeError(f"{module} has no REGISTRATION")
    return registration


def _package(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise _not_usable(name, "is not the name of a package")
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # What the package itself fails to import is its own fault, and its traceback says where.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise _not_usable(name, "can't be found: is it installed here, or on PYTHONPATH?") from None
    if not hasattr(package, "__path__"):
        raise _not_usable(name, "is a module, and not a package of them")
    return package


def _not_usable(name: str, why: str) -> InvalidInputError:
    return InvalidInputError(Code.CONFIG_INVALID, f"PENSTOCK_ACTORS: {name!r} {why}")
