"""From one release to the next and back, under load: as docs/upgrading.md says, with every row and job counted.

The next release is a copy of this one with a later payload version of two kinds, a kind that only it has, and one more
migration (`rolling_tree`). Both run as real processes on one database and one Redis.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.rolling_system import FULL, RollingSystem, Running, Situation
from tests.end_to_end.rolling_tree import NEXT, NOW
from tests.end_to_end.runbook_page import Step, read_steps
from tests.system import Database, wait_for

PAGE = Path(__file__).parents[2] / "docs" / "upgrading.md"
STEPS = read_steps(PAGE.read_text())
#: Rows that have to be stored before the next step is taken, so that each is taken under load.
LOAD = 2_000 if FULL else 50
WORKERS = 3 if FULL else 1
#: By the client, in a transaction, and by SQL.
STARS_A_ROUND = 3
#: What tells that a process and the schema, or a payload and its actor, do not fit.
UNFIT = {
    *("STORAGE_SCHEMA_OUTDATED", "STORAGE_REFUSED", "STORAGE_PERMISSION_DENIED", "STORAGE_MIGRATION_INCOMPLETE"),
    *("JOB_PAYLOAD_INVALID", "JOB_CONFLICT", "BATCH_CONFLICT", "INTERNAL_ERROR", "Traceback"),
}


@pytest.fixture(scope="module")
def system(
    environment: dict[str, str], database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RollingSystem]:
    with RollingSystem(environment, database, tmp_path_factory.mktemp("rolling")) as made:
        yield made


def living(system: RollingSystem, release: str, process_type: str = "") -> list[Running]:
    return [one for one in system.started[release] if one.process.poll() is None and one.name.startswith(process_type)]


def the_release_before_runs(system: RollingSystem) -> None:
    """All of it, under load; and of the next one came too early: a worker, a sidecar, and a service that sends."""
    started = [system.start(NOW, kind) for kind in ("scheduler", "sidecar", *["worker"] * WORKERS)]
    early = [system.start(NEXT, kind) for kind in ("worker", "sidecar")]
    for one in started:
        one.wait_until_told("is ready")
    system.services[NOW].run()
    system.services[NEXT].send(2)
    # A newer payload of a user's kind and of Penstock's own, and a kind that nobody here has.
    system.wait_until_parked("note.write", f"{NEXT}-1-client-0", "kind:note.write:v2")
    system.wait_until_parked("submission_batch.write", f"{NEXT}-1-0001", "kind:submission_batch.write:v2")
    system.wait_until_parked("star.give", f"{NEXT}-1-client-star", "kind:star.give")
    early[0].wait_until_told("waiting for `penstock migrate up`")
    early[1].wait_until_told("the sidecar is ready")
    wait_for(lambda: system.readiness(NOW) == 200, "this release's pods to be ready")
    assert system.readiness(NEXT) == 503
    system.wait_for_load(LOAD)


def the_schema_is_migrated(system: RollingSystem) -> None:
    """Nothing to bring about: the page's commands do it."""
    assert not any(one.told("the worker is ready") for one in system.started[NEXT])


def the_processes_are_replaced(system: RollingSystem) -> None:
    """Schedulers, workers, sidecars, producers: new ones first, old ones drained one by one."""
    early = living(system, NEXT, "worker")[0]
    early.wait_until_told("the worker is ready")
    wait_for(lambda: system.readiness(NEXT) == 200, "the next release's pods to be ready")
    wait_for(lambda: system.readiness(NOW) == 200, "this release's pods to be at home in the newer schema")
    system.services[NEXT].run()
    # Both releases at work for a while.
    system.wait_for_load(LOAD)
    system.start_all(NEXT, "scheduler", *["worker"] * (WORKERS - 1))
    for kind in ("scheduler", "worker", "sidecar"):
        for old in living(system, NOW, kind):
            assert old.drain() == 0, old.lines[-5:]
            system.wait_for_load(LOAD)


def both_have_sent_enough(system: RollingSystem) -> None:
    """The producers are the last. What they sent is done, by the next release alone."""
    for service in system.services.values():
        service.pause()
    system.wait_until_idle()
    assert_accounted(system)
    assert stars(system) == system.accepted("star.give")


def the_next_release_is_rolled_back(system: RollingSystem) -> None:
    """This release's processes are back; the next one's are drained; one of its services has not heard of it."""
    system.services[NOW].run()
    system.start_all(NOW, "worker", "scheduler")
    for kind in ("worker", "scheduler", "sidecar"):
        for new in living(system, NEXT, kind):
            assert new.drain() == 0, new.lines[-5:]
    before = system.services[NEXT].accepted["rows"] // 10
    system.services[NEXT].send(1)
    name = f"{NEXT}-{before + 1}-client-0"
    system.wait_until_parked("note.write", name, "kind:note.write:v2")
    system.names["ID"] = str(system.job("note.write", name))
    assert "nothing to do" in system.penstock_now("migrate", "up").out
    system.wait_for_load(LOAD)


