"""A shop's service that keeps reviews, and has Penstock judge and store their answers.

POST /reviews         one review, in one transaction with its job
POST /imports/NAME    reviews by the thousand, one JSON object a line, handed on over HTTP as they come
GET  /status/BATCH    what became of either
"""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from penstock.producers.http_client import HttpProducer
from penstock.schemas.errors import ConflictError, InvalidInputError, NotFoundError, PenstockError

FORM_ID = "guest-reviews"
FORM = {
    "title": "How was it?",
    "questions": [
        {"id": "name", "text": "Your name", "type": "text", "required": True},
        {"id": "stars", "text": "Stars", "type": "rating", "max": 5},
    ],
}
ADD = "INSERT INTO shop.reviews (id, name, stars) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"
ENQUEUE = "SELECT penstock.enqueue('submission_batch.write', %s, idempotency_key => %s)"
#: Bytes of a review, and of a line of a file.
BODY_LIMIT = 1_000_000
STATUSES = ((NotFoundError, 404), (ConflictError, 409), (InvalidInputError, 422))


class Shop:
    """What the service does, without HTTP."""

    def __init__(self, pool: ConnectionPool, penstock: HttpProducer) -> None:
        self._pool = pool
        self._penstock = penstock

    def add_review(self, review: dict[str, Any]) -> dict[str, Any]:
        """Keep a review. It and its job are committed together; sent again, both are there already."""
        review_id, name, stars = str(UUID(review["id"])), str(review["name"]), int(review["stars"])
        batch_id = f"review-{review_id}"
        rows = [{"answers": {"name": name, "stars": stars}}]
        with self._pool.connection() as connection:  # commits at the end, or rolls back
            connection.execute(ADD, (review_id, name, stars))
            payload = {"form_id": FORM_ID, "batch_id": batch_id, "submissions": rows}
            connection.execute(ENQUEUE, (Jsonb(payload), batch_id))
        return {"id": review_id, "batch_id": batch_id}

    def add_file(self, name: str, lines: Iterator[bytes]) -> dict[str, Any]:
        """Hand on reviews of any number, in little memory. The same file with the same name is the same work."""
        rows = ({"answers": json.loads(line)} for line in lines if line.strip())
        told = self._penstock.submit(FORM_ID, rows, batch_id=name)
        return {"rows": told.rows, "batch_id": name}

    def status(self, batch_id: str) -> dict[str, Any] | None:
        """What became of a review or a file; None where nobody knows it."""
        found = self._penstock.batch(batch_id)
        return None if found is None else {"state": found.state, "stored": found.stored, "rejected": found.rejected}


class Requests(BaseHTTPRequestHandler):
    """HTTP for the shop."""

    shop: Shop

    def do_POST(self) -> None:
        """Take one review, or a file of them."""
        _, kind, name, *_ = [*self.path.split("/"), ""]
        if kind == "reviews":
            body = self.rfile.read(min(self._length, BODY_LIMIT))
            self._answer(201, lambda: self.shop.add_review(json.loads(body)))
        elif kind == "imports" and name:
            self._answer(202, lambda: self.shop.add_file(name, self._lines()))
        else:
            self._send(404, {"error": "there is nothing here"})

    def do_GET(self) -> None:
        """Tell what became of a batch."""
        _, kind, name, *_ = [*self.path.split("/"), ""]
        found = kind == "status" and self._answer(200, lambda: self.shop.status(name))
        if not found:
            self._send(404, {"error": "there is nothing here"})

    @property
    def _length(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def _lines(self) -> Iterator[bytes]:
        left = self._length
        while left > 0 and (line := self.rfile.readline(min(left, BODY_LIMIT))):
            left -= len(line)
            yield line

    def _answer(self, status: int, work: Any) -> bool:
        """Do the work and tell of it; False where there was nothing to tell."""
        try:
            told = work()
        except (KeyError, TypeError, ValueError) as error:
            self._send(422, {"error": f"that is no review: {type(error).__name__}"})
        except psycopg.errors.UniqueViolation as error:
            # penstock.enqueue knows the key with another payload; the review was rolled back with it.
            self._send(409, {"error": str(error.diag.message_primary)})
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            self._send(422, {"error": str(error.diag.message_primary)})
        except psycopg.OperationalError:
            self._send(503, {"error": "the shop's database is away"}, retry_after=5)
        except PenstockError as error:
            status = next((code for kind, code in STATUSES if isinstance(error, kind)), 503)
            wait = getattr(error, "retry_after", None)
            told = {"error": error.message, "code": str(error.code)}
            self._send(status, told, retry_after=5 if wait is None else int(wait.total_seconds()) + 1)
        else:
            if told is None:
                return False
            self._send(status, told)
        return True

    def _send(self, status: int, told: dict[str, Any], retry_after: int = 0) -> None:
        body = json.dumps(told).encode() + b"\n"
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", str(retry_after))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Apply the form, and serve until the process is ended."""
    gateway, key = os.environ.get("PENSTOCK_URL", "http://localhost:8080"), os.environ.get("PENSTOCK_API_KEY")
    with (
        HttpProducer(gateway, api_key=key) as penstock,
        ConnectionPool(os.environ["SHOP_DATABASE_URL"], max_size=8, open=True) as pool,
        ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8090"))), Requests) as server,
    ):
        penstock.put_form(FORM_ID, FORM)
        Requests.shop = Shop(pool, penstock)
        print(f"the shop listens on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
