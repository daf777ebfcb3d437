"""Pages for operators: their commands exist, a reader may ask their queries, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import click
import psycopg
import pytest

from penstock.schemas.errors import Code
from penstock.workers.cli.root import root
from tests.system import Database

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("operations.md", "upgrading.md", "capacity.md")
#: In a code span, or on a line of a block.
_COMMAND = re.compile(r"`(penstock [^`|]+)`|^\$ (penstock .+)$", re.MULTILINE)
_QUERY = re.compile(r"^```sql\n(.+?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([\w./-]+\.md)?(#[\w-]+)?\)")


def commands() -> list[tuple[str, str]]:
    """Each page and a command that it names."""
    return [(name, span or line) for name in PAGES for span, line in _COMMAND.findall((DOCS / name).read_text("utf-8"))]


def fault_of(command: str) -> str:
    """What a command line asks for that the command does not have; empty where all is there."""
    found: click.Command = root
    context = click.Context(root)
    for word in shlex.split(command, comments=True)[1:]:
        if isinstance(found, click.Group):
            inner = found.get_command(context, word)
            if inner is None:
                return f"{word!r} is no command"
            found = inner
        elif word.startswith("--"):
            options = {option for parameter in found.params for option in parameter.opts}
            if word.partition("=")[0] not in options:
                return f"{word!r} is no option"
    return ""


def test_every_command_that_the_pages_name_exists() -> None:
    named = commands()
    assert {name for name, _ in named} == set(PAGES) - {"capacity.md"}
    assert len(named) > 50
    assert [(name, command, fault) for name, command in named if (fault := fault_of(command))] == []


def test_a_command_or_option_that_does_not_exist_is_found_out() -> None:
    """The control."""
    assert fault_of("penstock queue list --json") == ""
    assert fault_of("penstock queue lost") == "'lost' is no command"
    assert fault_of("penstock queue list --lost") == "'--lost' is no option"


def test_a_reader_may_ask_every_query_of_the_calendar(database: Database) -> None:
    queries = _QUERY.findall((DOCS / "operations.md").read_text("utf-8"))
    assert len(queries) == 3
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("SET ROLE penstock_reader")
        answers = [connection.execute(query.encode()).fetchall() for query in queries]
    # There are months' partitions, and none holds a row that it should not.
    assert len(answers[1]) > 3
    assert not any(alarm for _, _, alarm in answers[1])


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = (DOCS / name).read_text("utf-8")
    for target, anchor in _LINK.findall(page):
        path = DOCS / target if target else DOCS / name
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor.removeprefix("#") in slugs, f"{target}{anchor}"
    codes = re.findall(r"`((?:BATCH|CIRCUIT|FORM|JOB|PLATFORM|QUEUE|STORAGE)_[A-Z_]*[A-Z])`", page)
    assert set(codes) <= {str(code) for code in Code}
