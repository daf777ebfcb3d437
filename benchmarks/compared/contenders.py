"""Who takes part: how each system's workers are started, on two processes, as its documentation advises."""

from dataclasses import dataclass, replace

PEERS = "benchmarks.compared.peers"
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Contender:
    """A system in one configuration.

    Attributes:
        commands: one for each process that is started; some start their own two.
        bulk: has a call that enqueues several jobs.
        at_most_once: takes a job off its queue before it runs, so that a crash loses it.
        share: of the jobs that it is given, where it would take too long.
        batches_as: `dicts` where a batch's rows are Python's own objects, which the system encodes.
        setup: a command that makes the system's own tables.
        processes: in which jobs run.
    """

    name: str
    label: str
    module: str
    commands: tuple[tuple[str, ...], ...]
    bulk: bool = False
    at_most_once: bool = False
    share: float = 1.0
    batches_as: str = "submit"
    setup: tuple[str, ...] = ()
    processes: int = PROCESSES


def _dramatiq(name: str, label: str, threads: int, batches_as: str = "submit") -> Contender:
    command = ("dramatiq", "--processes", str(PROCESSES), "--threads", str(threads), f"{PEERS}.on_dramatiq")
    return Contender(name, label, f"{PEERS}.on_dramatiq", (command,), batches_as=batches_as)


PENSTOCK = Contender("penstock", "Penstock", f"{PEERS}.on_penstock", (("penstock", "worker"),) * PROCESSES, bulk=True)


def penstock_of(processes: int, *more: tuple[str, ...]) -> Contender:
    """Penstock with so many worker processes, and with what else is to run beside them."""
    return replace(PENSTOCK, commands=(("penstock", "worker"),) * processes + more, processes=processes)


DRAMATIQ = _dramatiq("dramatiq", "dramatiq, 8 threads", 8)
DRAMATIQ_4 = _dramatiq("dramatiq_4", "dramatiq, 4 threads", 4)
USUAL = _dramatiq("usual", "dramatiq as usual (create_model, executemany)", 8, "dicts")

_CELERY = ("celery", "-A", f"{PEERS}.on_celery", "worker", "--pool", "prefork", "--concurrency", str(PROCESSES))
_RQ = ("rq", "worker", "--quiet", "--worker-class", "rq.worker.SimpleWorker", "bench")
_HUEY = ("huey_consumer", f"{PEERS}.on_huey.huey", "-w", "4", "-k", "thread", "-q")
_PROCRASTINATE = ("procrastinate", "--app", f"{PEERS}.on_procrastinate.app")

CELERY = Contender(
    "celery",
    "Celery",
    f"{PEERS}.on_celery",
    ((*_CELERY, "--loglevel", "warning", "--without-gossip", "--without-mingle"),),
)
OTHERS = (
    CELERY,
    Contender("rq", "RQ", f"{PEERS}.on_rq", (_RQ,) * PROCESSES, bulk=True),
    Contender("arq", "arq", f"{PEERS}.on_arq", (("arq", f"{PEERS}.on_arq.WorkerSettings"),) * PROCESSES),
    Contender("saq", "SAQ", f"{PEERS}.on_saq", (("saq", "--quiet", f"{PEERS}.on_saq.settings"),) * PROCESSES),
    Contender(
        "taskiq",
        "taskiq",
        f"{PEERS}.on_taskiq",
        (("taskiq", "worker", "--workers", str(PROCESSES), "--log-level", "WARNING", f"{PEERS}.on_taskiq:broker"),),
    ),
    Contender("huey", "huey (at most once)", f"{PEERS}.on_huey", (_HUEY,) * PROCESSES, at_most_once=True),
    Contender(
        "procrastinate",
        "procrastinate",
        f"{PEERS}.on_procrastinate",
        ((*_PROCRASTINATE, "worker", "--concurrency", "4"),) * PROCESSES,
        bulk=True,
        share=0.1,
        setup=(*_PROCRASTINATE, "schema", "--apply"),
    ),
)
ALL = (PENSTOCK, DRAMATIQ, *OTHERS)
