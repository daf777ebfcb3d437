"""Migration files: what a folder of them holds, and the rules that they keep."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from penstock.schemas.errors import Code, PenstockError

#: The migrations of this release.
FOLDER = Path(__file__).parent

NO_TRANSACTION = "-- penstock: no transaction"

_FILE_NAME = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z0-9_]+)\.(?P<direction>up|down)\.sql")

# PostgreSQL's lexical structure (documentation, §4.1): whatever a semicolon may stand in without ending a statement.
_SQL_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)"""
    r"""|(?P<quoted>\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<end>;)|(?P<other>\S)""",
    re.DOTALL,
)
_INDEX_STATEMENT = re.compile(r"\s*(CREATE\s+(UNIQUE\s+)?|DROP\s+)INDEX\b", re.IGNORECASE)
_MAY_RUN_AGAIN = re.compile(r"\bIF\s+(NOT\s+)?EXISTS\b", re.IGNORECASE)


@dataclass(frozen=True)
class Script:
    """One file. `checksum` is the SHA-256 of its content in hexadecimal digits."""

    file_name: str
    content: bytes

    @cached_property
    def text(self) -> str:
        """The content as SQL."""
        return self.content.decode()

    @cached_property
    def checksum(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """Whether the file runs in a transaction of its own."""
        return not self.text.startswith(NO_TRANSACTION)

    def fault(self) -> str | None:
        """What is wrong with the file, or None."""
        if self.in_transaction:
            return None
        if count_statements(self.text) != 1:
            return f"{self.file_name} runs outside a transaction and must hold exactly one statement"
        statement = without_comments(self.text)
        if _INDEX_STATEMENT.match(statement) and not _MAY_RUN_AGAIN.search(statement):
            return f"{self.file_name} may be interrupted and must say IF [NOT] EXISTS, so that it can run again"
        return None


@dataclass(frozen=True, slots=True)
class Migration:
    """One number with its two files."""

    version: int
    name: str
    up: Script
    down: Script

    @property
    def label(self) -> str:
        """How the migration is called in messages: `0002_forms`."""
        return label(self.version, self.name)


def label(version: int, name: str) -> str:
    """How a migration is called in messages: `0002_forms`."""
    return f"{version:04d}_{name}"


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds: files by name, the complete migrations by version, and what is wrong with the rest."""

    scripts: Mapping[str, Script]
    migrations: Mapping[int, Migration]
    faults: Sequence[str]

    @property
    def latest(self) -> int:
        """The highest version; 0 for an empty folder."""
        return max(self.migrations, default=0)

    def require_sound(self) -> None:
        """See that every file keeps the rules.

        Raises:
            PenstockError: `STORAGE_MIGRATION_INVALID`, naming each fault.
        """
        if self.faults:
            raise PenstockError(
                Code.STORAGE_MIGRATION_INVALID, "; ".join(self.faults), details={"faults": list(self.faults)}
            )


def read_folder(path: Path) -> Folder:
    """Read the migration files in `path`; other files are let be, except SQL files of another name."""
    pairs: dict[tuple[int, str], dict[str, Script]] = {}
    faults: list[str] = []
    for file in sorted(path.glob("*.sql")):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            faults.append(f"{file.name} is not called NNNN_name.up.sql or NNNN_name.down.sql")
            continue
        script = Script(file.name, file.read_bytes())
        faults += filter(None, [script.fault()])
        pairs.setdefault((int(match["version"]), match["name"]), {})[match["direction"]] = script
    faults += _gaps({version for version, _ in pairs})
    migrations, unpaired = _pair(pairs)
    scripts = {script.file_name: script for pair in pairs.values() for script in pair.values()}
    return Folder(scripts, migrations, [*faults, *unpaired])


def _pair(pairs: Mapping[tuple[int, str], Mapping[str, Script]]) -> tuple[dict[int, Migration], list[str]]:
    faults: list[str] = []
    migrations: dict[int, Migration] = {}
    for (version, name), pair in pairs.items():
        missing = {"up", "down"} - pair.keys()
        faults += [f"{label(version, name)}.{direction}.sql is missing" for direction in sorted(missing)]
        if version in migrations:
            faults.append(f"{migrations[version].label} and {label(version, name)} have the same number")
        elif not missing:
            migrations[version] = Migration(version, name, pair["up"], pair["down"])
    return migrations, faults


def count_statements(text: str) -> int:
    """How many statements `text` holds. Nested comments are not understood; none is needed here."""
    count, inside = 0, False
    for token in _SQL_TOKEN.finditer(text):
        if token["end"]:
            inside = False
        elif not token["comment"] and not inside:
            count, inside = count + 1, True
    return count


def without_comments(text: str) -> str:
    """`text` with each comment replaced by a space."""
    return _SQL_TOKEN.sub(lambda token: " " if token["comment"] else token[0], text)


def _gaps(versions: set[int]) -> list[str]:
    missing = sorted(set(range(1, max(versions, default=0) + 1)) - versions)
    return [f"there is no migration {version:04d}" for version in missing]
