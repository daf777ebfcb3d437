"""The walk with curl: its commands in order, what each prints, and a shell that types them."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
_END = "--- the command has ended ---"


@dataclass(slots=True)
class Line:
    """A command of the page, and the lines below it, in which `…` stands for anything, and alone for any lines."""

    number: int
    command: str
    wanted: list[str] = field(default_factory=list)

    def is_printed(self, text: str) -> bool:
        return re.fullmatch("\n".join(_pattern(line) for line in self.wanted), text) is not None


def _pattern(line: str) -> str:
    return "(?s:.*)" if line == "…" else re.escape(line).replace("…", ".*")


def read_lines(page: str) -> list[Line]:
    """The commands of the `console` blocks. A line below a command that is indented belongs to it."""
    found: list[Line] = []
    in_block = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            in_block = line == "```console"
        elif in_block and line.startswith("$ "):
            found.append(Line(number, line[2:]))
        elif in_block and line.startswith("    ") and not found[-1].wanted:
            found[-1].command += f"\n{line}"
        elif in_block:
            found[-1].wanted.append(line)
    return found


class Shell:
    """A shell in a folder that keeps its variables from one command to the next."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["bash"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, command: str) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %d\\n' '{_END}' $?\n")
        self._process.stdin.flush()
        told: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_END):
                return int(line.split()[-1]), "".join(told).replace("\r", "").strip("\n")
            told.append(line)
        raise AssertionError(f"the shell has ended: {''.join(told)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
