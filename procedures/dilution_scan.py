"""Whether a flow vessel has two states: the substrate is scanned up and down, at several paces and dilution rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.errors import ParameterError
from labthermo.kinetics import gap_at_rest, steepest, to_rate_zero
from labthermo.quantity import format_quantity, parse_quantity, quantity
from labthermo.run import Run
from procedures.feeding import Feed, Feeding, Floats, Fraction, figure

START = 10.0  # residence times at the lowest share before a scan begins
SURE = 3.0  # standard deviations by which the two jumps must lie apart


class DilutionScan(Feeding):
    """At each total flow, scan the share of substrate up and down, each step for a given time, and again slower.

    Where neighbouring readings differ most the vessel jumps. Both ways' jumps, and how far up and down differ between
    them, are extrapolated to an endlessly slow scan; what stays apart has two states, between the two folds.
    """

    name: ClassVar[str] = "dilution_scan"

    flows: str = Field(default="18 uL/min, 96 uL/min", description="of substrate and buffer together, with commas")
    start: Fraction = Field(default=0.25, description="lowest share of substrate in the flow")
    stop: Fraction = Field(default=0.75, description="highest")
    points: Annotated[int, Field(ge=8, le=10_000)] = Field(default=61, description="of each scan, 8 to 10000")
    dwell: Annotated[float, quantity("s", above=0)] = Field(
        default=600.0, description="at each point of the slowest scan"
    )
    paces: Annotated[int, Field(ge=2, le=10)] = Field(default=3, description="each twice as fast as the one before")

    def count(self, channels: Sequence[Channel]) -> int:
        _, flows, _ = self._plan(channels)
        return len(flows) * self.paces * (2 * self.points + 1)

    def execute(self, run: Run) -> None:
        feed, flows, shares = self._plan(run.device.channels)
        for flow in flows:
            ends = ((share * flow, (1.0 - share) * flow) for share in (self.start, self.stop))
            self._check_flow(run, feed, *((s, b, flow + self.other) for s, b in ends))
        rows, found = [], []
        for flow in flows:
            result = self._scan(run, feed, flow, shares)
            found.append(result)
            words = "two states" if result["bistable"] else "one state"
            jumps = (result[way] if result["bistable"] else None for way in ("up", "down"))
            up, down = (_place(jump, shares) if jump else "none" for jump in jumps)
            rows.append([format_quantity(flow, "L/s"), f"{result['dilution']:.3g} 1/s", up, down, words])
        run.event("table", title="Jumps of an endlessly slow scan, as the share of substrate", rows=rows,
                  columns=["flow", "dilution rate", "going up", "going down", "verdict"])  # fmt: skip
        two = [format_quantity(r["flow"], "L/s") for r in found if r["bistable"]]
        one = [format_quantity(r["flow"], "L/s") for r in found if not r["bistable"]]
        said = [f"two states at {', '.join(two)}"] if two else []
        said += [f"one state at {', '.join(one)}"] if one else []
        folds = [r[way][0] for r in found if r["bistable"] for way in ("up", "down")]
        if any(not shares[0] <= fold <= shares[-1] for fold in folds):
            said.append("a fold is not among the shares scanned: scan slower (dwell), or further (start, stop)")
        run.event(self.name, scans=found, message="; ".join(said))

    def _scan(self, run: Run, feed: Feed, flow: float, shares: Floats) -> dict[str, Any]:
        step = float(shares[1] - shares[0])
        jumps: dict[str, list[float]] = {"up": [], "down": []}
        rates, curves, gaps, sigma = [], [], [], 0.0
        for pace in range(self.paces):
            dwell = self.dwell / 2.0**pace
            rates.append(step / dwell)
            rest = START * self.volume / (flow + self.other)
            run.query(self._query(feed, flow, shares[0], [rest]), purpose="start")
            both = []
            for way, places in (("up", shares), ("down", shares[::-1])):
                read = np.full(len(places), np.nan)
                for k, share in enumerate(places):
                    response = run.query(self._query(feed, flow, share, [dwell]), purpose=f"{self.name} {way}")
                    read[k], sigma = feed.of(response)[0], self._sigma(response, feed)
                jumps[way].append(steepest(places, read))
                both.append(read if way == "up" else read[::-1])
                curves.append({"label": f"{way}, {format_quantity(dwell, 's')} a point", "x": places, "y": read})
            gaps.append(both[0] - both[1])
        dilution = (flow + self.other) / self.volume
        figure(run, f"{feed.read.channel.name} at {format_quantity(flow, 'L/s')}", ("share of substrate", ""),
               (feed.read.channel.name, "OD"), curves[:2])  # fmt: skip
        (up, up_error), (down, down_error) = (to_rate_zero(rates, jumps[way], step) for way in ("up", "down"))
        between = (shares > min(up, down)) & (shares < max(up, down))
        gap, gap_error = gap_at_rest(rates, np.array(gaps)[:, between], sigma)
        apart = abs(up - down) > max(SURE * math.hypot(up_error, down_error), 1.5 * step)
        return {"flow": flow, "dilution": dilution, "up": [up, up_error], "down": [down, down_error],
                "gap": [gap, gap_error], "bistable": apart and abs(gap) > SURE * gap_error, "jumps": jumps,
                "rates": rates}  # fmt: skip

    def _query(self, feed: Feed, flow: float, share: float, after: Sequence[float] | None) -> Any:
        substrate = share * flow
        return feed.query(substrate, flow - substrate, f"{self.name}: start, stop, flows", after)

    def _plan(self, channels: Sequence[Channel]) -> tuple[Feed, list[float], Floats]:
        """Pumps, the flows (L/s), and the shares of substrate, ascending."""
        feed = self._feed(channels)
        if not self.start < self.stop:
            raise ParameterError(f"{self.name}: start, stop: these are no ascending shares")
        flows = []
        if not self.flows.strip(" ,"):
            raise ParameterError(f"{self.name}: flows: none is named; write them with commas, such as '18 uL/min'")
        for text in filter(None, (part.strip() for part in self.flows.split(","))):
            try:
                flows.append(parse_quantity(text, "L/s"))
            except ParameterError as error:
                raise ParameterError(f"{self.name}: flows: {error}") from None
        shares = np.linspace(self.start, self.stop, self.points)
        for flow in flows:
            for share in (self.start, self.stop):
                self._query(feed, flow, share, None)
        return feed, flows, shares


def _place(jump: Sequence[float], shares: Floats) -> str:
    """A fold and its standard deviation; where it was only extrapolated to, beyond which end of the scan."""
    low, high = float(shares[0]), float(shares[-1])
    if not low <= jump[0] <= high:
        return f"below {low:.4g}" if jump[0] < low else f"above {high:.4g}"
    return f"{jump[0]:.4g} ± {jump[1]:.2g}"
