"""One master, two replicas and three Sentinels that agree on a new master within seconds."""

import secrets
from contextlib import ExitStack
from typing import Self

import redis

from penstock.workers.embedded import ports
from tests.recovery.servers import OwnValkey, ValkeyProcess
from tests.system import wait_for

SERVICE = "main"
_SENTINELS = 3
_QUORUM = 2


class SentinelTrio:
    """Starts all six; `url` is the `redis+sentinel://` address.

    Args:
        appendfsync: of the servers' append-only files.
        down_after_ms: a server that is silent for so long is down.
    """

    def __init__(self, *, appendfsync: str = "everysec", down_after_ms: int = 1_000) -> None:
        self._appendfsync = appendfsync
        self._down_after_ms = down_after_ms
        self._stack = ExitStack()
        self._password = secrets.token_hex(8)
        self.servers: list[OwnValkey] = []
        self.sentinels: list[ValkeyProcess] = []

    @property
    def url(self) -> str:
        """The address that `connect` takes."""
        hosts = ",".join(f"{ports.LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        login = f":{self.servers[0].password}@"
        return f"redis+sentinel://{login}{hosts}/{SERVICE}/0?sentinel_password={self._password}"

    def master(self) -> OwnValkey:
        """The server that the first Sentinel that runs holds to be master."""
        asked = next(sentinel for sentinel in self.sentinels if sentinel.is_running())
        with asked.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == port)

    def replicas(self) -> list[OwnValkey]:
        """The servers besides the master."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    def wait_until_whole(self) -> None:
        """Wait until every Sentinel sees the master, both replicas and its two peers, all of them up."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                wait_for(lambda asked=client: self._sees_all(asked), "the Sentinels to see everything")

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        master = self._stack.enter_context(OwnValkey(appendfsync=self._appendfsync))
        self.servers.append(master)
        for _ in range(2):
            replica = OwnValkey(appendfsync=self._appendfsync, replica_of=master)
            self.servers.append(self._stack.enter_context(replica))
        for _ in range(_SENTINELS):
            sentinel = ValkeyProcess(self._lines(master), password=self._password, sentinel=True)
            self.sentinels.append(self._stack.enter_context(sentinel))
        self.wait_until_whole()

    def _lines(self, master: OwnValkey) -> dict[str, str]:
        return {
            "sentinel monitor": f"{SERVICE} {ports.LOOPBACK} {master.port} {_QUORUM}",
            "sentinel auth-pass": f"{SERVICE} {master.password}",
            "sentinel down-after-milliseconds": f"{SERVICE} {self._down_after_ms}",
            "sentinel failover-timeout": f"{SERVICE} 3000",
            "sentinel parallel-syncs": f"{SERVICE} 2",
        }

    def _sees_all(self, client: "redis.Redis") -> bool:
        state = client.sentinel_masters()[SERVICE]
        replicas = client.sentinel_slaves(SERVICE)
        return (
            state["num-other-sentinels"] == _SENTINELS - 1
            and state["flags"] == "master"
            and len(replicas) == 2
            and all(replica["flags"] == "slave" and replica["master-link-status"] == "ok" for replica in replicas)
        )
