"""What the image holds, made without an engine: the wheel of what its build is sent, and what production needs of it.

The distributions are those of this environment, linked, so that no network is wanted; constraints.txt pins both alike.
"""

import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy import dockerfile
from tests.deploy.dockerfile import DOCKERFILE, ROOT, of

STAGES = dockerfile.parse(DOCKERFILE.read_text())


@dataclass(frozen=True, slots=True)
class CleanEnvironment:
    """A virtual environment as the image's, without pip."""

    folder: Path
    wheel: Path
    distributions: frozenset[str]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def penstock(self) -> Path:
        """The image's entry point."""
        return self.folder / "bin" / "penstock"

    @property
    def alive(self) -> list[str]:
        """The probe, whose first line names an interpreter that is in the image alone."""
        return [str(self.python), "-IS", str(ROOT / "deploy" / "image" / "penstock-alive")]


def make_clean_environment(folder: Path) -> CleanEnvironment:
    """Build the wheel and install it, not editable, into an environment of its own."""
    wheel = build_wheel(folder)
    target = folder / "environment"
    venv.create(target, with_pip=False, symlinks=True)
    (site,) = (target / "lib").glob("python*/site-packages")
    names = frozenset(needed(wheel, extras()))
    link_all(names, site)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", target, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    return CleanEnvironment(target, wheel, names)


def link_all(names: Iterable[str], site: Path) -> None:
    """Put installed distributions into another environment: each folder of one's own as a link, of several by file."""
    owners: dict[str, set[str]] = {}
    files: list[tuple[str, str, Path]] = []
    for name in names:
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top not in {"..", "__pycache__"}:
                owners.setdefault(top, set()).add(name)
                files.append((top, str(file), Path(str(file.locate()))))
    for top, path, origin in files:
        link = site / (path if len(owners[top]) > 1 else top)
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(origin if len(owners[top]) > 1 else _top_of(origin, path))


def _top_of(origin: Path, file: str) -> Path:
    """The topmost folder, or the file itself, of a distribution's file."""
    depth = len(Path(file).parts) - 1
    return origin.parents[depth - 1] if depth else origin


def extras() -> set[str]:
    """What the Dockerfile installs besides the base."""
    (run,) = of(STAGES[1], "RUN")
    (found,) = re.findall(r"penstock\[([a-z,-]+)\]", run.text)
    return set(found.split(","))


def build_wheel(folder: Path) -> Path:
    """Build it from what the Dockerfile copies of what the build is sent, and from nothing else."""
    source = folder / "build"
    for path in sent_and_copied():
        copy = source / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_symlink():
            copy.symlink_to((ROOT / path).readlink())
        else:
            copy.write_bytes((ROOT / path).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "wheels", source],
        check=True, capture_output=True,
    )  # fmt: skip
    (built,) = (folder / "wheels").glob("*.whl")
    return built


def sent_and_copied() -> Iterator[str]:
    """The files of a checkout that the build stage works on."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    sources = [source for source, _ in dockerfile.copied(STAGES[1])]
    for path in filter(None, listed.split("\0")):
        is_copied = any(path == source or path.startswith(f"{source}/") for source in sources)
        if is_copied and dockerfile.is_sent(path) and ((ROOT / path).is_file() or (ROOT / path).is_symlink()):
            yield path


def needed(wheel: Path, wanted: set[str]) -> set[str]:
    """The distributions that the wheel needs with these extras, without the wheel's own."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    own = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist") or []
    found: dict[str, set[str]] = {}
    waiting = [Requirement("penstock[" + ",".join(wanted) + "]")]
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        new = asked.extras - found.get(name, set())
        if name in found and not new:
            continue
        found[name] = found.get(name, set()) | new
        lines = own if name == "penstock" else distribution(name).requires or []
        waiting += [need for need in map(Requirement, lines) if _applies(need, found[name])]
    return set(found) - {"penstock"}


def _applies(need: Requirement, extras_of: set[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras_of})
