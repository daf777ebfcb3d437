"""The example services run against what `make run` starts, as docs/examples/README.md says."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.debian import require_program
from tests.end_to_end.demo_system import DemoSystem, demo_system
from tests.producers.gateway.gateway_kit import serving
from tests.recovery.servers import free_port
from tests.system import wait_for

__all__ = ["demo_system"]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
#: The library of the Node example comes from npm's registry, which not every machine reaches: it runs at full size. Its
#: text and its SQL are tried everywhere.
WITH_NPM = bool(os.environ.get("PENSTOCK_TEST_FULL"))
SHOPS = ["python_shop", "node_shop"] if WITH_NPM else ["python_shop"]


@dataclass(frozen=True, slots=True)
class Shop:
    """A running example."""

    url: str

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.request(method, f"{self.url}{path}", content=content, timeout=60)

    def review(self, name: str = "Ada", stars: int = 5, review_id: str = "") -> dict[str, Any]:
        return {"id": review_id or str(uuid4()), "name": name, "stars": stars}

    def wait_until_done(self, batch_id: str) -> dict[str, Any]:
        told: dict[str, Any] = {}

        def is_done() -> bool:
            told.update(self.ask("GET", f"/status/{batch_id}").json())
            return bool(told.get("state") == "done")

        wait_for(is_done, f"{batch_id} to be done")
        return told


@pytest.fixture(scope="module")
def shop_environment(demo_system: DemoSystem) -> dict[str, str]:
    """What the page's first command makes of a newcomer's shell."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(demo_system.home.parent)}
    environment |= {"PENSTOCK_HOME": str(demo_system.home), "PENSTOCK_URL": demo_system.gateway_url}
    for _ in range(2):  # a second time does no harm
        done = subprocess.run(
            [sys.executable, EXAMPLES / "set_up.py"], env=environment, capture_output=True, text=True, check=True
        )
    name, _, value = shlex.split(done.stdout)[1].partition("=")
    return environment | {name: value}


@pytest.fixture(scope="module")
def serve(shop_environment: dict[str, str]) -> Iterator[Callable[..., Shop]]:
    """Starts a service, and waits until it tells where it listens."""
    with ExitStack() as stack:

        def start(*command: str | Path, folder: Path | None = None, **env: str) -> Shop:
            variables = shop_environment | {"PORT": str(free_port())} | env
            process = stack.enter_context(
                subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.terminate)
            assert process.stdout is not None
            told = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert told is not None, process.poll()
            return Shop(told[0])

        yield start


