"""Figures -> pictures, as SVG that is the same for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.peers import Step
from bench.stats import median_step, three_digits

_ACCENT, _OTHERS = "#0b7285", "#adb5bd"
# Otherwise every run writes another file for the same figures.
_SAME: dict[Any, Any] = {"svg.hashsalt": "chromaseal", "svg.fonttype": "none"}


def plot_steps(
    path: Path, measured: Mapping[str, Mapping[str, Sequence[Step]]], *, highlight: str = ""
) -> None:
    """Draw time and bytes of publishing a delta, a row of two panels for each directory.

    Args:
        path: where to, ending in ``.svg``.
        measured: steps by the directory's name, then by the peer's.
        highlight: peers whose name starts so have a colour of their own.
    """
    # A figure by itself, without pyplot, needs no backend and keeps nothing.
    figure = Figure(figsize=(10, 0.6 + 2.2 * len(measured)), layout="constrained")
    panels = figure.subplots(len(measured), 2, squeeze=False, sharex="col", sharey="row")
    for row, (directory, steps) in zip(panels, measured.items(), strict=True):
        medians = {name: median_step(each) for name, each in steps.items()}
        colours = [_colour(name, highlight) for name in medians]
        seconds = {name: step.duration_s for name, step in medians.items()}
        both_ways = {n: (s.bytes_up + s.bytes_down) / 1e6 for n, s in medians.items()}
        _bars(row[0], seconds, colours, f"{directory}: seconds")
        _bars(row[1], both_ways, colours, f"{directory}: MB up and down")
        # Both panels share the axis, so this turns both: the first peer stands on top.
        row[0].invert_yaxis()
    _save(figure, path)


def plot_series(
    path: Path, title: str, axes: tuple[str, str], series: Mapping[str, Sequence[float]]
) -> None:
    """Draw figures that belong to commits in a row, on a logarithmic scale.

    Args:
        path: where to, ending in ``.svg``.
        title: above the picture.
        axes: what x and y are, units included.
        series: y by the line's name; x counts from 1.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    panel = figure.subplots()
    for name, values in series.items():
        panel.plot(range(1, len(values) + 1), values, label=name, linewidth=1.2)
    panel.set(title=title, xlabel=axes[0], ylabel=axes[1], yscale="log")
    panel.legend(frameon=False)
    panel.grid(visible=True, axis="y", linewidth=0.4)
    _save(figure, path)


def _bars(panel: Axes, values: Mapping[str, float], colours: Sequence[str], title: str) -> None:
    bars = panel.barh(list(values), list(values.values()), color=colours)
    panel.bar_label(bars, [three_digits(value) for value in values.values()], padding=3, fontsize=8)
    panel.set(title=title, xscale="log")
    panel.title.set_fontsize(10)
    panel.margins(x=0.15)
    panel.spines[["top", "right"]].set_visible(False)


def _colour(name: str, highlight: str) -> str:
    return _ACCENT if highlight and name.startswith(highlight) else _OTHERS


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_SAME):
        figure.savefig(path, format="svg", metadata={"Date": None})
