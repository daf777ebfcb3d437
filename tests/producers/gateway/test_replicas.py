"""Two gateways beside each other: what one is told holds at the other."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from penstock.schemas.api_key import Scope
from tests.producers.gateway.gateway_kit import FORM, FORM_ID, Gateway, lines, serving
from tests.producers.gateway.key_kit import SECRET, Desk, Made
from tests.system import Database, WorkerProcess, wait_for

PATH = f"/v1/forms/{FORM_ID}/submissions"


@pytest.fixture(scope="module")
def replicas(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    env = {"PENSTOCK_API_KEY_SECRET": SECRET}
    folder = tmp_path_factory.mktemp("replicas")
    with serving(environment, folder, **env) as one, serving(environment, folder, **env) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def desk(database: Database) -> Desk:
    return Desk(database)


@pytest.fixture(scope="module")
def made(desk: Desk, replicas: list[Gateway]) -> Made:
    """A key that may do everything; there is a form."""
    key = desk.make(scopes=list(Scope))
    answer = replicas[0].ask("PUT", f"/v1/forms/{FORM_ID}", json=FORM, headers={"Authorization": key.header})
    assert answer.status_code == 201
    return key


@dataclass(slots=True)
class Asker:
    """Asks a gateway with a key over one connection, again and again, until it is refused."""

    gateway: Gateway
    key: Made
    statuses: list[int] = field(default_factory=list)
    last_good_at: float = 0.0

    def ask(self) -> None:
        with httpx.Client(headers={"Authorization": self.key.header}, timeout=60) as client:
            while not self.statuses or self.statuses[-1] == 404:
                began = time.monotonic()
                self.statuses.append(client.get(f"{self.gateway.url}/v1/batches/none").status_code)
                if self.statuses[-1] == 404:
                    self.last_good_at = began


def test_a_revoked_key_is_refused_by_each_gateway_within_two_seconds(replicas: list[Gateway], desk: Desk) -> None:
    key = desk.make(scopes=[Scope.STATUS_READ])
    askers = [Asker(gateway, key) for gateway in replicas for _ in range(2)]
    threads = [threading.Thread(target=asker.ask) for asker in askers]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(len(asker.statuses) > 20 for asker in askers), "the key to be in use everywhere")
    desk.revoke(key)
    revoked_at = time.monotonic()
    for thread in threads:
        thread.join(60)
    assert [asker.statuses[-1] for asker in askers] == [401] * 4
    # A request that began later was refused, however loaded the machine is.
    assert max(asker.last_good_at for asker in askers) < revoked_at + 2
    for gateway in replicas:
        answer = gateway.ask("GET", "/v1/batches/none", headers={"Authorization": key.header})
        assert answer.json()["code"] == "AUTH_TOKEN_INVALID"


def test_equal_requests_at_both_are_one_batch_and_another_body_is_in_conflict(
    replicas: list[Gateway], made: Made, worker: WorkerProcess, database: Database
) -> None:
    bodies = [json.dumps({"submissions": [{"answers": {"q": text}}]}) for text in ("one", "other")]
    headers = {"Idempotency-Key": "race", "Content-Type": "application/json", "Authorization": made.header}

    def send(number: int) -> tuple[int, int, str]:
        answer = replicas[number % 2].ask("POST", PATH, content=bodies[number % 4 // 2], headers=headers)
        return number % 4 // 2, answer.status_code, answer.text

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(send, range(100)))
    winners = {body for body, status, _ in answers if status == 202}
    assert len(winners) == 1
    (winner,) = winners
    assert {status for body, status, _ in answers if body == winner} == {202}
    assert len({text for body, _, text in answers if body == winner}) == 1
    refused = [json.loads(text) for body, status, text in answers if body != winner and status == 409]
    assert len(refused) == 50
    assert {(told["code"], told["accepted"]["rows"]) for told in refused} == {("BATCH_CONFLICT", 0)}
    stored = "SELECT answers ->> 'q' FROM penstock.submissions WHERE batch_id LIKE 'race-%%'"
    wait_for(lambda: database.query(stored) != [], "the batch to be stored")
    assert database.query(stored) == [(("one", "other")[winner],)]


def test_a_stream_that_one_began_is_completed_by_the_other(
    replicas: list[Gateway], made: Made, worker: WorkerProcess, database: Database
) -> None:
    headers = {"Authorization": made.header}
    broken = replicas[0].stream(lines(1_700) + b"{", key="handed", **headers)
    assert (broken.status_code, broken.json()["accepted"]["rows"]) == (400, 1_000)
    whole = replicas[1].stream(lines(1_800), key="handed", **headers)
    assert (whole.status_code, whole.json()["rows"]) == (202, 1_800)
    count = "SELECT count(*) FROM penstock.submissions WHERE batch_id LIKE 'handed-%%'"
    wait_for(lambda: database.value(count) == 1_800, "every row")
