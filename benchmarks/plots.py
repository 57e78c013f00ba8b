"""Results drawn as SVG.

The same results give the same bytes with the same version of matplotlib, which is imported only
where something is drawn: the page can be written without it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .standing import (
    FLOOR,
    OURS,
    TIMES,
    VARIED,
    Row,
    Standing,
    contests,
    net,
    number,
    number_or,
    of_floor,
    printable,
    seconds,
    size,
    standings,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: three colours that are told apart by colour-blind eyes and in grey (Okabe and Ito)
BLUE, SKY, ORANGE = "#0072B2", "#8CC8EA", "#D55E00"
DARK, GREY, PALE = "#404040", "#9A9A9A", "#D8D8D8"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pgmend",
    "text.parse_math": False,  # a dollar in an error message is a dollar
    "font.size": 10,
    "figure.facecolor": "white",  # dark pages show the plot as a white sheet
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "hatch.color": GREY,
}


def draw(results: Row, titles: Mapping[str, str], into: Path) -> None:
    """Draw every plot that has a title. Raises ImportError where there is no matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 - see the module's docstring
    from matplotlib.figure import Figure  # noqa: PLC0415

    sweeps = results.get("sweeps") or {}
    drawn: dict[str, Callable[[Figure], None]] = {
        "rows": lambda figure: _rows(figure, sweeps["rows"]),
        "sweeps": lambda figure: _varied(figure, sweeps),
        "live": lambda figure: _live(figure, sweeps["live"]),
    }
    for name, contest in contests(results):
        drawn[f"peers_{name}"] = partial(_peers, standing=standings(contest))
        drawn[f"memory_{name}"] = partial(_memory, standing=standings(contest))
    with mpl.rc_context():
        mpl.rcdefaults()  # not what the user's own matplotlibrc says
        mpl.rcParams.update(_STYLE)
        for name, title in titles.items():
            figure = Figure(layout="constrained")
            drawn[name](figure)
            lines = textwrap.fill(title, round(figure.get_figwidth() * 10.6))
            figure.suptitle(lines, x=0.01, ha="left", weight="bold", size=10.5)
            facts = {"Date": None, "Creator": None, "Title": title}
            figure.draw_without_rendering()  # lays it out once more: long labels find their room
            figure.savefig(into / f"{name}.svg", metadata=facts)


def _peers(figure: Figure, standing: Sequence[Standing]) -> None:
    figure.set_size_inches(9, 1.3 + 0.47 * len(standing))
    axes = figure.subplots()
    for place, one in enumerate(standing):
        whole, judged = (number_or(one.middle(field), 0) for field in ("seconds", "net"))
        colour = {OURS: BLUE, FLOOR: DARK}.get(one.name, GREY)
        if one.note:
            axes.barh(place, judged, color="white", edgecolor=colour, hatch="////")
        else:
            axes.barh(place, judged, color=colour)
        axes.barh(place, whole - judged, left=judged, color=SKY)
        label = seconds(one.middle("net"))
        if one.times:
            label += f"  =  {one.times:.2f} {TIMES} floor" if one.name != FLOOR else "  =  floor"
        if whole > judged:
            label += f",  + {seconds(whole - judged)} of sweep (light)"
        note = "\n" + printable(one.note, 60) if one.note else ""
        _label(axes, (whole, place), label + note)
    _names(axes, [one.name for one in standing])
    axes.set_xlabel("seconds, median of the rounds")


def _memory(figure: Figure, standing: Sequence[Standing]) -> None:
    figure.set_size_inches(9, 1.6 + 0.62 * len(standing))
    axes = figure.subplots()
    parts = (
        ("rss_bytes", "client", BLUE),
        ("server_private_bytes", "server, private", SKY),
        ("temp_bytes", "temporary files", ORANGE),
    )
    least = 100_000  # where the bars begin: a logarithmic axis has no zero
    for turn, (field, name, colour) in enumerate(parts):
        for place, one in enumerate(standing):
            value, y = one.most(field), place + 0.27 * (turn - 1)
            end = max(number_or(value, 0), least)
            shown = "" if place else name  # once in the legend
            axes.barh(y, end - least, 0.25, left=least, color=colour, label=shown)
            _label(axes, (end, y), "not measured" if value is None else size(value), small=True)
    axes.set_xscale("log")
    axes.set_xlim(left=least)
    _names(axes, [one.name for one in standing])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:,g} MB")
    axes.set_xlabel("most of any round, in MB (millions of bytes), logarithmic")
    figure.legend(loc="outside lower left", ncols=3, frameon=False)


