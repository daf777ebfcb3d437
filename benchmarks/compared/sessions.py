"""A contender that runs: its producer, and its workers, warmed up."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from benchmarks.compared.contenders import Contender
from benchmarks.compared.processor import processor_seconds
from benchmarks.compared.servers import Servers, poll_until

_BATCHES = "SELECT count(*) FROM penstock.submission_batches WHERE base_batch_id = %s"
#: Nothing is lost by a kill: the next session begins with clean servers.
_STOP_SECONDS = 10


class Producer:
    """A process that enqueues what it is told (`benchmarks/compared/produce.py`)."""

    def __init__(self, contender: Contender, servers: Servers) -> None:
        command = [sys.executable, "-m", "benchmarks.compared.produce", contender.module, str(servers.rows_file)]
        self.process = subprocess.Popen(
            command, env=dict(servers.environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, do: str, **more: object) -> tuple[float, float]:
        """Have it done; from when and until when, by the monotonic clock."""
        commands, answers = cast("IO[str]", self.process.stdin), cast("IO[str]", self.process.stdout)
        commands.write(json.dumps({"do": do, **more}) + "\n")
        commands.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError("the producer has ended")
        told = json.loads(line)
        return told["began"], told["ended"]

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@dataclass(frozen=True)
class Session:
    """Runs jobs of one contender, and says what they took."""

    contender: Contender
    servers: Servers
    producer: Producer
    workers: list[int]

    def batches(self, base: str, rows: int, patience: float = 600) -> "Measured":
        """Store rows, in batches; each is there afterwards, once."""
        wanted = -(-rows // 1_000)
        measured = self._measure(
            lambda: self.producer.tell(self.contender.batches_as, base=base, rows=rows),
            lambda: self.servers.count(_BATCHES, base),
            wanted,
            patience,
        )
        stored = self.servers.count(
            "SELECT count(*) FROM penstock.submissions WHERE batch_id BETWEEN %s AND %s", f"{base}-", f"{base}-z"
        )
        if stored != rows:
            raise RuntimeError(f"{stored} of {rows} rows were stored: the measurement is void")
        return measured

    def effects(self, jobs: int, at_once: int, patience: float = 600) -> "Measured":
        """Run jobs of one insert; each has left its row afterwards."""
        before = self.servers.count("SELECT count(*) FROM bench_effects")
        return self._measure(
            lambda: self.producer.tell("send", name="tiny", jobs=jobs, at_once=at_once),
            lambda: self.servers.count("SELECT count(*) FROM bench_effects") - before,
            jobs,
            patience,
        )

    def noops(self, jobs: int, at_once: int, patience: float = 600) -> "Measured":
        """Run jobs that do nothing, until the last one has begun."""
        before = self.servers.board.ran()
        measured = self._measure(
            lambda: self.producer.tell("send", name="noop", jobs=jobs, at_once=at_once),
            lambda: self.servers.board.ran() - before,
            jobs,
            patience,
        )
        ran = self.servers.board.ran() - before
        if ran != jobs:
            raise RuntimeError(f"{ran} runs of {jobs} jobs: the measurement is void")
        return measured

    def pick_up(self, number: int, patience: float = 30) -> float:
        """Seconds from before the enqueue to the job's first line."""
        began, _ = self.producer.tell("note", number=number)
        while (started := self.servers.board.started_at(number)) is None:
            if time.monotonic() - began > patience:
                raise RuntimeError("a job did not start in time")
            time.sleep(0.002)
        return started - began

    def warm_up(self) -> None:
        """Let every worker process run jobs of each sort, on connections that are open then."""
        sent, began = 0, time.monotonic()
        while len(self.servers.board.ran_by_process()) < self.contender.processes or self.servers.board.ran() < sent:
            if time.monotonic() - began > 60:
                raise RuntimeError(f"{len(self.servers.board.ran_by_process())} worker processes ran jobs in 60 s")
            if self.servers.board.ran() >= sent:
                self.producer.tell("send", name="noop", jobs=20, at_once=0)
                sent += 20
            time.sleep(0.02)
        self.batches("warm-up", 4_000)
        self.effects(200, 0)

    def _measure(
        self, work: Callable[[], tuple[float, float]], count: Callable[[], int], wanted: int, patience: float
    ) -> "Measured":
        before = self.processor()
        began, enqueued = work()
        ended = poll_until(count, wanted, began, patience)
        after = self.processor()
        used = {name: (after[name] - before[name]) / wanted for name in after}
        return Measured(ended - began, enqueued - began, used)

    def processor(self) -> dict[str, float]:
        """Seconds of processor time that each side took up to now."""
        ids = {name: [process] for name, process in self.servers.processes.items()}
        ids |= {"workers": self.workers, "producer": [self.producer.process.pid]}
        return {name: processor_seconds(processes) for name, processes in ids.items()}


@dataclass(frozen=True, slots=True)
class Measured:
    """What jobs took.

    Attributes:
        seconds: from the first enqueue to the last commit.
        enqueue_seconds: from the first enqueue to the last.
        processor: seconds of processor time for each job (or batch), by who took them.
    """

    seconds: float
    enqueue_seconds: float
    processor: dict[str, float]


@contextmanager
def producing(contender: Contender, servers: Servers) -> Iterator[Producer]:
    """A producer alone."""
    _set_up(contender, servers)
    producer = Producer(contender, servers)
    try:
        yield producer
    finally:
        producer.close()


@contextmanager
def running(
    contender: Contender, servers: Servers, *, environment: dict[str, str] | None = None, warm: bool = True
) -> Iterator[Session]:
    """A contender with its workers, on clean servers."""
    servers.clean()
    with ExitStack() as stack:
        log = servers.folder / f"{contender.name}.log"
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(_stop, processes)
        producer = stack.enter_context(producing(contender, servers))
        stream = stack.enter_context(log.open("wb"))
        given = dict(servers.environment) | (environment or {})
        processes += [
            subprocess.Popen(_program(command), env=given, stdout=stream, stderr=stream, cwd=servers.folder)
            for command in contender.commands
        ]
        session = Session(contender, servers, producer, [process.pid for process in processes])
        try:
            if warm:
                session.warm_up()
            yield session
        except RuntimeError as error:
            raise RuntimeError(f"{contender.label}: {error}\n{log.read_text(errors='replace')[-4_000:]}") from error


def _set_up(contender: Contender, servers: Servers) -> None:
    if contender.setup and not servers.has_table("procrastinate_jobs"):
        subprocess.run(_program(contender.setup), env=dict(servers.environment), check=True, cwd=servers.folder)


def _program(command: tuple[str, ...]) -> list[str]:
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
