"""What is made of measurements: medians, ratios, verdicts, tables and the chart. Nothing is measured here."""

import json
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from benchmarks.compared import board, page
from benchmarks.compared.__main__ import sizes_of
from benchmarks.compared.chart import Panel, draw
from benchmarks.compared.figures import Figure, best, median, ratio
from benchmarks.compared.goals import GOALS, Goal, judged
from benchmarks.compared.results import Results
from benchmarks.compared.senders import SyncSender
from benchmarks.compared.usual import batch_of_dicts
from benchmarks.compared.work import checked_answers, ledger_row, text_block
from benchmarks.memory import growth
from benchmarks.scaling import medians, told
from penstock.schemas.limits import Limits
from penstock.workers.demo import SUBMISSIONS_FILE
from penstock.workers.handover.files import open_submissions


def test_a_median_tells_the_spread() -> None:
    assert median([3, 1, 2]) == Figure(2, 1, 3)
    assert median([1, 2]) == Figure(1.5, 1, 2)


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_rounds() -> None:
    assert ratio([10, 20, 30], [10, 10, 15]) == Figure(2, 1, 2)


def test_the_best_of_those_that_were_measured() -> None:
    values = {"a": [1, 1, 9], "b": [2, 2, 2], "unmeasured": []}
    assert best(values, ("a", "b", "unmeasured", "missing")) == "b"
    assert best(values, ("missing",)) is None


@pytest.mark.parametrize(
    ("value", "most", "verdict"),
    [
        (1.25, False, "goal met"),
        (1.2, False, "floor met"),
        (0.99, False, "missed"),
        (0.9, True, "goal met"),
        (1.1, True, "missed"),
        (1.0, True, "floor met"),
    ],
)
def test_a_goal_says_whether_it_is_met(value: float, most: bool, verdict: str) -> None:
    floor, aim = (1.0, 0.9) if most else (1.0, 1.25)
    goal = Goal("one", lambda _: None, floor, aim, most)
    assert goal.verdict(Figure(value, value, value)) == verdict


def parts() -> dict[str, dict[str, object]]:
    """Two rounds of three parts."""
    a = {"penstock": [100.0, 120.0], "copy_text": [100.0, 100.0], "dramatiq": [50.0, 60.0], "taskiq": [80.0, 80.0]}
    b = {"penstock_bulk": [600.0, 600.0], "penstock": [200.0, 200.0], "dramatiq": [100.0, 100.0], "huey": [500.0] * 2}
    used = {"penstock": {"workers": [3.0, 5.0], "postgresql": [7.0, 7.0], "redis": [0.2, 0.4], "producer": [1.0, 1.0]}}
    return {
        "a": {"values": a, "processor_us": used},
        "b": {"values": b, "processor_us": {}},
        "e": {"values": {"penstock": [1.0, 2.0, 30.0]}, "processor_us": {}},
    }


def test_goals_are_judged_by_what_was_measured() -> None:
    rows = {row["goal"]: row for row in judged(parts())}
    assert len(rows) == len(GOALS) == 14
    assert rows["(a) rows/s ÷ COPY in text, one connection"]["figure"] == pytest.approx(1.1)
    assert rows["(a) rows/s ÷ best at-least-once system"]["figure"] == pytest.approx(110 / 80)
    # huey loses jobs that it had begun with: it is no bar.
    assert rows["(b) tiny jobs in bulk ÷ best at-least-once system"]["figure"] == 6
    assert rows["(b) tiny jobs one by one ÷ plain dramatiq"]["verdict"] == "floor met"
    assert rows["(e) pick-up on an idle queue, median, ms"]["verdict"] == "goal met"
    assert rows["(e) pick-up on an idle queue, longest, ms"]["verdict"] == "missed"
    assert "figure" not in rows["(a) rows/s ÷ Celery"]


def test_tables_name_who_was_measured_best_first() -> None:
    table = page.part_table(parts()["a"], "rows/s", least_first=False).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "Penstock",
        "COPY, text, 1 connection",
        "taskiq",
        "dramatiq, 8 threads",
    ]
    assert table[2] == "| Penstock | 110 | 100 to 120 | 4 | 7 | 0.3 | 1 |"
    assert table[3] == "| COPY, text, 1 connection | 100 | 100 to 100 |  |  |  |  |"
    pick_up = page.part_table(parts()["e"], "ms", least_first=True).splitlines()
    assert pick_up == ["| ms | median | rounds |", "|---|---|---|", "| Penstock | 2 | 1 to 30 |"]
    assert "| (a) rows/s ÷ Celery | not measured |" in page.goals_table(parts())
    assert page.label("penstock_bulk") == "Penstock, in bulk"


