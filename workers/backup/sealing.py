"""The encrypted file of a dump: written and read in frames, so that a dump of any size takes little memory.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015), as `age` uses it: frames of one size, each
encrypted by AES-256-GCM under a key of the file's own, with its number and whether it is the last one as its nonce.
The header is authenticated with every frame. So a changed byte, a frame in another place, a missing end and bytes
after the end are all noticed, and nothing of a frame is given out before it was checked.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.backup.keys import BackupKeys, Lock

FRAME_BYTES = 256 * 1024
TAG_BYTES = 16

_MAGIC = b"penstock backup 1\n"
_LENGTH_BYTES = 2
_USE = b"dump"


@dataclass(frozen=True, slots=True)
class Header:
    """What stands at a file's beginning, in clear."""

    backup: str
    lock: Lock

    def as_bytes(self) -> bytes:
        """The header as it is written, and as every frame is bound to it."""
        lock = {"key_id": self.lock.key_id, "salt": self.lock.salt.hex(), "check": self.lock.check.hex()}
        text = json.dumps({"backup": self.backup, **lock}, sort_keys=True).encode()
        return _MAGIC + len(text).to_bytes(_LENGTH_BYTES, "big") + text


class SealedWriter:
    """Encrypts what is written to it.

    Attributes:
        count: bytes of the file so far.
    """

    def __init__(self, file: BinaryIO, keys: BackupKeys, backup: str) -> None:
        header = Header(backup, keys.lock())
        self.count = 0
        self._file = file
        self._header = header.as_bytes()
        self._cipher = AESGCM(keys.unlock(header.lock, _USE))
        self._digest = hashlib.sha256()
        self._frame = 0
        self._held = bytearray()
        self._put(self._header)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add `data`. A frame is kept back until more follows, since the last one is marked."""
        self._held += data
        while len(self._held) > FRAME_BYTES:
            self._seal(bytes(self._held[:FRAME_BYTES]), is_last=False)
            del self._held[:FRAME_BYTES]

    def finish(self) -> None:
        """Write the last frame. A file without it is refused, so call it when all went well, and only then."""
        self._seal(bytes(self._held), is_last=True)
        self._held.clear()

    def _seal(self, data: bytes, *, is_last: bool) -> None:
        self._put(self._cipher.encrypt(_nonce(self._frame, is_last=is_last), data, self._header))
        self._frame += 1

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.count += len(data)


class SealedReader:
    """Decrypts a file that a `SealedWriter` wrote; every method raises `STORAGE_BACKUP_DAMAGED` where it is another.

    Args:
        file: at its beginning.
        keys: of which one is the file's.
        backup: the name that the file must bear, so that none can stand in for another.

    Raises:
        PenstockError: `STORAGE_BACKUP_DAMAGED` or `STORAGE_BACKUP_KEY_UNKNOWN`.
    """

    def __init__(self, file: BinaryIO, keys: BackupKeys, backup: str) -> None:
        self._file = file
        self._header, header = _read_header(file)
        if header.backup != backup:
            raise damaged(f"the file of {backup} is that of {header.backup[:80]}")
        self._cipher = AESGCM(keys.unlock(header.lock, _USE))
        self._digest = hashlib.sha256(self._header)
        self._frame = 0
        self._clear = b""
        self._sealed = file.read(FRAME_BYTES + TAG_BYTES)
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Some bytes, `size` at the most; none at the end, which was authenticated then."""
        while not self._clear and not self._ended:
            self._clear = self._open()
        cut = len(self._clear) if size < 0 else size
        found, self._clear = self._clear[:cut], self._clear[cut:]
        return found

    def require_end(self, sha256: str) -> None:
        """See that nothing is left, and that the whole file is the one of that SHA-256."""
        if self.read() or self._digest.hexdigest() != sha256:
            raise damaged("the file is not the one that its manifest describes")

    def _open(self) -> bytes:
        sealed, following = self._sealed, self._file.read(FRAME_BYTES + TAG_BYTES)
        self._digest.update(sealed)
        nonce = _nonce(self._frame, is_last=not following)
        try:
            clear = self._cipher.decrypt(nonce, sealed, self._header)
        except (InvalidTag, ValueError):
            told = "or its end is missing" if not following else "or stands in another's place"
            raise damaged(f"frame {self._frame} of the file was changed, {told}") from None
        self._frame, self._sealed, self._ended = self._frame + 1, following, not following
        return clear


def damaged(told: str) -> PenstockError:
    """The error of files that are not what was written."""
    return PenstockError(Code.STORAGE_BACKUP_DAMAGED, told)


def _nonce(frame: int, *, is_last: bool) -> bytes:
    return frame.to_bytes(11, "big") + bytes([is_last])


def _read_header(file: BinaryIO) -> tuple[bytes, Header]:
    begin = file.read(len(_MAGIC) + _LENGTH_BYTES)
    if not begin.startswith(_MAGIC):
        raise damaged("the file does not begin as a backup does")
    text = file.read(int.from_bytes(begin[len(_MAGIC) :], "big"))
    try:
        found = json.loads(text)
        lock = Lock(str(found["key_id"]), bytes.fromhex(found["salt"]), bytes.fromhex(found["check"]))
        return begin + text, Header(str(found["backup"]), lock)
    except (ValueError, KeyError, TypeError):
        raise damaged("the file's header can't be read") from None
