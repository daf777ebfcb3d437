"""Every alert fires at its fault, tells what it should, and clears: promtool runs the rules as they are deployed."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.debian import require_program
from tests.deploy.monitoring.cases import CASES
from tests.deploy.monitoring.promtool_kit import FOLDER, RULES, Case, identity, promtool_test, rules


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = require_program("promtool", "prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=FOLDER, timeout=120)


def run_case(case: Case, folder: Path) -> "subprocess.CompletedProcess[str]":
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(promtool_test(case)))
    return promtool("test", "rules", str(file))


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    config = promtool("check", "config", "--lint=all", "--lint-fatal", str(FOLDER / "prometheus.yml"))
    assert config.returncode == 0, config.stdout + config.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.stands[-1].severity}-{case.at[1]}")
def test_it_fires_and_clears(case: Case, tmp_path: Path) -> None:
    done = run_case(case, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case() -> None:
    tried = {(case.alert, one.severity, one.window) for case in CASES for one in case.stands}
    assert tried == {identity(rule) for rule in rules()}


def test_an_alert_that_says_something_else_is_found_out(tmp_path: Path) -> None:
    """The control: promtool compares what the alert tells, and when."""
    case = CASES[0]
    early = dataclasses.replace(case, at=(case.at[0], case.at[0], case.at[2]))
    silent = dataclasses.replace(case, stands=())
    assert [run_case(one, tmp_path).returncode for one in (case, early, silent)] == [0, 1, 1]
