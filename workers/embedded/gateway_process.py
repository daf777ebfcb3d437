"""The gateway among the processes of `up`: whether it can run at all, and where it listens."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from penstock.workers.embedded import ports
from penstock.workers.embedded.procfile import ProcessType

LISTEN = "PENSTOCK_GATEWAY_LISTEN"
INSTALL = "pip install 'penstock[gateway]'"
#: The one of the setting's default; the next `up` of a machine gets another one.
USUAL_PORT = 8080

#: Of the extra `gateway`, as they are imported.
LIBRARIES = ("starlette", "uvicorn", "httptools", "uvloop")
_COMMAND = ("penstock", "gateway")


def missing_libraries() -> list[str]:
    """The gateway's libraries that are not installed here."""
    return [name for name in LIBRARIES if find_spec(name) is None]


def place_gateway(
    kinds: Sequence[ProcessType], environment: Mapping[str, str], announce: Callable[[str], None]
) -> tuple[list[ProcessType], dict[str, str]]:
    """Have the gateway listen where nobody else does, or leave it out where it can't run.

    Args:
        kinds: the processes of this `up`.
        environment: of the processes; where it names an address, that is kept.
        announce: told the address, or why there is none.

    Returns:
        The processes and their environment.
    """
    if not any(kind.command == _COMMAND for kind in kinds):
        return list(kinds), dict(environment)
    missing = missing_libraries()
    if missing:
        # Started, it would end at once, and be started again for ever.
        announce(f"the gateway is not started, since {', '.join(missing)} is not installed: {INSTALL}")
        return [kind for kind in kinds if kind.command != _COMMAND], dict(environment)
    listen = environment.get(LISTEN) or f"{ports.LOOPBACK}:{_free_port()}"
    announce(f"the gateway: http://{listen}/v1/docs")
    return list(kinds), {**environment, LISTEN: listen}


def _free_port() -> int:
    return USUAL_PORT if ports.is_free(USUAL_PORT) else ports.find_free()