def test_the_page_tells_the_machine_and_how_much_was_measured(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", {"rounds": 5, "batches": 200, "tiny": 20_000})
    for part in ("a", "e"):
        results.begin(part, "rows/s")
        results.add(part, "penstock", 2.0)
    told = page.written(json.loads(results.path.read_text()))
    assert "\nMeasured: 5 rounds of 200 batches, 20,000 jobs.\n" in told
    assert " cores (" in told
    assert "load average " in told
    assert "| (e) pick-up on an idle queue, ms | median | rounds |" in told
    results.parts["e"]["options"]["rounds"] = 3
    results.write()
    told = page.written(json.loads(results.path.read_text()))
    assert "a: 5 rounds of 200 batches, 20,000 jobs; e: 3 rounds of" in told


def test_the_page_keeps_what_stands_around_the_figures() -> None:
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    assert page.replace_between(text, "new") == f"before\n{page.BEGIN}\n\nnew\n\n{page.END}\nafter\n"
    with pytest.raises(ValueError, match="marks"):
        page.replace_between("no marks", "new")


def test_the_chart_draws_a_bar_for_each_in_its_share_of_the_longest() -> None:
    root = ET.fromstring(
        draw([Panel("one & two", {"COPY": 200, "Penstock <x>": 100, "other": 50}), Panel("b", {"c": 1})])
    )
    name = "{http://www.w3.org/2000/svg}"
    bars = [bar for bar in root.iter(f"{name}rect") if bar.get("height") == "18"]
    widths = [int(bar.get("width", "0")) for bar in bars]
    assert widths[0] == 2 * widths[1] == 4 * widths[2] == widths[3]
    assert len({bar.get("fill") for bar in bars[:3]}) == 3
    texts = [text.text for text in root.iter(f"{name}text")]
    assert texts[:3] == ["one & two", "COPY", "200"]
    assert root.findtext(f"{name}title") == "one & two; b"


def test_results_are_kept_figure_by_figure_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = Results(path, {"rounds": 2})
    first.begin("a", "rows/s")
    first.add("a", "penstock", 110.0, {"workers": 0.000_004})
    first.add("a", "copy_text", 100.0)
    again = Results(path, {"rounds": 1})
    again.begin("e", "ms")
    again.add("e", "penstock", 1.5)
    told = json.loads(path.read_text())
    assert told["parts"]["a"]["values"] == {"penstock": [110.0], "copy_text": [100.0]}
    assert told["parts"]["a"]["processor_us"] == {"penstock": {"workers": [4.0]}}
    assert told["parts"]["a"]["options"] == {"rounds": 2}
    assert told["parts"]["e"]["values"] == {"penstock": [1.5]}
    assert told["goals"][0]["figure"] == pytest.approx(1.1)
    assert set(told["machine"]) == {"cores", "processor", "kernel", "memory_gib"}


def test_a_short_run_is_a_share_of_a_full_one() -> None:
    full, short = sizes_of(short=False, rounds=None, scale=1), sizes_of(short=True, rounds=2, scale=0.5)
    assert (full.rounds, full.batches, full.tiny, full.noops) == (5, 200, 20_000, 20_000)
    assert (short.rounds, short.batches) == (2, 25)
    assert short.tiny < full.tiny


def demo_rows(count: int) -> list[bytes]:
    with open_submissions(SUBMISSIONS_FILE, Limits()) as file:
        good = (row for row in file.rows() if b'"damage":"C"' not in row and b'"damage":"B"' not in row)
        return [row for row, _ in zip(good, range(count), strict=False)]


def test_the_others_check_answers_and_keep_them_as_they_came() -> None:
    rows = demo_rows(500)
    answers = checked_answers(b"[" + b",".join(rows) + b"]")
    assert [json.loads(one) for one in answers] == [json.loads(row)["answers"] for row in rows]
    with pytest.raises(msgspec.ValidationError, match="damage"):
        checked_answers(b"[" + rows[0].replace(b'"damage":"None"', b'"damage":"No"') + b"]")
    assert callable(batch_of_dicts)


def test_rows_become_lines_that_copy_reads() -> None:
    block = text_block([b'{"a":"one\\\\two"}', b"{}"], "base-0001", 7)
    first, second = block.decode().splitlines()
    fields = first.split("\t")
    assert fields[3:] == ["7", "base-0001", "wildlife-strikes", "\\N", '{"a":"one\\\\\\\\two"}']
    assert fields[2] != second.split("\t")[2]
    assert ledger_row("base-0001", 1_000, 7)[3] == "base"


def test_senders_cut_rows_into_batches_of_a_thousand() -> None:
    sent: list[tuple[str, str, int]] = []
    sender = SyncSender(lambda name, base, raw: sent.append((name, base, len(json.loads(raw)))))
    sender.submit("base", [b"{}"] * 2_500)
    assert sent == [("batch", "base-0001", 1_000), ("batch", "base-0002", 1_000), ("batch", "base-0003", 500)]
    with pytest.raises(NotImplementedError):
        sender.send_many("tiny", [("x",)])


def test_notes_of_jobs_are_seen_by_whoever_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = board.Board(tmp_path / "board")
    monkeypatch.setenv(board.VARIABLE, str(own.folder))
    monkeypatch.setattr(board, "_notes", None)
    board.note_runs()
    board.note_runs(4)
    board.note_start(3, 12.5)
    # Another process's file.
    (own.folder / "1").write_bytes(struct.pack("<q", 2))
    assert own.ran() == 7
    assert sorted(own.ran_by_process().values()) == [2, 5]
    assert own.started_at(3) == 12.5
    assert own.started_at(2) is None
    own.clear()
    assert (own.ran(), own.started_at(3)) == (0, None)


def test_what_grows_is_told_as_a_share_of_the_first_cost() -> None:
    costs = [medians([{"total_us": 1.0}, {"total_us": 9.0}, {"total_us": total}]) for total in (2.0, 3.0)]
    assert costs == [{"total_us": 2.0}, {"total_us": 3.0}]
    assert told("backlog", costs).splitlines()[-1] == "  of the first one's cost: 1.00, 1.50"
    assert told("workers", [{"processes": 1}]).splitlines() == ["workers:", '  {"processes": 1}']


def test_growth_is_the_slope_of_the_second_half() -> None:
    found = growth([100.0, 150.0, 160.0, 161.0, 162.0, 163.0], portion=500_000)
    assert found == {"first_mib": 100.0, "last_mib": 163.0, "mib_a_million_rows": 2.0}
    assert growth([100.0], portion=1)["mib_a_million_rows"] == 0
