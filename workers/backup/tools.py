"""`pg_dump` and `pg_restore`: which of those on this machine are fit, and how they are run.

A password is in no argument, where every user of the machine could read it: it goes through the environment. What the
programs say may quote a row, so of that only the first line of an error is told, up to a value.
"""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.embedded import binaries
from penstock.workers.embedded.failures import EmbeddedServerError

Program = Literal["pg_dump", "pg_restore"]

APPLICATION = "penstock-backup"

#: Where Debian's packages of several major versions lie side by side.
_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(rb"\(PostgreSQL\) ([0-9]+)")
_ERROR = re.compile(r"^pg_\w+: (?:error|fatal): (.+)$", re.MULTILINE)
#: A value that PostgreSQL could not read stands after a colon, in double quotes.
_VALUE = re.compile(r': ".*', re.DOTALL)
_TOLD_CHARACTERS = 300
_VERSION_SECONDS = 30
_END_SECONDS = 30


@dataclass(frozen=True)
class Tools:
    """A folder with both programs."""

    folder: Path

    @cached_property
    def major(self) -> int:
        """The major version of its pg_dump; 0 where that can't be run."""
        try:
            done = subprocess.run(
                [self.folder / "pg_dump", "--version"],
                env=_environment(None),
                capture_output=True,
                check=False,
                timeout=_VERSION_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            return 0
        found = _VERSION.search(done.stdout)
        return int(found[1]) if found and (self.folder / "pg_restore").is_file() else 0


def find_tools(major: int, folder: Path | None) -> Tools:
    """Tools for a server of that major version: of the same one where there are any, else the next newer ones.

    Args:
        major: of the server.
        folder: where to look, and nowhere else; everywhere where it is None.

    Raises:
        PenstockError: `STORAGE_BACKUP_TOOL_MISSING`: there are none, or only older ones.
    """
    found = [Tools(place) for place in ([folder] if folder else _places())]
    fit = sorted((tools for tools in found if tools.major >= major), key=lambda tools: tools.major)
    if fit:
        return fit[0]
    older = max((tools.major for tools in found), default=0)
    told = f"those of version {older} are older" if older else "there are none"
    where = f"in {folder}" if folder else "on this machine"
    raise PenstockError(
        Code.STORAGE_BACKUP_TOOL_MISSING, f"PostgreSQL {major} needs its own pg_dump and pg_restore; {told} {where}"
    )


def _places() -> Iterator[Path]:
    for place in os.get_exec_path():
        if (Path(place) / "pg_dump").is_file():
            yield Path(place)
    yield from sorted(_DEBIAN.glob("*/bin"))
    try:
        yield binaries.postgres_install() / "bin"
    except EmbeddedServerError:
        return


class RunningTool:
    """One run of a program. What it writes, or reads, goes through `pipe`."""

    def __init__(self, process: "subprocess.Popen[bytes]", pipe: IO[bytes], words: IO[bytes], name: str) -> None:
        self.pipe = pipe
        self._process = process
        self._words = words
        self._name = name

    def require_success(self) -> None:
        """Wait for its end, which must be a good one.

        Raises:
            PenstockError: `STORAGE_BACKUP_FAILED`, with its exit code or signal and the first error that it told.
        """
        code = self._process.wait()
        if code != 0:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise PenstockError(Code.STORAGE_BACKUP_FAILED, f"{self._name} {how}{self._last_words()}")

    def _last_words(self) -> str:
        self._words.seek(0)
        error = _ERROR.search(self._words.read(64 * 1024).decode(errors="replace"))
        return f": {_VALUE.sub('', error[1])[:_TOLD_CHARACTERS]}" if error else ""


@contextmanager
def run_tool(tools: Tools, program: Program, arguments: Sequence[str], url: str | None = None) -> Iterator[RunningTool]:
    """Run a program with a pipe from its output (pg_dump) or to its input (pg_restore); it does not outlive the block.

    Args:
        tools: where the program is.
        program: its name.
        arguments: its own, without the database.
        url: the database that it connects to, where it does.
    """
    is_dump = program == "pg_dump"
    command = [str(tools.folder / program), *arguments]
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [*command, f"--dbname={_without_password(url)}", "--no-password"] if url else command,
            stdin=subprocess.DEVNULL if is_dump else subprocess.PIPE,
            stdout=subprocess.PIPE if is_dump else subprocess.DEVNULL,
            stderr=words,
            env=_environment(url),
            start_new_session=True,
        )
        pipe = process.stdout if is_dump else process.stdin
        assert pipe is not None  # noqa: S101  one of them was asked for
        try:
            yield RunningTool(process, pipe, words, program)
        finally:
            _end(process, pipe)


def _end(process: "subprocess.Popen[bytes]", pipe: IO[bytes]) -> None:
    # Killed first: a pg_restore whose input merely ended could take that for the end of the backup.
    if process.poll() is None:
        process.kill()
        process.wait(_END_SECONDS)
    with suppress(BrokenPipeError):
        pipe.close()


def _without_password(url: str) -> str:
    parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    if "sslpassword" in parameters:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            "the database's URL has an sslpassword, which pg_dump would show to every user of the machine",
            remedy="Keep the client's key without a password, in a file that only this user may read.",
        )
    parameters.pop("password", None)
    return make_conninfo(**parameters | {"application_name": APPLICATION})


def _environment(url: str | None) -> Mapping[str, str]:
    """The variables of libpq and what a program needs; of ours none, since they hold other systems' passwords."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PG") or name in {"HOME", "PATH"}}
    password = conninfo_to_dict(url).get("password") if url else None
    return kept | {"LC_ALL": "C", "TZ": "UTC"} | ({"PGPASSWORD": str(password)} if password else {})
