"""The settings: all that can be read, and none that nobody reads."""

import re
from collections.abc import Iterator

from penstock.producers.gateway.settings import GatewaySettings
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.credentials import parse_credentials
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

_MODELS = (WorkerSettings, GatewaySettings, BackupSettings)
#: What Kubernetes puts into pods for Services that begin so, and what Compose's file reads by itself.
_OF_OTHERS = re.compile(r"PENSTOCK_(IMAGE|\w+_SERVICE_(HOST|PORT\w*)|\w+_PORT(_\d+_\w+)?)$")


def check_settings(target: Target) -> Iterator[Result]:
    """What else the environment sets: the gateway's, the backups', the sidecar's.

    Raises:
        InvalidInputError: `CONFIG_INVALID`, naming every setting at fault and never its value.
    """
    GatewaySettings.from_environment(target.environ)
    if _is_set(target, "PENSTOCK_BACKUP_DIR"):
        BackupSettings.from_environment(target.environ)
    parse_credentials(target.settings.sidecar_credentials)
    unknown = _unknown(target)
    if unknown:
        told = f"nobody reads {', '.join(unknown)}"
        yield Result.warn("settings", told, "See docs/configuration.md for the name that is meant, or unset it.")
        return
    yield Result.ok("settings", "all can be read")


def _is_set(target: Target, name: str) -> bool:
    return bool(target.environ.get(name) or target.environ.get(f"{name}_FILE"))


def _unknown(target: Target) -> list[str]:
    known = {str(field.alias) for model in _MODELS for field in model.model_fields.values()}
    named = sorted(name for name in target.environ if name.startswith("PENSTOCK_") and not _OF_OTHERS.match(name))
    return [name for name in named if name not in known and name.removesuffix("_FILE") not in known]