def _rows(figure: Figure, rows: Sequence[Row]) -> None:
    figure.set_size_inches(9, 4.2)
    left, right = figure.subplots(1, 2)
    sizes, took = _known(rows, net)
    line = [took[0] * many / sizes[0] for many in sizes]
    left.plot(sizes, line, "--", color=GREY, label="in proportion to the first")
    left.plot(sizes, took, "o-", color=BLUE, label="pgmend, without the sweep")
    for place, value in zip(sizes, took, strict=True):
        _label(left, (place, value), seconds(value), shift=(-5, 9), to="right")
    floors = _known(rows, lambda row: number(row, "floor_seconds"))
    if floors[0]:
        left.plot(*floors, "s-", color=DARK, markersize=4, label="floor")
    left.set_yscale("log")
    left.set_ylabel("seconds, logarithmic")
    left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    left.legend(frameon=False, loc="lower right")
    sizes, held = _known(rows, lambda row: number(row, "rss_bytes"))
    right.plot(sizes, [value / 1e6 for value in held], "o-", color=BLUE)
    for place, value in zip(sizes, held, strict=True):
        _label(right, (place, value / 1e6), f"{value / 1e6:.0f}", shift=(0, 10), to="center")
    right.set_ylim(0, 1.25 * max(held, default=1e6) / 1e6)
    right.set_ylabel("client memory, MB")
    many = sorted({known for row in rows if (known := number(row, "rows"))})
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlim(many[0] / 1.5, many[-1] * 1.5)
        axes.set_xticks(many)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
        axes.set_xlabel("million rows, logarithmic")


def _varied(figure: Figure, sweeps: Mapping[str, Sequence[Row]]) -> None:
    figure.set_size_inches(9, 7)
    grid = figure.subplots(3, 2, sharex=True).flat
    for axes, (name, what, field) in zip(grid, VARIED, strict=False):
        rows = sweeps.get(name) or ()
        axes.set_title(what if rows else f"{what}: not run", loc="left", size=10)
        if not rows:
            axes.set_axis_off()
            continue
        for place, row in enumerate(rows):
            times = of_floor(row)
            axes.barh(place, number_or(times, 0), color=BLUE)
            label = f"{times:.2f} {TIMES}  ({seconds(net(row))})" if times else "not known"
            _label(axes, (number_or(times, 0), place), label, small=True)
        _names(axes, [printable(row.get(field), 24) for row in rows])
        axes.axvline(1, color=DARK, linewidth=1)
        axes.tick_params(labelbottom=True)
    grid[-1].set_axis_off()
    figure.supxlabel("times the floor (line at 1), without the sweep; seconds in brackets", size=10)


def _live(figure: Figure, rows: Sequence[Row]) -> None:
    figure.set_size_inches(9, 1.5 + 0.45 * len(rows))
    both = figure.subplots(1, 2, sharey=True)
    for axes, field, what in (
        (both[0], "tps", "transactions per second"),
        (both[1], "p99_ms", "latency at p99, milliseconds"),
    ):
        for place, row in enumerate(rows):
            value = number(row, field)
            colour = GREY if row.get("load") == "alone" else BLUE
            axes.barh(place, number_or(value, 0), color=colour)
            text = "not measured" if value is None else f"{value:,.{0 if value >= 100 else 1}f}"
            _label(axes, (number_or(value, 0), place), text)
        axes.set_xlabel(what)
    both[1].tick_params(axis="y", length=0)
    _names(both[0], [printable(row.get("load"), 40) for row in rows])


def _known(
    rows: Sequence[Row], of: Callable[[Row], float | None]
) -> tuple[list[float], list[float]]:
    pairs = [(number(row, "rows"), of(row)) for row in rows]
    known = sorted((x, y) for x, y in pairs if x and y)
    return [x for x, _ in known], [y for _, y in known]


def _label(
    axes: Axes,
    at: tuple[float, float],
    text: str,
    *,
    shift: tuple[int, int] = (5, 0),
    to: Literal["left", "center", "right"] = "left",
    small: bool = False,
) -> None:
    how = axes.annotate(text, at, shift, textcoords="offset points", va="center", ha=to)
    how.set_fontsize(8.5 if small else 9)
    if to != "left":  # may lie upon a line
        how.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8})


def _names(axes: Axes, names: Sequence[str]) -> None:
    """Name the bars; the first stands at the top."""
    axes.set_yticks(range(len(names)), [printable(name, 32) for name in names])
    axes.tick_params(axis="y", length=0)
    if names:
        axes.set_ylim(len(names) - 0.4, -0.6)
