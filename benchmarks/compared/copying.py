"""The limit: COPY of the rows into the same table, with blocks that were made before the clock starts."""

import threading
import time
from collections.abc import Sequence

import psycopg

from benchmarks.compared.servers import Servers
from benchmarks.compared.work import COPY_TEXT, text_block
from penstock.workers.demo import FORM_ID
from penstock.workers.submissions.copy_block import COLUMNS, copy_block, rows_block
from penstock.workers.submissions.identities import Identity
from penstock.workers.submissions.rows import judge_rows

BATCH_ROWS = 1_000
_COPY_BINARY = f"COPY penstock.submissions ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"


class Copying:
    """Blocks of rows, in the order in which they come, with ids that are as random as those that are stored."""

    def __init__(self, servers: Servers, rows: Sequence[bytes]) -> None:
        self._servers = servers
        self._rows = len(rows)
        pieces = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
        self._blocks = {
            "text": [self._text(number, piece) for number, piece in enumerate(pieces)],
            "binary": [self._binary(number, piece) for number, piece in enumerate(pieces)],
        }

    def _text(self, number: int, rows: Sequence[bytes]) -> bytes:
        answers = [row.removeprefix(b'{"answers":').removesuffix(b"}") for row in rows]
        return text_block(answers, f"copy-{number}", self._servers.form.form_key)

    def _binary(self, number: int, rows: Sequence[bytes]) -> bytes:
        received_us = int(time.time() * 1_000_000)
        content = b"[" + b",".join(rows) + b"]"
        accepted = judge_rows(content, self._servers.form, Identity(f"copy-{number}", 0, received_us)).accepted
        block = rows_block(
            accepted,
            form_key=self._servers.form.form_key,
            form_id=FORM_ID,
            batch_id=f"copy-{number}",
            received_us=received_us,
        )
        return copy_block([block])

    def measure(self, form: str, connections: int) -> float:
        """Rows a second of so many connections, each in one transaction. `form` is `text` or `binary`.

        Raises:
            RuntimeError: rows are missing afterwards.
        """
        self._servers.clean()
        blocks, statement = self._blocks[form], (COPY_TEXT if form == "text" else _COPY_BINARY).encode()
        ready = threading.Barrier(connections + 1)
        threads = [
            threading.Thread(target=self._copy, args=(statement, blocks[place::connections], ready))
            for place in range(connections)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        stored = self._servers.count("SELECT count(*) FROM penstock.submissions")
        if stored != self._rows:
            raise RuntimeError(f"{stored} of {self._rows} rows were stored: the measurement is void")
        return self._rows / seconds

    def _copy(self, statement: bytes, blocks: Sequence[bytes], ready: threading.Barrier) -> None:
        with psycopg.connect(self._servers.admin_url) as connection:
            connection.execute("SELECT 1")
            ready.wait()
            for block in blocks:
                with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write(block)