#: What is brought about before the commands of a section.
SITUATIONS: dict[str, Situation] = {
    "Before": the_release_before_runs,
    "1. The schema": the_schema_is_migrated,
    "2. The processes": the_processes_are_replaced,
    "3. Meanwhile": both_have_sent_enough,
    "The way back": the_next_release_is_rolled_back,
}


@pytest.fixture(scope="module")
def faults(system: RollingSystem) -> list[str]:
    """All that the page says is done; what did not go as it says."""
    found, section = [], ""
    for step in STEPS:
        if step.section != section:
            section = step.section
            SITUATIONS[section](system)
        found += faults_of(step, system)
    return found


@pytest.fixture(scope="module")
def ended(system: RollingSystem, faults: list[str]) -> RollingSystem:
    """This release has gone on without the migration; then the next one is back, and everything has come to its end."""
    system.wait_for_load(LOAD)
    assert system.penstock("job", "show", system.names["ID"], "--json").json["state"] == "parked"
    assert system.penstock("migrate", "up").code == 0
    system.start_all(NEXT, "worker", "scheduler")
    system.services[NOW].pause()
    system.wait_until_idle()
    return system


def test_every_command_does_what_the_page_says(faults: list[str]) -> None:
    assert not faults, "\n\n".join(faults)


def test_the_situations_are_those_of_the_page() -> None:
    assert [*dict.fromkeys(step.section for step in STEPS)] == [*SITUATIONS]


def faults_of(step: Step, system: RollingSystem) -> list[str]:
    run = system.penstock(*step.arguments(system.names))
    printed = run.out + run.err
    missing = step.missing(printed, system.names)
    if run.code == step.exit_code and not missing:
        return []
    told = f"{PAGE.name}:{step.number} ({step.section}): {step.command}\nexit code {run.code}"
    return ["\n".join([told, "not printed:", *missing, "but:", printed])]


def test_every_row_and_job_is_there_once_after_the_way_there_and_back_and_there(ended: RollingSystem) -> None:
    assert_accounted(ended)
    # Those of before went with their table; of those that waited through the roll-back none is missing.
    assert stars(ended) == STARS_A_ROUND


def test_no_process_of_this_release_met_what_it_could_not_live_with(ended: RollingSystem) -> None:
    met = {one.name: one.codes() & UNFIT for one in ended.started[NOW]}
    assert not any(met.values()), met


def test_the_next_release_only_waited_for_its_schema(ended: RollingSystem) -> None:
    for one in ended.started[NEXT]:
        assert one.codes() & UNFIT <= {"STORAGE_SCHEMA_OUTDATED"}, one.lines
        ready = [place for place, line in enumerate(one.lines) if "is ready" in line]
        waited = [place for place, line in enumerate(one.lines) if "STORAGE_SCHEMA_OUTDATED" in line]
        assert not ready or not waited or max(waited) < min(ready)


def test_workers_of_both_releases_had_a_part_in_it(ended: RollingSystem) -> None:
    for release in (NOW, NEXT):
        workers = [one for one in ended.started[release] if one.name.startswith("worker")]
        assert len(workers) >= 2
        assert any(one.told("the job is done") for one in workers)


def assert_accounted(system: RollingSystem) -> None:
    """Every row and job that was accepted has its effect once, and none is dead."""
    value = system.database.value
    assert value("SELECT count(*) FROM penstock.submissions") == system.accepted("rows")
    assert value("SELECT count(DISTINCT submission_id) FROM penstock.submissions") == system.accepted("rows")
    assert value("SELECT count(*) FROM public.notes_written") == system.accepted("note.write")
    assert value("SELECT count(DISTINCT job_id) FROM public.notes_written") == system.accepted("note.write")
    assert value("SELECT count(*) FROM public.notes_written WHERE words <> ARRAY['one', 'two']") == 0
    assert value("SELECT count(*) FROM penstock.dead_letters") == 0
    assert value("SELECT count(*) FROM penstock.submission_rejections") == 0
    run = system.penstock("reconcile", "--json")
    assert run.code == 0, run.out + run.err


def stars(system: RollingSystem) -> int:
    found: int = system.database.value("SELECT count(*) FROM penstock.stars")
    assert found == system.database.value("SELECT count(DISTINCT job_id) FROM penstock.stars")
    return found
