import io
import os
from contextlib import suppress

import pytest

from penstock.workers.embedded.prefixed_output import LineReader, PrefixedOutput


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_are_aligned_and_bytes_that_are_no_text_are_shown() -> None:
    stream = io.StringIO()
    output = PrefixedOutput(stream, ["web", "worker"])
    output.write("web", b"listening\r")
    output.write("worker", b"caf\xc3\xa9 \xff")
    assert stream.getvalue() == "web    | listening\nworker | café \\xff\n"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)], ids=["colour", "NO_COLOR"])
def test_a_terminal_gets_colours(no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    PrefixedOutput(stream, ["web"]).write("web", b"x")
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_a_reader_that_is_gone_is_noticed_and_costs_nothing_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    output = PrefixedOutput(stream, ["web"])
    output.write("web", b"x")
    output.write("web", b"y")
    assert output.lost
    with suppress(BrokenPipeError):
        stream.close()


def test_lines_are_whole_and_the_last_needs_no_end() -> None:
    reader, writer = os.pipe()
    lines = LineReader(reader)
    assert lines.lines() == []
    os.write(writer, b"one\ntw")
    assert lines.lines() == [b"one"]
    os.write(writer, b"o\nthree")
    assert lines.lines() == [b"two"]
    os.close(writer)
    assert lines.lines() == [b"three"]
    assert lines.ended
    os.close(reader)


def test_an_endless_line_is_cut() -> None:
    reader, writer = os.pipe()
    lines = LineReader(reader)
    os.write(writer, b"x" * 65_536)
    assert lines.lines() == [b"x" * 65_536]
    os.close(writer)
    os.close(reader)