@pytest.fixture(scope="module")
def python_shop(serve: Callable[..., Shop]) -> Shop:
    return serve(sys.executable, EXAMPLES / "python" / "reviews.py")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its library, as `npm ci` installs it."""
    require_program("node", "nodejs")
    npm = require_program("npm", "npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("reviews.mjs", "package.json", "package-lock.json"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def node_shop(serve: Callable[..., Shop], node_folder: Path) -> Shop:
    return serve("node", node_folder / "reviews.mjs", folder=node_folder)


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    return found


def test_a_review_and_its_job_are_committed_together(shop: Shop, demo_system: DemoSystem) -> None:
    review = shop.review()
    first, again = shop.ask("POST", "/reviews", review), shop.ask("POST", "/reviews", review)
    assert (first.status_code, again.status_code) == (201, 201), first.text
    assert first.json() == again.json() == {"id": review["id"], "batch_id": f"review-{review['id']}"}
    told = shop.wait_until_done(first.json()["batch_id"])
    assert (told["stored"], told["rejected"]) == (1, 0)
    stored = f"SELECT count(*) FROM penstock.submissions WHERE batch_id = 'review-{review['id']}'"
    assert demo_system.value(stored) == 1
    assert demo_system.value(f"SELECT count(*) FROM shop.reviews WHERE id = '{review['id']}'") == 1


def test_a_review_that_is_rolled_back_leaves_no_job(shop: Shop, demo_system: DemoSystem) -> None:
    refused = shop.review(stars=0)
    assert shop.ask("POST", "/reviews", refused).status_code == 422
    key = f"review-{refused['id']}"
    assert demo_system.value(f"SELECT count(*) FROM penstock.outbox WHERE idempotency_key = '{key}'") == 0
    assert shop.ask("GET", f"/status/{key}").status_code == 404


def test_another_review_under_a_known_id_is_a_conflict(shop: Shop, demo_system: DemoSystem) -> None:
    review = shop.review()
    assert shop.ask("POST", "/reviews", review).status_code == 201
    assert shop.ask("POST", "/reviews", review | {"name": "Grace"}).status_code == 409
    assert demo_system.value(f"SELECT name FROM shop.reviews WHERE id = '{review['id']}'") == "Ada"


@pytest.mark.parametrize("body", [b"", b"{", b"null", b'{"id": "x", "name": "Ada", "stars": 5}', b'{"name": "Ada"}'])
def test_what_is_no_review_is_refused(shop: Shop, body: bytes) -> None:
    assert shop.ask("POST", "/reviews", body).status_code == 422


def test_what_the_form_refuses_is_told(shop: Shop) -> None:
    told = shop.ask("POST", "/reviews", shop.review(stars=9)).json()
    done = shop.wait_until_done(told["batch_id"])
    assert (done["stored"], done["rejected"]) == (0, 1)


def test_the_sql_of_the_node_example_makes_the_job_of_the_python_one(
    python_shop: Shop, shop_environment: dict[str, str], demo_system: DemoSystem
) -> None:
    page = (EXAMPLES / "node" / "reviews.mjs").read_text(encoding="utf-8")
    node = require_program("node", "nodejs")
    checked = subprocess.run([node, "--check", EXAMPLES / "node" / "reviews.mjs"], check=False)
    assert checked.returncode == 0
    add, enqueue = (re.findall(rf'^const {name} = "(.+)";$', page, re.MULTILINE)[0] for name in ("ADD", "ENQUEUE"))
    review = python_shop.review()
    key = f"review-{review['id']}"
    submission = {"answers": {"name": review["name"], "stars": review["stars"]}}
    payload = {"form_id": "guest-reviews", "batch_id": key, "submissions": [submission]}
    # As Node's driver does, by the server's own parameters.
    with psycopg.connect(shop_environment["SHOP_DATABASE_URL"]) as connection:
        cursor = psycopg.RawCursor(connection)
        cursor.execute(add, [review["id"], review["name"], review["stars"]])
        cursor.execute(enqueue, ["submission_batch.write", json.dumps(payload), key])
    assert python_shop.ask("POST", "/reviews", review).status_code == 201
    assert python_shop.wait_until_done(key)["stored"] == 1
    assert demo_system.value(f"SELECT count(*) FROM penstock.submissions WHERE batch_id = '{key}'") == 1


if WITH_NPM:

    def test_both_languages_make_the_same_job(python_shop: Shop, node_shop: Shop, demo_system: DemoSystem) -> None:
        review = python_shop.review()
        told = [each.ask("POST", "/reviews", review) for each in (python_shop, node_shop, python_shop)]
        assert [answer.status_code for answer in told] == [201] * 3
        node_shop.wait_until_done(f"review-{review['id']}")
        stored = f"SELECT count(*) FROM penstock.submissions WHERE batch_id = 'review-{review['id']}'"
        assert demo_system.value(stored) == 1


def test_a_file_is_handed_on_as_it_comes_and_may_be_sent_again(python_shop: Shop, demo_system: DemoSystem) -> None:
    lines = b"".join(b'{"name": "Guest %d", "stars": %d}\n' % (number, number % 5 + 1) for number in range(2_345))
    for _ in range(2):
        answer = python_shop.ask("POST", "/imports/monday", lines)
        assert (answer.status_code, answer.json()) == (202, {"rows": 2_345, "batch_id": "monday"}), answer.text
    assert python_shop.wait_until_done("monday")["stored"] == 2_345
    assert demo_system.value("SELECT count(*) FROM penstock.submissions WHERE batch_id LIKE 'monday-%'") == 2_345
    assert python_shop.ask("POST", "/imports/monday", lines + b'{"name": "More", "stars": 1}\n').status_code == 409


def test_while_penstocks_door_is_closed_reviews_are_taken_all_the_same(
    serve: Callable[..., Shop], shop_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {name: value for name, value in shop_environment.items() if name != "PENSTOCK_URL"}
    with serving(environment, tmp_path) as gateway:
        shop = serve(sys.executable, EXAMPLES / "python" / "reviews.py", PENSTOCK_URL=gateway.url)
        gateway.kill()
    told = shop.ask("POST", "/reviews", shop.review())
    assert told.status_code == 201
    refused = shop.ask("GET", f"/status/{told.json()['batch_id']}")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


def test_the_shops_login_may_enqueue_and_nothing_else(shop_environment: dict[str, str]) -> None:
    with psycopg.connect(shop_environment["SHOP_DATABASE_URL"]) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT * FROM penstock.submissions")
    assert caught.value.sqlstate == "42501"


def test_the_page_names_all_variables_and_files() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in ("SHOP_DATABASE_URL", "PENSTOCK_URL", "PENSTOCK_API_KEY", "PORT"):
        assert f"`{name}`" in page
        for path in ("python/reviews.py", "node/reviews.mjs"):
            assert name in (EXAMPLES / path).read_text(encoding="utf-8")
            assert f"({path})" in page
    assert "http" not in (EXAMPLES / "node" / "package-lock.json").read_text(encoding="utf-8")
