"""Rules for the image's Dockerfile, which no engine builds here: what is pinned, who runs, what gets in."""

import re
import subprocess

import pytest

from penstock.producers.gateway.settings import GatewaySettings
from penstock.workers.settings import WorkerSettings
from tests.deploy import dockerfile
from tests.deploy.dockerfile import DOCKERFILE, ROOT, Instruction, of

STAGES = dockerfile.parse(DOCKERFILE.read_text())
BUILD, FINAL = STAGES[1], STAGES[-1]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY|DATABASE_URL|REDIS_URL|DSN", re.IGNORECASE)
SHELLS = {"sh", "bash", "/bin/sh", "/bin/bash"}


def the(stage: list[Instruction], name: str) -> Instruction:
    (found,) = of(stage, name)
    return found


def test_every_base_is_pinned_by_a_digest_and_none_is_the_latest() -> None:
    for stage in STAGES[1:]:
        base = dockerfile.base_of(STAGES, stage)
        assert re.fullmatch(r"python:3\.1[1-9]-slim-[a-z]+@sha256:[0-9a-f]{64}", base), base


def test_the_digest_that_stands_there_is_none_and_how_to_get_one_is_told() -> None:
    assert dockerfile.arguments(STAGES)["PYTHON_IMAGE"].endswith("@sha256:" + 64 * "0")
    assert "imagetools inspect" in DOCKERFILE.read_text()


def test_it_runs_as_a_numbered_user_who_is_not_root() -> None:
    assert the(FINAL, "USER").text == "10001:10001"
    # Nothing is run as root after that.
    names = [one.name for one in FINAL]
    assert "RUN" not in names[names.index("USER") :]


def test_it_starts_the_command_without_a_shell() -> None:
    assert the(FINAL, "ENTRYPOINT").words == ["penstock"]
    assert the(FINAL, "CMD").words == ["--help"]
    assert the(FINAL, "STOPSIGNAL").text == "SIGTERM"
    options, _, probe = the(FINAL, "HEALTHCHECK").text.partition(" CMD ")
    assert set(re.findall(r"--([a-z-]+)=", options)) == {"interval", "timeout", "start-period", "retries"}
    words = Instruction("CMD", probe).words
    assert words == ["penstock-alive"]
    assert not SHELLS & set(words)


def test_nothing_secret_is_built_in() -> None:
    named = dockerfile.arguments(STAGES) | {
        name: value for stage in STAGES for name, value in dockerfile.environment(stage).items()
    }
    assert named
    assert not [name for name in named if SECRET.search(name)]
    assert not re.search(r"COPY\s+\.\s|ADD\s", DOCKERFILE.read_text())


def test_every_setting_of_the_image_is_one() -> None:
    known = {
        str(field.alias) for settings in (WorkerSettings, GatewaySettings) for field in settings.model_fields.values()
    }
    found = {name for name in dockerfile.environment(FINAL) if name.startswith("PENSTOCK_")}
    assert found == {"PENSTOCK_HOME", "PENSTOCK_METRICS_DIR"}
    assert found <= known


def test_the_final_stage_takes_the_environment_and_nothing_of_the_repository() -> None:
    assert dockerfile.copied(FINAL) == []
    assert [one.words for one in of(FINAL, "COPY")] == [["--from=build", "/opt/penstock", "/opt/penstock"]]


def test_only_pinned_wheels_and_only_what_production_needs_are_installed() -> None:
    (run,) = of(BUILD, "RUN")
    assert "--only-binary :all:" in run.text
    assert "--constraint constraints.txt" in run.text
    (extras,) = re.findall(r"penstock\[([a-z,-]+)\]", run.text)
    assert not {"dev", "embedded"} & set(extras.split(","))
    assert "editable" not in run.text


def test_it_says_what_it_is() -> None:
    label = the(FINAL, "LABEL").text
    for name in ("title", "description", "licenses", "revision"):
        assert f"org.opencontainers.image.{name}=" in label


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Every file that a checkout has."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()


def test_the_build_is_sent_the_package_and_nothing_else(tracked: list[str]) -> None:
    sent = {path for path in tracked if dockerfile.is_sent(path)}
    tops = {path.split("/")[0] for path in sent}
    assert tops == {
        ".src", "LICENSE", "README.md", "constraints.txt", "deploy", "migrations", "producers", "pyproject.toml",
        "schemas", "workers",
    }  # fmt: skip
    assert {path for path in sent if path.startswith("deploy/")} == {"deploy/image/penstock-alive"}
    for path in (".git/config", ".env", "deploy/compose/secrets/app_password", "tests/conftest.py", ".venv/bin/python"):
        assert not dockerfile.is_sent(path)
    assert not dockerfile.is_sent("workers/__pycache__/run.cpython-311.pyc")


def test_all_that_is_copied_is_there_and_is_sent(tracked: list[str]) -> None:
    sources = [source for source, _ in dockerfile.copied(BUILD)]
    assert len(sources) == 10
    for source in sources:
        below = [path for path in tracked if path == source or path.startswith(f"{source}/")]
        assert any(dockerfile.is_sent(path) for path in below), source
