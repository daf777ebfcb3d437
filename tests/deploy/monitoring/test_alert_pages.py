"""docs/alerts.md has a section for each alert, and what it names is there: commands, settings, codes, sections."""

import re
import shlex
from pathlib import Path

import click
import pytest

from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code
from penstock.workers.cli.root import root
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.catalogue import metric_rows
from tests.deploy.monitoring.promtool_kit import rules

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "alerts.md").read_text(encoding="utf-8")
ALERTS = list(dict.fromkeys(rule["alert"] for rule in rules()))


def anchors(page: str) -> set[str]:
    """The places of a page that a link can lead to, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(alert: str) -> str:
    found = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{alert} has no section"
    return found[1]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_it_means_how_to_look_and_what_to_do(alert: str) -> None:
    labels = re.findall(r"^\*\*([^*]+)\.\*\*", section(alert), re.MULTILINE)
    assert labels == ["It means", "Look", "Do"]


def test_runbook_urls_lead_to_the_sections() -> None:
    for rule in rules():
        address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (address, anchor) == ("https://penstock.example/docs/alerts.md", rule["alert"].lower())
        assert anchor in anchors(PAGE)


def test_the_table_lists_each_alert_with_its_severities() -> None:
    told = dict(re.findall(r"^\| \[(Penstock\w+)\]\(#\w+\) \| ([a-z, ]+) \|", PAGE, re.MULTILINE))
    severities = {
        alert: list(dict.fromkeys(rule["labels"]["severity"] for rule in rules() if rule["alert"] == alert))
        for alert in ALERTS
    }
    assert {alert: text.split(", ") for alert, text in told.items()} == severities
    assert list(told) == re.findall(r"^## (Penstock\w+)$", PAGE, re.MULTILINE) == ALERTS


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([\w-]+))?\)", PAGE)
    assert len(links) > 50
    for path, anchor in links:
        file = DOCS / path if path else DOCS / "alerts.md"
        assert file.exists(), path
        assert not anchor or anchor in anchors(file.read_text()), f"{path}#{anchor}"
    assert "alerts.md" in (DOCS / "runbook.md").read_text()


def test_commands_are_there() -> None:
    commands = set(re.findall(r"`(penstock [a-z][^`]*)`", PAGE))
    assert len(commands) > 15
    for text in commands:
        words = shlex.split(text)[1:]
        command: click.Command | None = root
        while isinstance(command, click.Group) and words:
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, text
        options = {name for param in command.params for name in param.opts}
        assert {word for word in words if word.startswith("--")} <= options, text


def test_settings_codes_and_metrics_are_there() -> None:
    fields = [*WorkerSettings.model_fields.values(), *ProducerSettings.model_fields.values()]
    assert set(re.findall(r"\bPENSTOCK_[A-Z_]+", PAGE)) <= {field.alias for field in fields}
    codes = set(re.findall(r"\b(?:JOB|QUEUE|STORAGE|POST|ACCOUNT)_[A-Z_]*[A-Z]\b", PAGE))
    assert codes <= {str(code) for code in Code}
    assert set(re.findall(r"`(penstock_\w+)`", PAGE)) <= {row.split("`")[1] for row in metric_rows()}
