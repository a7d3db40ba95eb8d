"""Whether the answer depends on the way it was reached: sweeps up, down and in random order, against the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Held, Readout, choose, ends, held, line, readout
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, parse_quantity, quantity
from labthermo.run import Run

Floats = NDArray[np.float64]


class Hysteresis(Procedure):
    """Sweep an input or knob up, down and in random order, several times, and compare what is read at each place.

    A place has a memory if up and down differ by more than the noise of both would make it at the stated confidence,
    over all places together, and by more than what the station takes for settled. Within such a stretch the readings
    in random order fall on either branch if the device has two states, and lie between them if it only lags.
    """

    name: ClassVar[str] = "hysteresis"

    channel: str = Field(default="", description="input or knob to sweep; default: the first input")
    reading: str = Field(default="", description="node or output to read; default: the first node, else output")
    start: str = Field(default="", description="with its unit; default: low end of the window, or of the limits")
    stop: str = Field(default="", description="with its unit; default: high end")
    points: Annotated[int, Field(ge=3, le=10_000)] = Field(default=41, description="per sweep, 3 to 10000")
    repeats: Annotated[int, Field(ge=2, le=100)] = Field(default=3, description="of each kind of sweep, 2 to 100")
    random: bool = Field(default=True, description="sweep in random order, too")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="of the random orders")
    confidence: Annotated[float, quantity("", above=0, maximum=0.9999)] = Field(
        default=0.99, description="that nothing is called a memory which is none"
    )
    hold: str = Field(default="", description="where others stand, such as 'x=1 mV, p1=-5 mV'")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.points * self.repeats * len(self._kinds())

    def execute(self, run: Run) -> None:
        channel, read, places, stand = self._plan(run.device.channels)
        rng = np.random.default_rng(self.seed)
        found = {kind: np.full((self.repeats, self.points), np.nan) for kind in self._kinds()}
        sigmas: list[float] = []
        for k in range(self.repeats):
            for kind, table in found.items():
                order = np.arange(self.points)
                order = {"up": order, "down": order[::-1]}[kind] if kind != "random" else rng.permutation(order)
                at = 0
                for query in line(run.device.channels, channel, places[order], stand):
                    response = run.query(query, purpose=f"{self.name} {kind}")
                    columns = order[at : at + len(response)]
                    at += len(response)
                    table[k, columns], sigma = read.of(response)
                    sigmas += sigma.tolist()
        least = float(run.journal.header.get("tolerance") or 0.0) if read.channel.unit == "V" else 0.0
        loop = compare(places, found, float(np.median(sigmas)), 2.0 * least, self.confidence)
        run.event(
            "figure",
            kind="curves",
            title=f"{read.channel.name} over {channel.name}, mean of {self.repeats} sweeps each way",
            caption="Shaded: up and down differ." if loop.spans else "",
            curves=_curves(places, found),
            spans=[[s, t] for s, t, _ in loop.spans],
            x_name=channel.name, x_unit=channel.unit, y_name=read.channel.name, y_unit=read.channel.unit,
        )  # fmt: skip
        run.event(
            "figure",
            kind="curves",
            title="Up less down, and what noise and settling may make of it",
            curves=[{"label": "up less down", "x": places.tolist(), "y": loop.difference.tolist()}],
            levels={"as much as noise and settling make": loop.threshold, "the same, downwards": -loop.threshold},
            spans=[[s, t] for s, t, _ in loop.spans],
            x_name=channel.name, x_unit=channel.unit, y_name=f"{read.channel.name}, up less down",
            y_unit=read.channel.unit,
        )  # fmt: skip
        run.event(self.name, channel=channel.name, reading=read.channel.name, **_words(loop, channel, read.channel))

    def _kinds(self) -> tuple[str, ...]:
        return ("up", "down", "random") if self.random else ("up", "down")

    def _plan(self, channels: Sequence[Channel]) -> tuple[Channel, Readout, Floats, Held]:
        """What is swept, what is read, the places on the way up, where the others stand."""
        _, channel = choose(channels, ["input", "knob"], self.channel, f"{self.name}: channel")
        start, stop = (parse_quantity(text, channel.unit) if text else None for text in (self.start, self.stop))
        low, high = sorted(ends(channel, start, stop, f"{self.name}: start, stop"))
        read = readout(channels, self.reading, f"{self.name}: reading")
        return channel, read, np.linspace(low, high, self.points), held(channels, self.hold, f"{self.name}: hold")


@dataclass(frozen=True)
class Loop:
    """What up and down sweeps have in common and what not.

    difference: up less down, (points,), in the reading's unit. threshold: what noise and settling may make of it.
    spans: start and stop of each stretch where it is more, and the largest difference within. either: of the readings
    in random order within, the share that falls on one of the two branches; None without any.
    """

    difference: Floats
    threshold: float
    spans: list[tuple[float, float, float]]
    either: float | None


def compare(places: Floats, found: dict[str, Floats], sigma: float, least: float, confidence: float) -> Loop:
    """Compare repeated sweeps, each (repeats, points), NaN where nothing settled.

    sigma: of one reading, as the device states it; the scatter between repeats counts instead where it is larger.
    least: a difference that counts for none. Bonferroni's factor is for the number of places.
    """
    up, down = found["up"], found["down"]
    means = _mean(up), _mean(down)
    rests = np.concatenate([(up - means[0]).ravel(), (down - means[1]).ravel()])
    rests = rests[np.isfinite(rests)]
    scatter = math.sqrt(float(np.sum(rests**2)) / max(1.0, len(rests) * (1.0 - 1.0 / len(up))))
    error = max(sigma, scatter) * math.sqrt(2.0 / len(up))
    threshold = least + NormalDist().inv_cdf(1.0 - (1.0 - confidence) / (2.0 * len(places))) * error
    difference = means[0] - means[1]
    apart = np.abs(difference) > threshold
    spans: list[tuple[float, float, float]] = []
    edges = np.flatnonzero(np.diff(np.r_[False, apart, False].astype(int)))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        largest = difference[first:after][np.argmax(np.abs(difference[first:after]))]
        spans.append((float(places[first]), float(places[after - 1]), float(largest)))
    either = None
    if "random" in found and apart.any():
        visits = found["random"][:, apart]
        near = np.min([np.abs(visits - mean[apart]) for mean in means], axis=0) < np.abs(difference[apart]) / 5.0
        either = float(np.mean(near[np.isfinite(visits)])) if np.isfinite(visits).any() else None
    return Loop(difference, threshold, spans, either)


def _mean(table: Floats) -> Floats:
    """Over the repeats, of what settled; NaN at a place where nothing did."""
    known = np.isfinite(table)
    return np.where(known.any(axis=0), np.where(known, table, 0.0).sum(axis=0), np.nan) / np.maximum(
        1, known.sum(axis=0)
    )


def _curves(places: Floats, found: dict[str, Floats]) -> list[dict[str, Any]]:
    """The single readings in random order, then the means of up and down over them."""
    curves = [
        {"label": "random order", "x": np.tile(places, len(t)).tolist(), "y": t.ravel().tolist(), "join": False}
        for kind, t in found.items()
        if kind == "random"
    ]
    return curves + [{"label": kind, "x": places.tolist(), "y": _mean(found[kind]).tolist()} for kind in ("up", "down")]


def _words(loop: Loop, channel: Channel, read: Channel) -> dict[str, Any]:
    facts = {"memory": bool(loop.spans), "spans": loop.spans, "threshold": loop.threshold, "either": loop.either}
    limit = format_quantity(loop.threshold, read.unit, 2)
    if not np.isfinite(loop.difference).any():
        return facts | {"bistable": False, "message": "there is no place where the device settled on both ways"}
    if not loop.spans:
        largest = format_quantity(float(np.nanmax(np.abs(loop.difference))), read.unit, 2)
        return facts | {
            "bistable": False,
            "message": f"no memory seen: up and down differ by at most {largest}, and noise may make it {limit}",
        }
    where = "; ".join(
        f"from {format_quantity(a, channel.unit)} to {format_quantity(b, channel.unit)} by up to "
        f"{format_quantity(abs(size), read.unit, 3)}"
        for a, b, size in loop.spans
    )
    bistable = loop.either is None or loop.either > 0.8
    share = "" if loop.either is None else f" ({format_quantity(loop.either, '%', 3)} of its readings)"
    verdict = f"bistable: in random order either state is met{share}" if bistable else (
        f"a lag more than two states: in random order it is found between the branches, too{share}"
    )  # fmt: skip
    if loop.either is None and bistable:
        verdict = "two states or a lag; sweep in random order to tell"
    return facts | {
        "bistable": bistable,
        "message": f"up and down differ in {read.name} for {channel.name} {where}, where noise may make it {limit}; "
        f"{verdict}",
    }
