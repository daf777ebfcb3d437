"""What the runbook says: its commands, in order, and what each prints."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "runbook.md"

_EXIT_CODE = re.compile(r"# exit code (\d+)$")
_LABEL = re.compile(r"\*\*([^*.]+)\.?\*\*")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


@dataclass(slots=True)
class Step:
    """A command of the page and the lines below it.

    Attributes:
        section, label: the heading, and the bold words that stand before it.
        lines: what it prints, in order; `…` stands for anything, and alone for lines that are left out.
    """

    section: str
    label: str
    number: int
    command: str
    lines: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """That the page states; 0 where it states none."""
        stated = _EXIT_CODE.search(self.command)
        return int(stated[1]) if stated else 0

    def arguments(self, names: Mapping[str, str]) -> list[str]:
        """The command's arguments as a shell makes them, with `names` in the place of the page's."""
        program, *arguments = shlex.split(self.command, comments=True)
        assert program == "penstock", self.command
        return [names.get(argument, argument) for argument in arguments]

    def missing(self, printed: str, names: Mapping[str, str]) -> list[str]:
        """The lines that were not printed, or not in this order."""
        found = iter([_plain(line) for line in printed.splitlines()])
        wanted = [line for line in self.lines if line.strip() != "…"]
        return [line for line in wanted if not any(_pattern(line, names).fullmatch(one) for one in found)]


def read_steps(page: str) -> list[Step]:
    """The commands of the `console` blocks, from the first to the last."""
    steps: list[Step] = []
    section = label = ""
    in_block = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            in_block = line == "```console"
        elif in_block and line.startswith("$ "):
            steps.append(Step(section, label, number, line[2:]))
        elif in_block:
            steps[-1].lines.append(line)
        elif line.startswith("## "):
            section, label = line[3:], ""
        elif begins := _LABEL.match(line):
            label = begins[1]
    return steps


def _plain(line: str) -> str:
    """Columns are as wide as their widest cell, and instants are those of the run."""
    return " ".join(_INSTANT.sub("INSTANT", line).split())


def _pattern(line: str, names: Mapping[str, str]) -> re.Pattern[str]:
    named = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), line)
    return re.compile(re.escape(_plain(named)).replace("…", ".*"))
