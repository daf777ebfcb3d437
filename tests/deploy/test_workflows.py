"""The workflows and the bot that proposes updates, held against house rules. No runner of GitHub's ran them here."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import ROOT

FOLDER = ROOT / ".github"
NAMES = sorted(path.name for path in (FOLDER / "workflows").iterdir())
TEXTS = {name: (FOLDER / "workflows" / name).read_text() for name in NAMES}
#: A full commit, and beside it in words which release that is.
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")
#: What an expression may name: nothing that whoever opens a pull request chooses.
HARMLESS = re.compile(r"matrix\.\w+|github\.ref|github\.ref != 'refs/heads/main'|hashFiles\('[\w.', /]+'\)")
CHECKED, MAKE = "check.yml", re.compile(r"make(?: [a-z][a-z-]*)+(?: PYTHON=python3)?")

Job = dict[str, Any]


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(TEXTS[name])
    return found


def triggers(name: str) -> set[str]:
    # YAML 1.1 reads the key `on` as a boolean.
    return set(workflow(name)[True])


def jobs() -> Iterator[tuple[str, str, Job]]:
    for name in NAMES:
        for key, job in workflow(name)["jobs"].items():
            yield name, key, job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, key, job in jobs():
        yield from ((f"{name} {key}", step) for step in job["steps"])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def made(name: str, key: str) -> list[str]:
    """The targets that a job makes, in order."""
    commands = [step["run"] for step in workflow(name)["jobs"][key]["steps"] if "run" in step]
    return [word for command in commands for word in command.split()[1:] if "=" not in word]


def test_what_is_run_and_when() -> None:
    assert NAMES == ["benchmarks.yml", CHECKED, "faults.yml"]
    assert triggers(CHECKED) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert triggers("faults.yml") == {"schedule", "workflow_dispatch"}
    assert triggers("benchmarks.yml") == {"workflow_dispatch"}
    assert made(CHECKED, "test") == ["lint", "test"]
    assert made(CHECKED, "audit") == ["audit", "sbom"]
    assert made(CHECKED, "image") == ["image", "smoke"]
    assert made("faults.yml", "faults") == ["test-faults"]
    assert made("benchmarks.yml", "benchmarks") == ["bench"]


def test_every_command_is_a_target_that_exists() -> None:
    commands = [step["run"] for _, step in steps() if "run" in step]
    for command in commands:
        assert MAKE.fullmatch(command), command
        assert {word for word in command.split()[1:] if "=" not in word} <= targets()


@pytest.mark.parametrize("name", NAMES)
def test_every_action_is_pinned_by_its_commit(name: str) -> None:
    used = [line.strip().removeprefix("- ") for line in TEXTS[name].splitlines() if re.search(r"\buses:", line)]
    assert used
    for line in used:
        assert PINNED.fullmatch(line), line


def test_an_action_is_the_same_everywhere() -> None:
    found = {tuple(one.split("@")) for text in TEXTS.values() for one in re.findall(r"uses: (\S+)", text)}
    assert len({action for action, _ in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_allowed_but_to_read_the_code(name: str) -> None:
    assert workflow(name)["permissions"] == {}
    for job in workflow(name)["jobs"].values():
        assert job["permissions"] == {"contents": "read"}


def test_the_token_stays_out_of_the_checkout() -> None:
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(list(jobs()))
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_named_and_nobody_elses_words_are_run(name: str) -> None:
    assert not triggers(name) & {"pull_request_target", "workflow_run", "issue_comment", "issues"}
    assert not re.search(r"secrets\b|github\.token|GITHUB_TOKEN|set-env|add-path", TEXTS[name])
    for expression in re.findall(r"\$\{\{(.*?)\}\}", TEXTS[name]):
        assert HARMLESS.fullmatch(expression.strip()), expression
    for place, step in steps():
        assert "${{" not in step.get("run", ""), place


@pytest.mark.parametrize("name", NAMES)
def test_no_host_is_named(name: str) -> None:
    assert not re.search(r"://|\.(org|com|io|dev|net)\b", TEXTS[name]), name


def test_every_job_ends_and_none_runs_beside_its_like() -> None:
    for name, key, job in jobs():
        assert 0 < job["timeout-minutes"] <= 240, (name, key)
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
        assert workflow(name)["concurrency"]["group"].startswith(name.removesuffix(".yml"))


def test_the_matrix_is_what_the_package_says() -> None:
    test = workflow(CHECKED)["jobs"]["test"]
    versions = test["strategy"]["matrix"]["python"]
    project = (ROOT / "pyproject.toml").read_text()
    assert versions == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert f'requires-python = ">={versions[0]}"' in project
    assert all(int(b.split(".")[1]) == int(a.split(".")[1]) + 1 for a, b in pairwise(versions))
    assert test["strategy"]["fail-fast"] is False
    # Each on Debian, as root, where tests install what they drive; one that is skipped fails the run.
    assert test["container"] == "python:${{ matrix.python }}-bookworm"
    assert test["env"]["CI"] == "true"
    for path in re.findall(r"--ignore=(\S+)", test["env"]["PYTEST_ADDOPTS"]):
        assert (ROOT / path).exists()
        assert "thanksgiving" in path


def test_caches_go_by_what_is_pinned() -> None:
    cached = [step for _, step in steps() if step.get("uses", "").startswith("actions/cache@")]
    assert cached
    for step in cached:
        assert "hashFiles('constraints.txt', 'pyproject.toml')" in step["with"]["key"]
        assert "restore-keys" not in step["with"]
    (set_up,) = [step for _, step in steps() if step.get("uses", "").startswith("actions/setup-python@")]
    assert set_up["with"]["cache-dependency-path"].split() == ["constraints.txt", ".github/audit.txt"]


def test_the_tools_are_pinned() -> None:
    lines = [line for line in (FOLDER / "audit.txt").read_text().splitlines() if not line.startswith("#")]
    assert {line.partition("==")[0] for line in lines} == {"pip-audit", "zizmor", "cyclonedx-bom"}
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", line) for line in lines)


def test_the_image_that_is_scanned_and_tried_is_the_one_that_is_built() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (image,) = re.findall(r"^IMAGE \?= (\S+)$", makefile, re.MULTILINE)
    scanned = [step["with"]["image"] for _, step in steps() if "image" in step.get("with", {})]
    assert scanned == [image, image]
    compose = (ROOT / "deploy" / "compose" / "compose.yaml").read_text()
    assert f"${{PENSTOCK_IMAGE:-{image}}}" in compose
    services = yaml.safe_load(compose)["services"]
    (started,) = re.findall(r"up --detach --wait ([a-z ]+)$", makefile, re.MULTILINE)
    assert set(started.split()) == {"gateway", "worker", "scheduler", "sidecar"} < set(services)
    assert "make_secrets.py > /dev/null" in makefile
    assert "run --rm release verify --smoke" in makefile
    assert {"DATABASE_URL_FILE", "REDIS_URL_FILE"} <= set(services["release"]["environment"])


def test_updates_are_proposed_for_all_that_is_pinned() -> None:
    found = yaml.safe_load((FOLDER / "dependabot.yml").read_text())
    assert found["version"] == 2
    places = {
        (one["package-ecosystem"], place)
        for one in found["updates"]
        for place in one.get("directories", [one.get("directory")])
    }
    assert places == {
        ("pip", "/"),
        ("github-actions", "/"),
        ("docker", "/deploy/image"),
        ("docker", "/deploy/backup"),
        ("docker-compose", "/deploy/compose"),
    }
    for _, place in places:
        assert (ROOT / place.lstrip("/")).is_dir()
    assert all(one["schedule"]["interval"] == "weekly" for one in found["updates"])
