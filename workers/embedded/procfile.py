"""The list of processes that `penstock up` runs, in the form that platforms read: `name: command` lines."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from penstock.schemas.errors import Code, InvalidInputError

#: An installed package has no Procfile, so the list lives here; the repository's file says the same.
DEFAULT_PROCFILE = """\
release: penstock migrate up
gateway: penstock gateway
worker: penstock worker
scheduler: penstock scheduler
sidecar: penstock sidecar
"""

#: Platforms run it once before the processes; `up` migrates by itself.
_RELEASE = "release"
_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\s*:\s*(?P<command>\S.*)")


@dataclass(frozen=True, slots=True)
class ProcessType:
    """A process to keep running: its name and its command, which no shell reads."""

    name: str
    command: tuple[str, ...]


def parse_procfile(text: str) -> tuple[ProcessType, ...]:
    """Read a Procfile; blank lines, comments and `release` are left out.

    Raises:
        InvalidInputError: `CONFIG_INVALID`, naming the line.
    """
    found: dict[str, ProcessType] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        process = _parse_line(line.strip(), number)
        if process.name in found:
            raise _fault(number, f"the name {process.name!r} is there twice")
        found[process.name] = process
    found.pop(_RELEASE, None)
    if not found:
        raise InvalidInputError(Code.CONFIG_INVALID, "the Procfile names no process")
    return tuple(found.values())


def resolve(command: tuple[str, ...]) -> list[str]:
    """The command with `penstock` replaced by the one installed beside this interpreter."""
    program, *arguments = command
    if program != "penstock":
        return list(command)
    return [str(Path(sys.executable).with_name("penstock")), *arguments]


def _parse_line(line: str, number: int) -> ProcessType:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _fault(number, "it is not of the form `name: command`")
    try:
        command = tuple(shlex.split(match["command"], comments=True))
    except ValueError as error:
        raise _fault(number, f"its command can't be split ({error})") from None
    if not command:
        raise _fault(number, "it has no command")
    return ProcessType(match["name"], command)


def _fault(number: int, what: str) -> InvalidInputError:
    return InvalidInputError(
        Code.CONFIG_INVALID,
        f"line {number} of the Procfile: {what}",
        remedy="Write one process a line, such as `worker: penstock worker`.",
    )
