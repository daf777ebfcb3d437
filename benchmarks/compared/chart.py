"""A chart of bars as SVG, one panel below the other, each with its own scale. No library, no script, no font."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 900
_LABEL = 330
_BAR = 18
_GAP = 7
_HEAD = 44
_OWN, _LIMIT, _OTHER = "#0b6e99", "#9a9a9a", "#d9a441"


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars under a title: a value for each label."""

    title: str
    bars: Mapping[str, float]


def draw(panels: Sequence[Panel]) -> str:
    """The chart; the longest bar of a panel comes first and fills its width."""
    parts, top = [], 0
    for panel in panels:
        text, height = _panel(panel, top)
        parts.append(text)
        top += height
    title = escape("; ".join(panel.title for panel in panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 10}" width="{_WIDTH}"'
        f' font-family="sans-serif" font-size="13" role="img"><title>{title}</title>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{"".join(parts)}</svg>\n'
    )


def _panel(panel: Panel, top: int) -> tuple[str, int]:
    longest = max(panel.bars.values(), default=1)
    rows = [f'<text x="10" y="{top + 28}" font-size="16" font-weight="bold">{escape(panel.title)}</text>\n']
    ordered = sorted(panel.bars.items(), key=lambda bar: -bar[1])
    for place, (label, value) in enumerate(ordered):
        y = top + _HEAD + place * (_BAR + _GAP)
        length = max(1, round((_WIDTH - _LABEL - 110) * value / longest))
        rows.append(
            f'<text x="{_LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{length}" height="{_BAR}" fill="{_colour(label)}"/>'
            f'<text x="{_LABEL + length + 6}" y="{y + 14}">{value:,.0f}</text>\n'
        )
    return "".join(rows), _HEAD + len(ordered) * (_BAR + _GAP)


def _colour(label: str) -> str:
    if label.startswith("Penstock"):
        return _OWN
    return _LIMIT if label.startswith("COPY") else _OTHER
