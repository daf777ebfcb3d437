"""What is installed in another service: one package, no generic names, no worker's dependency, types that check."""

import subprocess
import sys
import textwrap
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

SERVICE = """
from penstock.producers import Producer, Submission, WriteSubmissionBatch
from schemas.answers import answers

batch = WriteSubmissionBatch(form_id="f", batch_id="from-elsewhere", submissions=(Submission(answers=answers()),))
with Producer.from_environment() as producer:
    enqueued = producer.enqueue(batch)
    record = producer.job(enqueued.job_id)
assert record is not None
print(record.state, enqueued.queue)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network from the files that a checkout has."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.decode().split("\0")):
        origin, copy = ROOT / name, source / name
        if origin.is_symlink() or origin.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_symlink():
                copy.symlink_to(origin.readlink())
            else:
                copy.write_bytes(origin.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_claims_one_name_and_holds_every_room_and_file(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"penstock"}
    held = {str(Path(name).relative_to("penstock")) for name in names}
    for folder in ("schemas", "producers", "workers", "migrations"):
        wanted = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {str(path.relative_to(ROOT)) for path in wanted} <= held


@pytest.fixture(scope="module")
def service(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another team's service: the wheel, the base dependencies alone, and a package named `schemas` of its own."""
    folder = tmp_path_factory.mktemp("service")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    for name in with_dependencies(BASE):
        link_distribution(name, site)
    (folder / "schemas").mkdir()
    (folder / "schemas" / "__init__.py").touch()
    (folder / "schemas" / "answers.py").write_text("def answers() -> dict[str, str]:\n    return {'q': 'a'}\n")
    (folder / "service.py").write_text(textwrap.dedent(SERVICE))
    return folder


#: What `pip install penstock` asks for.
BASE = ("redis", "pydantic")


def with_dependencies(names: Iterable[str]) -> set[str]:
    """These distributions and all that they need on this interpreter, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            needs = [Requirement(need) for need in distribution(name).requires or ()]
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def test_the_base_install_asks_for_three_packages() -> None:
    needs = [Requirement(need) for need in distribution("penstock").requires or ()]
    assert {need.name for need in needs if need.marker is None} == set(BASE)


def link_distribution(name: str, site: Path) -> None:
    """Put an installed distribution into another environment, by links."""
    found = distribution(name)
    for top in {Path(str(file)).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        (site / top).symlink_to(Path(str(found.locate_file(top))))


def test_a_service_with_its_own_schemas_uses_the_client(service: Path, redis_url: str, namespace: str) -> None:
    run = subprocess.run(
        [service / "venv" / "bin" / "python", "service.py"],
        cwd=service,
        env={"REDIS_URL": redis_url, "PENSTOCK_NAMESPACE": namespace},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "ready submissions\n"), run.stderr


def test_the_base_install_lacks_what_only_workers_need(service: Path) -> None:
    code = (
        "import importlib.util as u; print([n for n in ('psycopg','msgspec','click','sentry_sdk') if u.find_spec(n)])"
    )
    run = subprocess.run([service / "venv" / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_command_says_what_the_base_install_lacks(service: Path) -> None:
    code = "from penstock.workers.cli import main; main()"
    run = subprocess.run([service / "venv" / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("CONFIG_INVALID: ")
    assert "penstock[worker]" in run.stderr


def test_the_service_type_checks_strictly_and_its_mistakes_show(service: Path) -> None:
    def check(path: str) -> subprocess.CompletedProcess[str]:
        python = service / "venv" / "bin" / "python"
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir", "cache", path],
            cwd=service, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert check("service.py").returncode == 0, check("service.py").stdout
    wrong = SERVICE.replace('form_id="f"', "form_id=7").replace("enqueued.queue", "enqueued.colour")
    (service / "wrong.py").write_text(wrong)
    told = check("wrong.py").stdout
    assert "arg-type" in told
    assert '"Enqueued" has no attribute "colour"' in told
