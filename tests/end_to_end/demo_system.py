"""`make run` in a home of its own, for pages and examples that a newcomer tries on it."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from penstock.workers.embedded.home import read_servers
from tests.end_to_end.test_up_sidecar import Up
from tests.recovery.servers import free_port
from tests.system import BIN


@dataclass(frozen=True, slots=True)
class DemoSystem:
    """A running `penstock up --demo` that has stored its rows and published its posts."""

    up: Up
    home: Path
    gateway_url: str

    def value(self, statement: str) -> object:
        """The one value that a statement gives, asked as the owner of everything."""
        servers = read_servers(self.home)
        assert servers is not None
        with psycopg.connect(servers.admin_database_url or "") as connection:
            found = connection.execute(statement.encode()).fetchone()
        assert found is not None
        return found[0]


@pytest.fixture(scope="module")
def demo_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSystem]:
    """One for the module; it has to stop cleanly."""
    home = tmp_path_factory.mktemp("demo") / "home"
    listen = f"127.0.0.1:{free_port()}"
    variables = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(home.parent),
        "PENSTOCK_HOME": str(home),
        "PENSTOCK_GATEWAY_LISTEN": listen,
        "PENSTOCK_SIDECAR_LISTEN": f"127.0.0.1:{free_port()}",
    }
    process = subprocess.Popen(
        [BIN / "penstock", "up", "--demo"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    up = Up(process)
    try:
        up.wait_for_line("none of them twice")
        yield DemoSystem(up, home, f"http://{listen}")
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(90)
        up.reader.join(60)
        assert process.stdout is not None
        process.stdout.close()
    assert code == 0, up.text()
    assert "Traceback" not in up.text()
