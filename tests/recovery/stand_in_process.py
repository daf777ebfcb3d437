"""The platforms' stand-in in a process of its own, as a trial needs it: no kill or stall of the test touches it."""

import subprocess
import sys
from typing import Any, Self

import httpx

from tests.recovery.servers import free_port
from tests.system import wait_for


class StandInProcess:
    """A running stand-in, asked over HTTP. Use it as a context manager."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        # No connection is kept: the stand-in has a thread for each.
        self._client = httpx.Client(
            base_url=f"{self.url}/__ctl", timeout=20, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "penstock.workers.stand_in", self.url.rpartition(":")[2], "--quiet"]
        self._process = subprocess.Popen(command)
        wait_for(self._answers, "the stand-in to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def file(self, name: str, size: int = 1_000) -> str:
        """The address of a file of so many bytes."""
        return f"{self.url}/files/{name}?bytes={size}"

    def publications(self, account: str = "") -> list[dict[str, Any]]:
        """What was published, oldest first; of one account where it is named."""
        listed: list[dict[str, Any]] = self._get("publications")["items"]
        return [one for one in listed if account in {"", one["account"]}]

    def doubles(self) -> list[dict[str, Any]]:
        """What was published twice."""
        listed: list[dict[str, Any]] = self._get("doubles")["items"]
        return listed

    def calls(self) -> dict[str, int]:
        """How many calls came in, by operation."""
        found: dict[str, int] = self._get("calls")
        return found

    def drawn(self) -> dict[str, int]:
        """How often shares chose each fault."""
        found: dict[str, int] = self._get("drawn")
        return found

    def play(self, scenario: str, account: str = "") -> None:
        """Set up a scenario for one account, or for all."""
        self._post("scenario", name=scenario, account=account)

    def fail(self, operation: str, fault: str, *, times: int = 1, after: int = 0, account: str = "") -> None:
        """Have calls of an operation fail."""
        self._post("faults", operation=operation, fault=fault, times=times, after=after, account=account)

    def turn(self, account: str = "", **knobs: Any) -> None:
        """Turn knobs of one account, or of all."""
        self._post("knobs", account=account, knobs=knobs)

    def seed(self, seed: int, shares: dict[str, float]) -> None:
        """Have shares of all calls fail."""
        self._post("seed", seed=seed, shares=shares)

    def clear(self) -> None:
        """Nothing fails from now on; knobs stay as they are."""
        self._post("clear")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the stand-in ended"
        try:
            return self._client.get("calls").status_code == 200
        except httpx.TransportError:
            return False

    def _get(self, asked: str) -> Any:
        return self._client.get(asked).raise_for_status().json()

    def _post(self, asked: str, **fields: Any) -> None:
        self._client.post(asked, json=fields).raise_for_status()
