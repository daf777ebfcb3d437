import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.privileges import Identity
from penstock.workers.embedded.valkey import EmbeddedValkey
from tests.workers.embedded.processes import Script


@pytest.fixture
def run() -> Iterator[Callable[..., Script]]:
    """Starts scripts, and kills those that the test left."""
    scripts: list[Script] = []

    def start(source: str, *arguments: object, identity: Identity | None = None) -> Script:
        scripts.append(Script(source, *arguments, identity=identity))
        return scripts[-1]

    yield start
    for script in scripts:
        script.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone may enter, below no closed one (as `tmp_path` is)."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with Home(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture(scope="module")
def postgres(module_home: Home) -> Iterator[EmbeddedPostgres]:
    """A server that each test leaves running, or that the next one starts."""
    server = EmbeddedPostgres(module_home, settings={"fsync": "off"})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def valkey(module_home: Home) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(module_home, appendfsync="always")
    yield server
    server.stop()
