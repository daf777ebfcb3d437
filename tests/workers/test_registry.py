"""Which actors a worker finds: Penstock's own and those of the packages that it is told."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.registry import discover_all

OWN_KINDS = {
    *("person_data.erase", "person_data.export", "scheduled_post.publish", "scheduled_post.schedule"),
    "submission_batch.write",
}

#: The payload is one in name alone: a real one would leave its kind behind for other tests.
ACTOR = """
from penstock.workers.registry import Registration


class Fruit:
    kind = {kind!r}


REGISTRATION = Registration(Fruit, lambda resources: None)
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("orchard"):
            del sys.modules[name]


def write(folder: Path, package: str, **modules: str) -> None:
    for name, text in {"__init__": "", **modules}.items():
        path = folder.joinpath(*package.split("."), f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("setting", ["", " , "], ids=["nothing", "only a comma"])
def test_penstocks_own_actors_are_always_found(setting: str) -> None:
    assert set(discover_all(setting)) == OWN_KINDS


def test_packages_of_ones_own_are_found_beside_them(packages: Path) -> None:
    write(packages, "orchard1", apples="from orchard1._shared import REGISTRATION", _shared=fruit("apple.pick"))
    write(packages, "orchard2.south", pears=fruit("pear.pick"))
    found = discover_all(" orchard1, orchard2.south,orchard1 ,")
    assert set(found) == {*OWN_KINDS, "apple.pick", "pear.pick"}


def test_two_actors_of_one_kind_are_refused(packages: Path) -> None:
    write(packages, "orchard1", apples=fruit("apple.pick"))
    write(packages, "orchard2", apples=fruit("apple.pick"))
    with pytest.raises(TypeError, match=r"two actors claim the kind 'apple\.pick'"):
        discover_all("orchard1,orchard2")


def test_a_module_that_declares_no_actor_is_refused(packages: Path) -> None:
    write(packages, "orchard1", apples="")
    with pytest.raises(TypeError, match=r"orchard1\.apples has no REGISTRATION"):
        discover_all("orchard1")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("orchard9", "can't be found"),
        ("orchard1.north", "can't be found"),
        ("orchard1.apples", "is a module"),
        ("orchard1..apples", "is not the name"),
        (".orchard1", "is not the name"),
    ],
    ids=["unknown", "unknown below a known one", "a module", "an empty part", "relative"],
)
def test_what_is_no_package_is_a_fault_of_the_settings(packages: Path, name: str, why: str) -> None:
    write(packages, "orchard1", apples=fruit("apple.pick"))
    with pytest.raises(InvalidInputError, match=why) as caught:
        discover_all(name)
    assert f"PENSTOCK_ACTORS: {name!r}" in caught.value.message
    assert caught.value.code is Code.CONFIG_INVALID


def test_what_a_package_itself_can_not_import_is_told_as_it_is(packages: Path) -> None:
    write(packages, "orchard1", apples="import cider_press")
    with pytest.raises(ModuleNotFoundError, match="cider_press"):
        discover_all("orchard1")


def fruit(kind: str) -> str:
    return ACTOR.format(kind=kind)
