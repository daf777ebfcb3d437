import sys
from pathlib import Path

import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.embedded.procfile import DEFAULT_PROCFILE, ProcessType, parse_procfile, resolve


def test_the_default_says_what_the_repositorys_file_says() -> None:
    assert (Path(__file__).parents[3] / "Procfile").read_text() == DEFAULT_PROCFILE


def test_names_and_commands_are_read_and_release_is_no_process() -> None:
    text = "# processes\n\nrelease: penstock migrate up\nworker: penstock worker  # jobs\r\n  web-1 :python -c 'a b'\n"
    assert parse_procfile(text) == (
        ProcessType("worker", ("penstock", "worker")),
        ProcessType("web-1", ("python", "-c", "a b")),
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("worker: a\nworker: b\n", "line 2.*'worker' is there twice"),
        ("worker\n", "line 1.*`name: command`"),
        ("worker:\n", "line 1.*`name: command`"),
        ("wor ker: a\n", "line 1.*`name: command`"),
        ("worker: 'a\n", "line 1.*No closing quotation"),
        ("worker: # nothing\n", "line 1.*no command"),
        ("release: a\n", "names no process"),
        ("", "names no process"),
    ],
    ids=["twice", "no colon", "no command", "bad name", "open quote", "comment alone", "release alone", "empty"],
)
def test_what_is_wrong_is_told_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(PenstockError, match=fault) as refusal:
        parse_procfile(text)
    assert refusal.value.code is Code.CONFIG_INVALID


def test_penstock_is_the_one_beside_this_interpreter() -> None:
    assert resolve(("penstock", "worker")) == [str(Path(sys.executable).parent / "penstock"), "worker"]
    assert resolve(("env", "penstock")) == ["env", "penstock"]
