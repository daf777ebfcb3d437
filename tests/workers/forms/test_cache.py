"""The cache of forms: one query for many misses, nothing believed for too long, and no event lost."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from penstock.producers.storage.forms import StoredForm
from penstock.schemas.errors import Code, NotFoundError, UnavailableError
from penstock.workers.forms.cache import FormCache

TRUST = timedelta(seconds=600)


def stored(form_id: str, version: int, latest: int, tenant: str = "acme") -> StoredForm:
    definition = {"title": form_id, "questions": [{"id": f"q{version}", "text": "?", "type": "text"}]}
    key = abs(hash((tenant, form_id))) % 10**6
    return StoredForm(key, tenant, form_id, version, latest, json.dumps(definition), datetime(2026, 11, 21, tzinfo=UTC))


class Library:
    """Forms by tenant and id with their latest version; counts what is read."""

    def __init__(self) -> None:
        self.latest = {("acme", "f"): 1}
        self.loads: list[tuple[str, str, int | None]] = []
        self.before_answer: Callable[[], None] = lambda: None
        self.after_read: Callable[[], None] = lambda: None

    def __call__(self, tenant: str, form_id: str, version: int | None) -> StoredForm | None:
        self.loads.append((tenant, form_id, version))
        self.before_answer()
        latest = self.latest.get((tenant, form_id), 0)
        wanted = latest if version is None else version
        self.after_read()
        return stored(form_id, wanted, latest, tenant) if 1 <= wanted <= latest else None


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(library: Library, clock: Clock) -> FormCache:
    made = FormCache(library, versions=3, trust=TRUST, clock=clock)
    made.hears_events(True)
    return made


def test_a_hit_is_the_same_object_without_a_query(cache: FormCache, library: Library) -> None:
    first = cache.get("acme", "f")
    assert cache.get("acme", "f") is first
    assert cache.get("acme", "f", 1) is first
    assert library.loads == [("acme", "f", None)]
    assert (first.tenant, first.form_id, first.version) == ("acme", "f", 1)


def test_twenty_threads_that_miss_are_one_query(cache: FormCache, library: Library) -> None:
    together = threading.Barrier(20, timeout=60)
    all_asked = threading.Event()

    def ask(number: int) -> object:
        together.wait()
        if number == 0:
            all_asked.set()
        return cache.get("acme", "f")

    # The load lasts until every thread has been let go.
    library.before_answer = lambda: None if all_asked.wait(10) else pytest.fail("the threads never met")
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(ask, range(20)))
    assert len(library.loads) == 1
    assert len({id(version) for version in found}) == 1
    assert cache._flights == {}


def test_two_forms_do_not_wait_for_each_other(cache: FormCache, library: Library) -> None:
    library.latest["acme", "g"] = 1
    both_load = threading.Barrier(2, timeout=60)
    library.before_answer = lambda: (both_load.wait(), None)[1]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda form: cache.get("acme", form).form_id, ["f", "g"]))
    assert found == ["f", "g"]


@pytest.mark.parametrize(
    ("passed", "loads"), [pytest.param(599.9, 1, id="within"), pytest.param(600.0, 2, id="at its end")]
)
def test_which_version_is_the_latest_is_believed_for_a_while(
    cache: FormCache, library: Library, clock: Clock, passed: float, loads: int
) -> None:
    cache.get("acme", "f")
    library.latest["acme", "f"] = 2
    clock.now += passed
    assert cache.get("acme", "f").version == loads
    assert len(library.loads) == loads


@pytest.mark.parametrize(
    ("passed", "version"), [pytest.param(4.9, 1, id="within"), pytest.param(5.0, 2, id="at its end")]
)
def test_while_no_events_arrive_it_is_believed_for_seconds_only(
    cache: FormCache, library: Library, clock: Clock, passed: float, version: int
) -> None:
    cache.get("acme", "f")
    cache.hears_events(False)
    cache.get("acme", "f")
    library.latest["acme", "f"] = 2
    clock.now += passed
    assert cache.get("acme", "f").version == version


def test_a_named_version_is_kept_whatever_the_time(cache: FormCache, library: Library, clock: Clock) -> None:
    cache.get("acme", "f", 1)
    clock.now += 10 * TRUST.total_seconds()
    cache.get("acme", "f", 1)
    assert len(library.loads) == 1


def test_a_named_old_version_tells_which_is_the_latest(cache: FormCache, library: Library) -> None:
    library.latest["acme", "f"] = 3
    assert cache.get("acme", "f", 1).version == 1
    assert cache.get("acme", "f").version == 3
    assert cache.get("acme", "f", 1).version == 1
    assert library.loads == [("acme", "f", 1), ("acme", "f", None)]


def test_an_event_makes_the_cache_ask_again_for_that_form_alone(cache: FormCache, library: Library) -> None:
    library.latest["acme", "g"] = 1
    cache.get("acme", "f")
    cache.get("acme", "g")
    library.latest["acme", "f"] = 2
    cache.forget_latest("acme", "f")
    assert cache.get("acme", "f").version == 2
    assert cache.get("acme", "g").version == 1
    assert library.loads == [("acme", "f", None), ("acme", "g", None), ("acme", "f", None)]


def test_a_missed_event_is_covered_by_asking_for_all(cache: FormCache, library: Library) -> None:
    cache.get("acme", "f")
    library.latest["acme", "f"] = 2
    cache.forget_all_latest()
    assert cache.get("acme", "f").version == 2


@pytest.mark.parametrize("forget", ["one", "all"])
def test_an_event_during_a_load_is_not_lost(cache: FormCache, library: Library, forget: str) -> None:
    def new_version_comes() -> None:
        library.after_read = lambda: None
        library.latest["acme", "f"] = 2
        cache.forget_latest("acme", "f") if forget == "one" else cache.forget_all_latest()

    library.after_read = new_version_comes
    assert cache.get("acme", "f").version == 1  # what was read before the event
    assert cache.get("acme", "f").version == 2  # and is not believed after it


def test_the_least_recently_used_version_goes_first(cache: FormCache, library: Library) -> None:
    library.latest["acme", "f"] = 4
    for version in (1, 2, 3):
        cache.get("acme", "f", version)
    cache.get("acme", "f", 1)
    cache.get("acme", "f", 4)
    assert len(cache) == 3
    library.loads.clear()
    for version in (1, 3, 4):
        cache.get("acme", "f", version)
    assert library.loads == []
    cache.get("acme", "f", 2)
    assert library.loads == [("acme", "f", 2)]


def test_pointers_are_bounded_as_versions_are(cache: FormCache, library: Library) -> None:
    for number in range(50):
        library.latest["acme", f"form-{number}"] = 1
        cache.get("acme", f"form-{number}")
    assert len(cache) == 3
    assert len(cache._latest) == 3
    assert cache.get("acme", "form-0").form_id == "form-0"


def test_switched_off_it_reads_each_time(library: Library) -> None:
    cache = FormCache(library, versions=3, trust=TRUST, enabled=False)
    assert cache.get("acme", "f").version == 1
    library.latest["acme", "f"] = 2
    assert cache.get("acme", "f").version == 2
    assert (len(library.loads), len(cache)) == (2, 0)


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
@pytest.mark.parametrize(
    ("form", "version", "code"),
    [("nothing", None, Code.FORM_NOT_FOUND), ("f", 9, Code.FORM_VERSION_NOT_FOUND)],
    ids=["form", "version"],
)
def test_what_is_not_there_is_never_remembered(
    library: Library, enabled: bool, form: str, version: int | None, code: Code
) -> None:
    cache = FormCache(library, versions=3, trust=TRUST, enabled=enabled)
    for _ in range(2):
        with pytest.raises(NotFoundError) as caught:
            cache.get("acme", form, version)
        assert caught.value.code is code
    assert len(library.loads) == 2
    library.latest["acme", form] = 9
    assert cache.get("acme", form, version).version == 9


def test_a_failure_of_storage_is_one_query_and_is_not_remembered(cache: FormCache, library: Library) -> None:
    def fail() -> None:
        raise UnavailableError(Code.STORAGE_UNAVAILABLE, "away")

    library.before_answer = fail
    with pytest.raises(UnavailableError):
        cache.get("acme", "f")
    assert len(library.loads) == 1
    assert cache._flights == {}
    library.before_answer = lambda: None
    assert cache.get("acme", "f").version == 1
    assert len(library.loads) == 2


def test_a_definition_that_is_not_usable_is_not_remembered() -> None:
    broken = replace(stored("f", 1, 1), definition="{}")
    answers = [broken, stored("f", 1, 1)]
    cache = FormCache(lambda *_: answers.pop(0), versions=3, trust=TRUST)
    with pytest.raises(Exception, match="FORM_INVALID"):
        cache.get("acme", "f")
    assert cache.get("acme", "f").version == 1


def test_names_that_begin_alike_are_not_mixed_up(library: Library) -> None:
    names = [("form", "1"), ("form", "12"), ("form1", "2"), ("form-1", "2"), ("form", "1-2"), ("f", "orm1")]
    library.latest = {name: latest for latest, name in enumerate(names, start=1)}
    cache = FormCache(library, versions=50, trust=TRUST)
    for _ in range(2):
        found = {name: cache.get(*name) for name in names}
        assert {name: (form.tenant, form.form_id) for name, form in found.items()} == {name: name for name in names}
        assert {name: form.version for name, form in found.items()} == library.latest
    library.latest["form", "1"] = 9
    library.latest["form", "12"] = 9
    cache.forget_latest("form", "1")
    assert (cache.get("form", "1").version, cache.get("form", "12").version) == (9, 2)


def test_a_form_that_was_warmed_up_needs_no_query(cache: FormCache, library: Library) -> None:
    cache.put(stored("f", 1, 1))
    assert cache.get("acme", "f").version == 1
    assert library.loads == []
