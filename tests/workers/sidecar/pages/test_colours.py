"""The declared colours: readable in both themes, and the same two themes however one is chosen."""

import re
from pathlib import Path

import pytest

from penstock.workers.sidecar import pages

CSS = (Path(pages.__file__).parent / "static" / "penstock.css").read_text()
#: Text, and what it stands on.
PAIRS = [
    *((text, ground) for text in ("text", "muted", "accent") for ground in ("ground", "surface", "sunken")),
    *((tone, ground) for tone in ("good", "warn", "bad") for ground in ("ground", "surface", f"{tone}-ground")),
    *((f"code-{part}", "sunken") for part in ("key", "string", "number")),
    *(("text", f"{tone}-ground") for tone in ("good", "warn", "bad", "accent")),
    *(("accent", "accent-ground"), ("on-accent", "accent"), ("muted", "accent-ground")),
    *(("muted", f"{tone}-ground") for tone in ("warn", "bad", "good")),
]


def themes() -> dict[str, dict[str, str]]:
    found = re.findall(r"(:root[^{]*)\{([^}]*)\}", CSS)
    read = {head.strip(): dict(re.findall(r"--([a-z-]+):\s*(#[0-9a-f]{6})", body)) for head, body in found}
    return {
        "light": read[":root"],
        "dark": read[':root[data-theme="dark"]'],
        "by system": read[':root:not([data-theme="light"])'],
    }


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_knows_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
def test_text_is_readable(theme: str, pair: tuple[str, str]) -> None:
    colours = themes()[theme]
    assert contrast(colours[pair[0]], colours[pair[1]]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "surface"])
def test_edges_of_fields_and_the_focus_are_visible(theme: str, ground: str) -> None:
    colours = themes()[theme]
    assert contrast(colours["edge"], colours[ground]) >= 3
    assert contrast(colours["accent"], colours[ground]) >= 3


def test_a_chosen_theme_is_the_systems_own() -> None:
    assert themes()["dark"] == themes()["by system"]


def test_two_weights_and_a_grid_of_four() -> None:
    assert set(re.findall(r"font-weight:\s*(\d+)", CSS)) == {"400", "600"}
    heights = {int(px) for px in re.findall(r"line-height:\s*(\d+)px", CSS)}
    assert all(px % 2 == 0 for px in heights)
