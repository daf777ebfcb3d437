"""How the steps of the gates are put together from libraries."""

import re
from collections import Counter
from importlib import resources

import pytest

from penstock.producers.queue.scripts import script
from penstock.workers.protection.keys import GATE_STEPS

FOLDER = resources.files(GATE_STEPS) / "lua"
SOURCES = {file.name.removesuffix(".lua"): file.read_text() for file in FOLDER.iterdir() if file.name.endswith(".lua")}
_USES = re.compile(r"^-- uses: (.+)$", re.MULTILINE)
USED = {
    name: [library.strip() for library in found[1].split(",")]
    for name, text in SOURCES.items()
    if (found := _USES.search(text))
}
LIBRARIES = sorted({library for libraries in USED.values() for library in libraries})
STEPS = sorted(SOURCES.keys() - {"prelude", *LIBRARIES})


@pytest.mark.parametrize("step", STEPS)
def test_a_step_begins_with_what_it_uses(step: str) -> None:
    source = script(step, GATE_STEPS).source
    parts = [SOURCES["prelude"], *(SOURCES[library] for library in USED.get(step, [])), SOURCES[step]]
    assert source.splitlines()[0].startswith("#!lua")
    assert source.partition("\n")[2] == "\n".join(parts)


def test_a_library_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        script("no-such-step", GATE_STEPS)


def test_libraries_can_be_used_together() -> None:
    """One step may name them all: none defines what another one, or the prelude, defines."""
    assert "limits" in LIBRARIES
    names = Counter(
        name
        for library in ("prelude", *LIBRARIES)
        for name in re.findall(r"^local (?:function )?(\w+)", SOURCES[library], re.MULTILINE)
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("step", STEPS)
def test_gates_work_while_memory_is_short(step: str) -> None:
    """What is queued is worked off then, and its gates are asked for that."""
    first = script(step, GATE_STEPS).source.splitlines()[0]
    assert "allow-oom" in first or "no-writes" in first
