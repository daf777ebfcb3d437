"""Memory, processor time and open files of a process, as its metrics tell them."""

import gc
import os
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from penstock.workers.telemetry import allowance, process
from penstock.workers.telemetry.process import measure_process

LABELS = {"process": "worker"}


def value(registry: CollectorRegistry, name: str) -> float:
    found = registry.get_sample_value(f"penstock_process_{name}", LABELS)
    assert found is not None, name
    return found


def test_what_a_process_holds_is_told_within_the_block_alone() -> None:
    registry = CollectorRegistry()
    with measure_process("worker", registry):
        assert 1_000_000 < value(registry, "resident_memory_bytes") < 10**11
        assert value(registry, "cpu_seconds_total") > 0
        assert value(registry, "started_timestamp_seconds") > 1_700_000_000
    assert registry.get_sample_value("penstock_process_open_fds", LABELS) is None


def test_open_files_are_counted_and_the_count_holds_none_open() -> None:
    registry = CollectorRegistry()
    with measure_process("worker", registry), ExitStack() as stack:
        before = value(registry, "open_fds")
        for _ in range(3):
            stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        assert value(registry, "open_fds") == before + 3
        # The count itself leaves nothing open for the collector of garbage to find.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(10):
                assert value(registry, "open_fds") == before + 3
            gc.collect()


def test_without_proc_no_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_DESCRIPTORS", Path("/nowhere/fd"))
    registry = CollectorRegistry()
    with measure_process("worker", registry):
        assert value(registry, "open_fds") == 0


def test_without_proc_memory_is_the_most_that_it_ever_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_STATM", Path("/nowhere/statm"))
    registry = CollectorRegistry()
    with measure_process("worker", registry):
        assert value(registry, "resident_memory_bytes") > 1_000_000


def test_what_a_process_may_take_is_the_least_that_its_groups_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = tmp_path / "groups" / "pod" / "worker"
    inner.mkdir(parents=True)
    own = tmp_path / "cgroup"
    own.write_text("0::/pod/worker\n")
    monkeypatch.setattr(allowance, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(allowance, "_OWN_GROUP", own)
    for folder, memory, cpu in ((inner, "max", "max 100000"), (inner.parent, "536870912", "50000 100000")):
        (folder / "memory.max").write_text(f"{memory}\n")
        (folder / "cpu.max").write_text(f"{cpu}\n")
    registry = CollectorRegistry()
    with measure_process("worker", registry):
        assert value(registry, "memory_limit_bytes") == 512 * 2**20
        assert value(registry, "cpu_limit_cores") == 0.5


def test_without_groups_a_process_may_take_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_OWN_GROUP", Path("/nowhere/cgroup"))
    registry = CollectorRegistry()
    with measure_process("worker", registry):
        assert value(registry, "memory_limit_bytes") > 2**28
        assert value(registry, "cpu_limit_cores") == os.cpu_count()
