"""The drawings of a report, as SVG that stands inside a page and refers to nothing outside it."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TARGET, _MEASURED, _FLOOR, _CONTROL = "#d1495b", "#1f6f8b", "#9a9a9a", "#c98a00"
_PHASES = ("#1f6f8b", "#66a182", "#8d6a9f", "#2e4057", "#c98a00", "#b56576")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "labthermo",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
_numbers = itertools.count(1)


def fit(event: Mapping[str, Any], units: Mapping[str, str]) -> str:
    """Measured answer against its target, and the best monotone fit.

    `event` has ``input, output, inputs (n, n_inputs), target, measured, sigma, monotone`` (each (n,)); `units`
    gives the unit of each channel by name. With several inputs, measured is drawn against target.
    """
    inputs = _array(event["inputs"])
    inputs = inputs.reshape(len(inputs), -1)
    target, measured = _array(event["target"]), _array(event["measured"])
    sigma, monotone = _optional(event.get("sigma")), _optional(event.get("monotone"))
    name_in, name_out = str(event.get("input", "input")), str(event.get("output", "output"))
    with _drawing() as (figure, axes):
        if inputs.shape[1] == 1:
            order = np.argsort(inputs[:, 0], kind="stable")
            at = inputs[order, 0]
            if monotone is not None:
                axes.plot(at, monotone[order], color=_FLOOR, label="best monotone answer")
            scattered = bool((np.diff(at) == 0).any())  # measured data: no line joins two answers to one input
            style: dict[str, Any] = {"linestyle": "none", "marker": "."} if scattered else {}
            axes.plot(at, target[order], color=_TARGET, zorder=4, label="target", **style)
            _points(axes, at, measured[order], None if sigma is None else sigma[order])
            _engineering(axes, "x", name_in, units.get(name_in, ""))
        else:
            low, high = float(np.nanmin(target)), float(np.nanmax(target))
            axes.plot([low, high], [low, high], color=_TARGET, zorder=4, label="target")
            if monotone is not None:
                axes.plot(target, monotone, "_", color=_FLOOR, markersize=9, label="best monotone answer")
            _points(axes, target, measured, sigma)
            _engineering(axes, "x", f"target for {name_out}", units.get(name_out, ""))
        _engineering(axes, "y", name_out, units.get(name_out, ""))
        _legend_above(axes)
        return _svg(figure)


def learning_curve(steps: Sequence[Mapping[str, Any]], floor: float | None) -> str:
    """Error (fraction of the amplitude, logarithmic) against device queries, with a line at the floor.

    Each step has ``queries, rmse`` and may have ``best`` and ``phase``; errors that are not above zero are left out.
    """
    queries = _array([step["queries"] for step in steps])
    error = _array([step["rmse"] for step in steps])
    error[~(error > 0)] = np.nan
    reported = _array([step.get("best") for step in steps])
    best = np.where(reported > 0, reported, np.fmin.accumulate(error))
    phases = [str(step.get("phase") or "error") for step in steps]
    with _drawing() as (figure, axes):
        for number, phase in enumerate(dict.fromkeys(phases)):
            chosen = np.array([p == phase for p in phases])
            colour = _PHASES[number % len(_PHASES)]
            axes.plot(queries[chosen], error[chosen], "o", markersize=4, alpha=0.7, color=colour, label=_shown(phase))
        axes.step(queries, best, where="post", color="#333333", label="best so far")
        if floor is not None and floor > 0:
            axes.axhline(floor, color=_FLOOR, linestyle="--", label="floor without NDC")
        if np.isfinite(best).any():
            axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_percent)
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter(_percent if 0 < high < 5 * low else _percent_between)
        axes.set_xlabel("device queries")
        axes.set_ylabel("error / amplitude")
        _legend_above(axes)
        return _svg(figure)


def current_voltage(event: Mapping[str, Any]) -> str:
    """One current-voltage curve: ``voltage`` (n,) in V, ``current`` and ``sigma`` (n,) in A; ``regions`` shaded."""
    voltage, current, sigma = _array(event["voltage"]), _array(event["current"]), _optional(event.get("sigma"))
    with _drawing(width=4.2, height=2.9) as (figure, axes):
        for region in event.get("regions") or []:
            axes.axvspan(float(region["start"]), float(region["stop"]), color=_CONTROL, alpha=0.22, linewidth=0)
        if event.get("source") == "twin":
            axes.plot(voltage, current, color=_MEASURED, linestyle="--")
        else:
            _points(axes, voltage, current, sigma, join=True)
        _engineering(axes, "x", "voltage", "V")
        _engineering(axes, "y", "current", "A")
        return _svg(figure)


@contextmanager
def _drawing(width: float = 7.4, height: float = 3.6) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of glyphs that the browser has, of labels that leave no room
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
        yield figure, axes


def _svg(figure: Figure) -> str:
    """The figure as an SVG element: without prolog, metadata and links, its ids its own within the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    prefix = f"f{next(_numbers)}-"
    return re.sub(r"<[^>]*>", lambda tag: _own_ids(tag.group(), prefix), text)


def _own_ids(tag: str, prefix: str) -> str:
    tag = re.sub(r' xmlns(:xlink)?="[^"]*"', "", tag)
    tag = re.sub(r' (?:xlink:)?href="#', f' href="#{prefix}', tag)
    return tag.replace(' id="', f' id="{prefix}').replace("url(#", f"url(#{prefix}")


def _points(axes: Axes, at: np.ndarray, value: np.ndarray, sigma: np.ndarray | None, *, join: bool = False) -> None:
    style: dict[str, Any] = {"color": _MEASURED, "markersize": 3.2, "label": "measured"}
    style["linestyle"], style["linewidth"] = ("-", 0.9) if join else ("none", 1.0)
    if sigma is None:
        axes.plot(at, value, marker="o", **style)
    else:
        known = np.where(np.isfinite(sigma), np.abs(sigma), 0.0)
        axes.errorbar(at, value, yerr=known, fmt="o", elinewidth=0.8, **style)


def _engineering(axes: Axes, which: str, name: str, unit: str) -> None:
    """Label one axis `name`, with its numbers in `unit` and SI prefixes; plain numbers of everyday size stay plain."""
    from matplotlib.ticker import EngFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    largest = float(np.max(np.abs(axis.get_data_interval())))
    if unit or not 0.01 < largest < 1e4:
        axis.set_major_formatter(EngFormatter(_shown(unit, 12) if unit else ""))
    axis.set_label_text(_shown(name))


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2, handlelength=1.6, columnspacing=1.4
    )


def _percent(value: float, _position: float = 0.0) -> str:
    return f"{100 * value:.3g} %"


def _percent_between(value: float, _position: float = 0.0) -> str:
    """Labels 2 and 5 of each decade between the decades' own."""
    return _percent(value) if f"{value:.0e}"[0] in "25" else ""


def _shown(text: str, most: int = 40) -> str:
    text = " ".join(text.split()).lstrip("_") or "?"  # matplotlib hides labels that start with an underscore
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _array(values: Any) -> np.ndarray:
    return np.array(values, dtype=float)


def _optional(values: Any) -> np.ndarray | None:
    return None if values is None else _array(values)
