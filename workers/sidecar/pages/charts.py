"""Small charts, drawn on the server as SVG: axes from zero, units, a title and a description for screen readers."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from penstock.workers.sidecar.pages.formatting import number

_HEIGHT = 104
_LEFT, _MARGIN, _TOP, _BOTTOM = 40, 8, 10, 82
#: The tops of axes, times a power of ten.
_STEPS = (1.0, 2.0, 4.0, 5.0, 10.0)

Told = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """What a chart shows.

    Attributes:
        title: what is measured, with its unit.
        values: at equal distances, oldest first; None where nothing is known.
        span: how long ago the first was, such as `6 h`.
        told: writes a value of the axis.
        tone: a class for its colour: `accent`, `warn` or `bad`.
        width: of the drawing, in pixels of its text; it is scaled to the place where it stands.
    """

    title: str
    values: Sequence[float | None]
    span: str
    told: Told = number
    tone: str = "accent"
    width: int = 320

    @property
    def right(self) -> int:
        """Where the axis of time ends."""
        return self.width - _MARGIN


def top_of(values: Sequence[float | None]) -> float:
    """The end of an axis that begins at zero: the next round number above all values, at least 1."""
    largest = max((value for value in values if value is not None), default=0.0)
    if largest <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in _STEPS if step * power >= largest)


def line_chart(series: Series) -> Markup:
    """A line over a light area, with the last value marked. Gaps stay gaps."""
    top = top_of(series.values)
    points = list(_points(series, top))
    drawn = Markup("").join(_stretch(stretch) for stretch in _stretches(points))
    last = next((point for point in reversed(points) if point), None)
    mark = Markup('<circle class="c-dot" cx="{}" cy="{}" r="3"/>').format(*last) if last else Markup("")
    return _frame(series, top, drawn + mark)


def bar_chart(series: Series) -> Markup:
    """A bar for each value."""
    top = top_of(series.values)
    slot = (series.right - _LEFT) / max(1, len(series.values))
    bars = Markup("").join(
        _bar(_LEFT + at * slot, max(1.0, slot - 1.5), value / top)
        for at, value in enumerate(series.values)
        if value is not None and value > 0
    )
    return _frame(series, top, bars)


def spark_bars(values: Sequence[float], title: str) -> Markup:
    """Bars without axes for a row of a table; the title says what they are and how high the highest is."""
    top, slot = max([*values, 1]), 96 / max(1, len(values))
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            at * slot, 20 - max(1.5, 19 * value / top), max(1, slot - 1), max(1.5, 19 * value / top)
        )
        for at, value in enumerate(values)
        if value > 0
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 96 20" role="img" aria-label="{0}"><title>{0}</title>'
        '<path class="c-zero" d="M0 20H96"/>{1}</svg>'
    ).format(title, bars)


def _points(series: Series, top: float) -> Iterator[tuple[float, float] | None]:
    step = (series.right - _LEFT) / max(1, len(series.values) - 1)
    for at, value in enumerate(series.values):
        if value is None:
            yield None
        else:
            yield round(_LEFT + at * step, 1), round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)


def _stretches(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    stretch: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point is not None:
            stretch.append(point)
        elif stretch:
            yield stretch
            stretch = []


def _stretch(points: list[tuple[float, float]]) -> Markup:
    line = "L".join(f"{x:g} {y:g}" for x, y in points)
    area = f"M{line}L{points[-1][0]:g} {_BOTTOM}L{points[0][0]:g} {_BOTTOM}Z"
    return Markup('<path class="c-area" d="{}"/><path class="c-line" d="M{}"/>').format(area, line)


def _bar(x: float, width: float, share: float) -> Markup:
    height = max(1.5, (_BOTTOM - _TOP) * share)
    return Markup('<rect class="c-bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        x, _BOTTOM - height, width, height
    )


def _frame(series: Series, top: float, drawn: Markup) -> Markup:
    facts: dict[str, object] = {
        "classes": f"chart {series.tone}" + (" wide" if series.width > 320 else ""),
        "title": series.title,
        "told": _told(series),
        "span": series.span,
        "drawn": drawn,
        "width": series.width,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": series.right,
        "label": _LEFT - 6,
        "top": series.told(top),
        "top_y": _TOP,
        "top_text": _TOP + 4,
        "middle": (_TOP + _BOTTOM) / 2,
        "bottom": _BOTTOM,
        "bottom_text": _BOTTOM + 4,
        "below": _BOTTOM + 17,
    }
    return _FRAME.format(**facts)


_FRAME = Markup(
    '<svg class="{classes}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}: {told}">'
    "<title>{title}</title><desc>{told}</desc>"
    '<path class="c-grid" d="M{left} {top_y}H{right}M{left} {middle}H{right}"/>'
    '<path class="c-zero" d="M{left} {bottom}H{right}"/>{drawn}'
    '<g class="c-text"><text x="{label}" y="{top_text}" text-anchor="end">{top}</text>'
    '<text x="{label}" y="{bottom_text}" text-anchor="end">0</text>'
    '<text x="{left}" y="{below}">{span} ago</text>'
    '<text x="{right}" y="{below}" text-anchor="end">now</text></g></svg>'
)


def _told(series: Series) -> str:
    known = [value for value in series.values if value is not None]
    if not known:
        return f"nothing is known of the last {series.span}"
    return (
        f"over the last {series.span} from {series.told(min(known))} to {series.told(max(known))},"
        f" last {series.told(known[-1])}"
    )
