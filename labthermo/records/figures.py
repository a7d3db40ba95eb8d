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

    from labthermo.forecast import Forecast

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
    """One current-voltage curve: ``voltage`` (n,) in V, ``current`` and ``sigma`` (n,) in A; ``regions`` shaded.

    Or of a reaction: ``concentration`` (n,) of its ``substrate``, mol/L, drawn in equal ratios, and ``rate`` (n,) and
    ``sigma``, mol/(L s).
    """
    of_reaction = "rate" in event
    at, flow = (_array(event[n]) for n in (("concentration", "rate") if of_reaction else ("voltage", "current")))
    sigma = _optional(event.get("sigma"))
    with _drawing(width=4.2, height=2.9) as (figure, axes):
        for region in event.get("regions") or []:
            axes.axvspan(float(region["start"]), float(region["stop"]), color=_CONTROL, alpha=0.22, linewidth=0)
        if event.get("source") == "twin":
            axes.plot(at, flow, color=_MEASURED, linestyle="--")
        else:
            _points(axes, at, flow, sigma, join=True)
        if of_reaction:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")
        _engineering(axes, "x", *((str(event["substrate"]), "mol/L") if of_reaction else ("voltage", "V")))
        _engineering(axes, "y", *(("rate", "mol/(L s)") if of_reaction else ("current", "A")))
        return _svg(figure)


def plan(found: Forecast) -> str:
    """A forecast in two panels over bench time: where inputs and knobs would go, and how well each reading is known."""
    with _drawing(height=5.4) as (figure, whole):
        whole.remove()
        above, below = figure.subplots(2, 1, sharex=True)
        hours = found.bench_time > 7200.0
        scale = 3600.0 if hours else 1.0
        for number, travel in enumerate(found.travels):
            end = _array([*travel.times, found.bench_time]) / scale, (*travel.values, travel.values[-1])
            colour = _PHASES[number % len(_PHASES)]
            above.step(*end, where="post", linewidth=1.0, label=_shown(travel.channel), color=colour)
        units = {travel.unit for travel in found.travels}
        _engineering(above, "y", "set-points", units.pop() if len(units) == 1 else "")
        for number, outlook in enumerate(found.outlooks):
            colour = _PHASES[number % len(_PHASES)]
            below.plot(
                _array(found.times) / scale,
                _array(outlook.each),
                ".",
                markersize=3,
                label=_shown(outlook.channel),
                color=colour,
            )
        below.set_yscale("log")
        below.yaxis.set_major_formatter(_plain_number)
        below.yaxis.set_minor_formatter(_plain_number_between)
        below.set_ylabel("|reading| / its sigma")
        if hours:
            below.set_xlabel("bench time, h")
        else:
            _engineering(below, "x", "bench time", "s")
        for axes in (above, below):
            if axes.get_legend_handles_labels()[0]:
                _legend_above(axes)
        return _svg(figure)


