"""What goes to Redis from this process."""

import pytest
from redis.connection import AbstractConnection


def sent_from_here(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What this process sends to any Redis from now on; of the server's own figures others have their part."""
    sent: list[object] = []
    real = AbstractConnection.send_packed_command

    def send(self: AbstractConnection, command: object, *arguments: object, **options: object) -> object:
        sent.append(command)
        return real(self, command, *arguments, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(AbstractConnection, "send_packed_command", send)
    return sent
