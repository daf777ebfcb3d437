"""Prometheus and Alertmanager watch a real system that is broken again and again: each alert fires and clears."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.deploy.monitoring.faults import ALONE, BESIDE, Fault
from tests.deploy.monitoring.watched_system import WatchedSystem
from tests.deploy.monitoring.watching import Prometheus, Receiver, alertmanager, prometheus, receiving
from tests.recovery.servers import full, measured
from tests.system import wait_for

#: The longest that an alert may take to fire or to clear; some wait for half a minute that no configuration shortens.
PATIENCE_SECONDS = 120.0
#: In the full run a fault comes each minute.
EACH_SECONDS = 60.0
FAULTS = ALONE if full() else ALONE[:3]


class Watch:
    """A system, and those who watch it."""

    def __init__(self, system: WatchedSystem, watcher: Prometheus, receiver: Receiver) -> None:
        self.system = system
        self.watcher = watcher
        self.receiver = receiver

    def has_fired(self, fault: Fault, started: float) -> bool:
        """Also where it has cleared since, as one on growth does when nothing grows any more."""
        span = int(time.monotonic() - started) + 1
        fires = f'ALERTS{{alertname="{fault.alert}", alertstate="firing"}}'
        return bool(self.watcher.query(f"count_over_time({fires}[{span}s])"))

    def has_cleared(self, faults: Sequence[Fault]) -> bool:
        return not {fault.alert for fault in faults} & set(self.watcher.firing())

    def see(self, *faults: Fault) -> str:
        """Have faults begin and end, and see that their alerts fire, clear and are told; a line for the report."""
        try:
            return self._see(faults)
        except AssertionError as error:
            error.add_note(self.system.last_words())
            raise

    def _see(self, faults: Sequence[Fault]) -> str:
        assert self.has_cleared(faults)
        started = time.monotonic()
        for fault in faults:
            fault.begin(self.system)
        try:
            took = {}
            for fault in faults:
                wait_for(lambda fault=fault: self.has_fired(fault, started), f"{fault.alert} to fire", PATIENCE_SECONDS)
                took[fault.alert] = measured(started)
            fired = sorted(self.watcher.firing())
            self._assert_told_well()
            wait_for(lambda: self._told(faults, "firing", started), "the webhook to be told", PATIENCE_SECONDS)
            told = measured(started)
            mended_from = time.monotonic()
        finally:
            for fault in faults:
                fault.end(self.system)
        ended = time.monotonic()
        wait_for(lambda: self.has_cleared(faults), f"{faults[-1].alert} to clear", PATIENCE_SECONDS)
        cleared = measured(ended)
        wait_for(
            lambda: self._told(faults, "resolved", mended_from), "the webhook to be told of the end", PATIENCE_SECONDS
        )
        names = ", ".join(fault.name for fault in faults)
        others = ", ".join(name for name in fired if name not in took) or "none"
        fires = ", ".join(f"{alert} after {seconds} s" for alert, seconds in took.items())
        return f"{names}: {fires}; told after {told} s, cleared {cleared} s after the end; others that fired: {others}"

    def _told(self, faults: Sequence[Fault], status: str, since: float) -> bool:
        return all(self.receiver.told(fault.alert, status, since) for fault in faults)

    def _assert_told_well(self) -> None:
        """Prometheus writes a template's fault into the text."""
        alerts = [alert for found in self.watcher.firing().values() for alert in found]
        texts = [text for alert in alerts for text in alert["annotations"].values()]
        assert not [text for text in texts if "error" in text or "{{" in text or "<no value>" in text]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        manager = stack.enter_context(alertmanager(folder / "alertmanager", receiver))
        system = stack.enter_context(WatchedSystem(folder))
        watcher = stack.enter_context(prometheus(folder / "prometheus", {"penstock": [system.sidecar]}, manager))
        wait_for(watcher.scraped, "a scrape")
        with system.load():
            system.wait_until_enqueued()
            yield Watch(system, watcher, receiver)


def test_alerts_fire_and_clear_with_the_faults_of_a_real_system(watch: Watch) -> None:
    for fault in FAULTS:
        started = time.monotonic()
        print(watch.see(fault))
        if full():
            wait_for(lambda began=started: time.monotonic() > began + EACH_SECONDS, "the next minute", EACH_SECONDS)


def test_what_is_wrong_at_once_is_told_at_once(watch: Watch) -> None:
    report = watch.see(*BESIDE)
    print(report)
    # The letters were archived, and wait for somebody.
    assert "PenstockDeadLettersNotArchived" not in report
