"""The walk with curl is typed line by line into a shell, against what `make run` starts."""

from pathlib import Path

import pytest

from tests.debian import require_program
from tests.end_to_end.demo_system import DemoSystem, demo_system
from tests.end_to_end.walkthrough_page import PAGE, Line, Shell, read_lines

__all__ = ["demo_system"]


def test_each_command_prints_what_the_page_says(demo_system: DemoSystem, tmp_path: Path) -> None:
    require_program("curl", "curl")
    with Shell(tmp_path) as shell:
        for line in read_lines(PAGE.read_text(encoding="utf-8")):
            command = line.command.replace("http://localhost:8080", demo_system.gateway_url)
            code, text = shell.run(command)
            assert code == 0, (line.number, text)
            assert line.is_printed(text), f"line {line.number} of the page: {line.command}\nprinted:\n{text}"
    stored = "SELECT count(*) FROM penstock.submissions WHERE form_id = 'guest-poll'"
    assert demo_system.value(stored) == 1 + 2_500 + 2_500


@pytest.mark.parametrize(
    ("wanted", "text", "is_so"),
    [
        (["a…c"], "abc", True),
        (["a…c"], "ab", False),
        (["a…c"], "a\nc", False),
        (["a", "…", "c"], "a\nb\nb\nc", True),
        (["a", "…", "c"], "a\nb", False),
        (["a", "…"], "a\nb\nc", True),
        ([], "", True),
        ([], "a", False),
    ],
)
def test_what_is_printed_is_held_against_the_page(wanted: list[str], text: str, is_so: bool) -> None:
    assert Line(1, "x", wanted).is_printed(text) == is_so


def test_the_page_is_read_as_a_shell_reads_it() -> None:
    page = "text\n```console\n$ a 'b\n    c'\nd\n$ e\n```\n```\n$ f\n```\n"
    assert read_lines(page) == [Line(3, "a 'b\n    c'", ["d"]), Line(6, "e")]