def map_of(event: Mapping[str, Any]) -> str:
    """A quantity over two axes: ``x`` (n,), ``y`` (m,), ``z`` (m, n), NaN where nothing was read (left blank).

    Each axis has a name and a unit: ``x_name, x_unit`` and so on. ``lines``: pairs of (x, y), drawn over the map.
    """
    x, y, z = _array(event["x"]), _array(event["y"]), _array(event["z"])
    with _drawing(height=4.6) as (figure, axes):
        axes.grid(visible=False)
        finite = z[np.isfinite(z)]
        largest = float(np.max(np.abs(finite), initial=0.0))
        # white is zero where a current flows both ways, so that its direction shows
        both = bool(finite.size and finite.min() < -0.1 * largest and finite.max() > 0.1 * largest)
        scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest} if both else {"cmap": "viridis"}
        mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(z), shading="nearest", rasterized=True, **scale)
        for (x0, y0), (x1, y1) in event.get("lines") or []:
            axes.plot([x0, x1], [y0, y1], color="white", linewidth=3.0, solid_capstyle="round")
            axes.plot([x0, x1], [y0, y1], color="#1d2329", linewidth=1.4, solid_capstyle="round")
        axes.set_xlim(_edges(x))
        axes.set_ylim(_edges(y))
        _engineering(axes, "x", str(event["x_name"]), str(event["x_unit"]))
        _engineering(axes, "y", str(event["y_name"]), str(event["y_unit"]))
        bar = figure.colorbar(mesh, ax=axes, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(_prefixed(str(event["z_unit"])))
        bar.set_label(_shown(str(event["z_name"])))
        return _svg(figure)


def curves(event: Mapping[str, Any]) -> str:
    """Curves over one axis: ``curves`` with ``label, x, y`` and perhaps ``sigma`` (each (n,)), axes named as in a map.

    A curve with ``join`` false is drawn as points. ``spans``: (start, stop) along x, shaded; ``levels``: label ->
    value, drawn as lines across; ``log``: a logarithmic y axis.
    """
    import matplotlib

    drawn = event["curves"]
    many = matplotlib.colormaps["turbo"]
    colours = _PHASES if len(drawn) <= len(_PHASES) else [many(0.05 + 0.9 * k / len(drawn)) for k in range(len(drawn))]
    with _drawing() as (figure, axes):
        for start, stop in event.get("spans") or []:
            axes.axvspan(float(start), float(stop), color=_CONTROL, alpha=0.22, linewidth=0)
        for colour, curve in zip(colours, drawn, strict=False):
            at, value, sigma = _array(curve["x"]), _array(curve["y"]), _optional(curve.get("sigma"))
            _points(
                axes, at, value, sigma, join=bool(curve.get("join", True)), label=_shown(str(curve["label"])),
                color=colour,
            )  # fmt: skip
        for number, (label, value) in enumerate((event.get("levels") or {}).items()):
            colour = (_TARGET, _CONTROL, _FLOOR, _PHASES[3])[number % 4]
            axes.axhline(float(value), color=colour, linestyle="--", linewidth=1.2, label=_shown(label))
        if event.get("log"):
            axes.set_yscale("log")
        _engineering(axes, "x", str(event["x_name"]), str(event["x_unit"]))
        _engineering(axes, "y", str(event["y_name"]), str(event["y_unit"]))
        if event.get("log"):  # matplotlib's own numbers are in TeX, which is switched off here
            shown = _prefixed(str(event["y_unit"])) if event["y_unit"] else _plain_number
            axes.yaxis.set_major_formatter(shown)
            low, high = axes.get_ylim()
            every = high < 5 * low
            axes.yaxis.set_minor_formatter(lambda value, _: shown(value) if every or _is_labelled(value) else "")
        _legend_above(axes)
        return _svg(figure)


def _edges(at: np.ndarray) -> tuple[float, float]:
    """The outer edges of pixels centred at these places, ascending."""
    low, high = float(at.min()), float(at.max())
    half = (high - low) / max(1, len(at) - 1) / 2 or 0.5
    return low - half, high + half


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


def _points(
    axes: Axes, at: np.ndarray, value: np.ndarray, sigma: np.ndarray | None, *, join: bool = False,
    label: str = "measured", color: Any = _MEASURED,
) -> None:  # fmt: skip
    style: dict[str, Any] = {"color": color, "markersize": 3.2, "label": label}
    style["linestyle"], style["linewidth"] = ("-", 0.9) if join else ("none", 1.0)
    if sigma is None:
        axes.plot(at, value, marker="o", **style)
    else:
        known = np.where(np.isfinite(sigma), np.abs(sigma), 0.0)
        axes.errorbar(at, value, yerr=known, fmt="o", elinewidth=0.8, **style)


def _engineering(axes: Axes, which: str, name: str, unit: str) -> None:
    """Label one axis `name`, with its numbers in `unit` and SI prefixes; plain numbers of everyday size stay plain."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if unit == "L/s":
        axis.set_major_locator(_per_minute())
    largest = float(np.max(np.abs(axis.get_data_interval())))
    if unit or not 0.01 < largest < 1e4:
        axis.set_major_formatter(_prefixed(unit))
    axis.set_label_text(_shown(name))


def _prefixed(unit: str) -> Any:
    from matplotlib.ticker import EngFormatter

    if unit == "L/s":  # shown per minute, as format_quantity has it
        per_minute = EngFormatter("L/min")
        return lambda value, _=None: per_minute(60.0 * value)
    return EngFormatter(_shown(unit, 12) if unit else "")


def _per_minute() -> Any:
    """Round numbers of L/min at an axis in L/s."""
    from matplotlib.ticker import AutoLocator

    class PerMinute(AutoLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            return np.asarray(super().tick_values(60.0 * vmin, 60.0 * vmax)) / 60.0

    return PerMinute()


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2, handlelength=1.6, columnspacing=1.4
    )


def _percent(value: float, _position: float = 0.0) -> str:
    return f"{100 * value:.3g} %"


def _is_labelled(value: float) -> bool:
    """Whether it is 2 or 5 of its decade, between the decades' own labels."""
    return f"{value:.0e}"[0] in "25"


def _percent_between(value: float, _position: float = 0.0) -> str:
    return _percent(value) if _is_labelled(value) else ""


def _plain_number(value: float, _position: float = 0.0) -> str:
    return f"{value:g}"


def _plain_number_between(value: float, _position: float = 0.0) -> str:
    return _plain_number(value) if _is_labelled(value) else ""


def _shown(text: str, most: int = 40) -> str:
    text = " ".join(text.split()).lstrip("_") or "?"  # matplotlib hides labels that start with an underscore
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _array(values: Any) -> np.ndarray:
    return np.array(values, dtype=float)


def _optional(values: Any) -> np.ndarray | None:
    return None if values is None else _array(values)
