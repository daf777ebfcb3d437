#!/usr/bin/env python3
"""Make what compose.yaml mounts as secrets, in the folder `secrets` beside this file. Needs Python alone.

    python3 deploy/compose/make_secrets.py

A file that is there is kept, so it can be run again. It prints the token for the operators' pages, which is kept
nowhere. Slack, PagerDuty and the webhook get placeholders: put yours into slack_url, pagerduty_key and
alert_webhook_token.
"""

import base64
import hashlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
#: Readable by each container's user; the folder is its owner's alone, so others on this machine can't.
FILE_MODE, FOLDER_MODE = 0o444, 0o700
#: A name that never resolves: notifications fail, and Alertmanager says so, until a real one stands here.
NO_SLACK = "https://slack.invalid/services/none"


class Secrets:
    """A folder of secrets, one a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        folder.chmod(FOLDER_MODE)

    def get(self, name: str, make: Callable[[], str]) -> str:
        """The content of a file, made now where there is none."""
        path = self._folder / name
        if not path.exists():
            path.write_text(make(), encoding="utf-8")
            path.chmod(FILE_MODE)
        return path.read_text(encoding="utf-8")


def make_all(folder: Path) -> str | None:
    """Make what is missing; returns the token of the operators' pages where that was."""
    kept = Secrets(folder)
    postgres, app = kept.get("postgres_password", _password), kept.get("app_password", _password)
    kept.get("migration_database_url", lambda: f"postgresql://postgres:{postgres}@postgres:5432/penstock")
    kept.get("database_url", lambda: f"postgresql://penstock_app:{app}@postgres:5432/penstock")
    _make_redis(kept)
    kept.get("api_key_secret", lambda: f"k1:{_password()}")
    kept.get("token_keys", lambda: f"k1:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}")
    kept.get("sidecar_secret", _password)
    kept.get("grafana_password", _password)
    kept.get("slack_url", lambda: NO_SLACK)
    kept.get("pagerduty_key", lambda: "none")
    kept.get("alert_webhook_token", _password)
    return _make_credential(kept)


def _make_redis(kept: Secrets) -> None:
    passwords: list[str] = []

    def url() -> str:
        passwords.append(_password())
        return f"redis://penstock:{passwords[-1]}@redis:6379/0"

    password = kept.get("redis_url", url).partition("penstock:")[2].rpartition("@")[0]
    digest = hashlib.sha256(password.encode()).hexdigest()
    # All that Penstock asks, and nothing that empties, stops or reconfigures the server.
    may = "~* &* +@all -@admin +config|get -flushall -flushdb -swapdb -debug -shutdown -replicaof -migrate"
    kept.get("redis_users.acl", lambda: f"user default off\nuser penstock on #{digest} {may}\n")


def _make_credential(kept: Secrets) -> str | None:
    tokens: list[str] = []

    def line() -> str:
        tokens.append(f"pst_{secrets.token_urlsafe(32)}")
        return f"admin:admin:{hashlib.sha256(tokens[0].encode()).hexdigest()}\n"

    kept.get("sidecar_credentials", line)
    return tokens[0] if tokens else None


def _password() -> str:
    """256 random bits, in letters that need no quoting in an address."""
    return secrets.token_urlsafe(32)


def main() -> int:
    """Make them, and say what is to be kept."""
    token = make_all(FOLDER)
    print(f"secrets are in {FOLDER}")
    if token:
        print(f"token of the operator `admin`, shown this once: {token}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
