"""The parts of the comparison. Within a part everybody takes a turn in each round, in an order that rotates."""

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from benchmarks.compared.contenders import DRAMATIQ, DRAMATIQ_4, PENSTOCK, USUAL, Contender
from benchmarks.compared.copying import Copying
from benchmarks.compared.results import Results
from benchmarks.compared.servers import Servers
from benchmarks.compared.sessions import Session, producing, running
from benchmarks.gateway import Bench as GatewayBench
from benchmarks.serving import gateway_process

BATCH_ROWS = 1_000
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each."""

    rounds: int = 5
    batches: int = 200
    tiny: int = 20_000
    noops: int = 20_000
    enqueued: int = 5_000
    picked_up: int = 15

    def as_dict(self) -> dict[str, int]:
        """For the results' file."""
        return asdict(self)


def tell(text: str) -> None:
    """Progress, beside the figures."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stderr.flush()


class Comparison:
    """Measures parts and keeps the figures."""

    def __init__(self, servers: Servers, contenders: Sequence[Contender], sizes: Sizes, results: Results) -> None:
        self._servers = servers
        self._contenders = contenders
        self._sizes = sizes
        self._results = results

    def parts(self) -> dict[str, Callable[[], None]]:
        """By name."""
        return {
            "a": self.batches,
            "b": self.tiny,
            "c": self.noops,
            "d": self.enqueueing,
            "e": self.pick_up,
            "f": self.gateway,
            "bytes": self.bytes_in_redis,
        }

    def _turns(self, turns: Sequence[tuple[str, Callable[[], None]]]) -> None:
        for number in range(self._sizes.rounds):
            for place in range(len(turns)):
                name, turn = turns[(place + number) % len(turns)]
                tell(f"  round {number + 1} of {self._sizes.rounds}: {name}")
                turn()

    def _sessions(self, contenders: Sequence[Contender], turn: Callable[[Session], None]) -> None:
        def run(contender: Contender) -> None:
            with running(contender, self._servers) as session:
                turn(session)

        self._turns([(one.label, lambda one=one: run(one)) for one in contenders])  # type: ignore[misc]  # bound now

    def _count(self, whole: int, contender: Contender) -> int:
        return max(1, int(whole * contender.share))

    def batches(self) -> None:
        """(a) Batches of a thousand rows, from the first enqueue to the last commit."""
        self._results.begin("a", "rows/s")
        copying = Copying(self._servers, self._servers.rows[: self._sizes.batches * BATCH_ROWS])
        copying.measure("text", 1)  # warms up

        def copy(name: str, form: str, connections: int) -> Callable[[], None]:
            return lambda: self._results.add("a", name, copying.measure(form, connections))

        def run(contender: Contender) -> Callable[[], None]:
            def turn() -> None:
                rows = self._count(self._sizes.batches, contender) * BATCH_ROWS
                with running(contender, self._servers) as session:
                    measured = session.batches("a", rows)
                self._results.add("a", contender.name, rows / measured.seconds, measured.processor)

            return turn

        forms = [("copy_text", "text", 1), ("copy_binary", "binary", 1)]
        forms += [("copy_text_2", "text", 2), ("copy_binary_2", "binary", 2)]
        contenders = [*self._contenders, USUAL]
        self._turns([(name, copy(name, form, connections)) for name, form, connections in forms]
                    + [(one.label, run(one)) for one in contenders])  # fmt: skip

    def tiny(self) -> None:
        """(b) Jobs of one insert, from the first enqueue to the last commit: enqueued singly, and in bulk."""
        self._results.begin("b", "jobs/s")

        def turn(session: Session) -> None:
            own = session.contender
            jobs = self._count(self._sizes.tiny, own)
            for at_once in (0, AT_ONCE) if own.bulk else (0,):
                measured = session.effects(jobs, at_once)
                name = f"{own.name}_bulk" if at_once else own.name
                self._results.add("b", name, jobs / measured.seconds, measured.processor)

        self._sessions([*self._contenders, DRAMATIQ_4], turn)

    def noops(self) -> None:
        """(c) Jobs that do nothing, from the first enqueue to the last one's run."""
        self._results.begin("c", "jobs/s")

        def turn(session: Session) -> None:
            own = session.contender
            jobs = self._count(self._sizes.noops, own)
            for at_once in (0, AT_ONCE) if own.bulk else (0,):
                measured = session.noops(jobs, at_once)
                name = f"{own.name}_bulk" if at_once else own.name
                self._results.add("c", name, jobs / measured.seconds, measured.processor)

        self._sessions(self._contenders, turn)

    def enqueueing(self) -> None:
        """(d) Enqueueing alone: no worker runs."""
        self._results.begin("d", "jobs/s")

        def run(contender: Contender) -> Callable[[], None]:
            def turn() -> None:
                jobs = self._count(self._sizes.enqueued, contender)
                self._servers.clean()
                with producing(contender, self._servers) as producer:
                    producer.tell("send", name="tiny", jobs=100, at_once=0)
                    for at_once in (0, AT_ONCE) if contender.bulk else (0,):
                        began, ended = producer.tell("send", name="tiny", jobs=jobs, at_once=at_once)
                        name = f"{contender.name}_bulk" if at_once else contender.name
                        self._results.add("d", name, jobs / (ended - began))

            return turn

        self._turns([(one.label, run(one)) for one in self._contenders])

    def pick_up(self) -> None:
        """(e) Milliseconds from before the enqueue to the job's first line, on an idle queue."""
        self._results.begin("e", "ms")
        draw = random.Random(9)  # noqa: S311  pauses, no secrets

        def turn(session: Session) -> None:
            session.pick_up(0)
            for number in range(1, self._sizes.picked_up + 1):
                # Idle for a while, and not in step with whoever looks at regular times.
                time.sleep(draw.uniform(0.05, 0.15))
                self._results.add("e", session.contender.name, session.pick_up(number) * 1_000)

        self._sessions(self._contenders, turn)

    def gateway(self) -> None:
        """(f) One request of NDJSON, from its first byte to the last commit, and (a) in the same round."""
        self._results.begin("f", "rows/s")
        rows = self._servers.rows[: self._sizes.batches * BATCH_ROWS]
        with running(PENSTOCK, self._servers) as session, gateway_process(self._servers.environment) as gateway:
            bench = GatewayBench(gateway, self._servers.admin_url)
            bench.stream(rows[: 4 * BATCH_ROWS], "stream-warm-up")
            for number in range(self._sizes.rounds):
                tell(f"  round {number + 1} of {self._sizes.rounds}: gateway")
                self._servers.admin.execute("TRUNCATE penstock.submissions")
                self._servers.admin.execute("CHECKPOINT")
                measured = session.batches(f"a-{number}", len(rows))
                self._results.add("f", "penstock", len(rows) / measured.seconds)
                self._servers.admin.execute("CHECKPOINT")
                streamed = bench.stream(rows, f"stream-{number}")
                self._results.add("f", "gateway", streamed.rows / streamed.committed_seconds)

    def bytes_in_redis(self) -> None:
        """Bytes of Redis's memory for each row that waits. `usual` is JSON of Python's own objects in dramatiq."""
        self._results.begin("bytes", "bytes/row")
        rows = min(50, self._sizes.batches) * BATCH_ROWS
        for contender in (*self._contenders, USUAL):
            if contender.setup:
                continue  # its queue is no part of Redis
            self._servers.clean()
            with producing(contender, self._servers) as producer:
                producer.tell(contender.batches_as, base="bytes", rows=rows)
                self._results.add("bytes", contender.name, self._servers.bytes_of_keys() / rows)


#: What a short run compares.
SHORT = (PENSTOCK, DRAMATIQ)
