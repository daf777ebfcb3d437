"""The sidecar among the processes of `up`: whether it can run at all, and where it listens."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from penstock.workers.embedded import ports
from penstock.workers.embedded.procfile import ProcessType

LISTEN = "PENSTOCK_SIDECAR_LISTEN"
INSTALL = "pip install 'penstock[sidecar]'"
#: The one of the setting's default; the next `up` of a machine gets another one.
USUAL_PORT = 9191

#: Of the extra `sidecar`, as they are imported.
LIBRARIES = ("fastapi", "uvicorn", "jinja2", "python_multipart")
_COMMAND = ("penstock", "sidecar")
_ANY_ADDRESS = {"0.0.0.0": ports.LOOPBACK, "[::]": "[::1]"}  # noqa: S104  what it is, and not where we listen


def missing_libraries() -> list[str]:
    """The sidecar's libraries that are not installed here."""
    return [name for name in LIBRARIES if find_spec(name) is None]


def place_sidecar(
    kinds: Sequence[ProcessType], environment: Mapping[str, str], announce: Callable[[str], None]
) -> tuple[list[ProcessType], dict[str, str], str | None]:
    """Have the sidecar listen where nobody else does, or leave it out where it can't run.

    Args:
        kinds: the processes of this `up`.
        environment: of the processes; where it names an address, that is kept.
        announce: told what was left out.

    Returns:
        The processes and their environment, and the address of the operators' pages; None where there are none.
    """
    if not any(kind.command == _COMMAND for kind in kinds):
        return list(kinds), dict(environment), None
    missing = missing_libraries()
    if missing:
        # Started, it would end at once, and be started again for ever.
        announce(f"the sidecar is not started, since {', '.join(missing)} is not installed: {INSTALL}")
        return [kind for kind in kinds if kind.command != _COMMAND], dict(environment), None
    listen = environment.get(LISTEN) or f"{ports.LOOPBACK}:{_free_port()}"
    host, _, port = listen.rpartition(":")
    return list(kinds), {**environment, LISTEN: listen}, f"http://{_ANY_ADDRESS.get(host, host)}:{port}/"


def _free_port() -> int:
    return USUAL_PORT if ports.is_free(USUAL_PORT) else ports.find_free()
