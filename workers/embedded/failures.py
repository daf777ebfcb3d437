"""How this room says that a server or its home can't be used."""

from penstock.schemas.errors import Code, PenstockError


class EmbeddedServerError(PenstockError):
    """Raised when an embedded server can't be installed, started or reached."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(Code.STORAGE_EMBEDDED_FAILED, message, remedy=remedy)


class HomeError(PenstockError):
    """Raised when the folder PENSTOCK_HOME can't be used as it is."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(Code.CONFIG_INVALID, message, remedy=remedy)
