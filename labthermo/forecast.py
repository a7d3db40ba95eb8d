"""What a procedure or a training would do to the bench: a dry run on the wire twin of the station as designed.

The whole stack runs, drivers and all, in bench time; only the metal is missing. What is forecast is read from the
Bench's own log and from the record of the dry run, not computed beside them. Hidden differences of the sample are left
out: whoever plans does not know them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labthermo.bench_device import RESERVE
from labthermo.channel import Channel
from labthermo.config import StationConfig
from labthermo.device import Status
from labthermo.errors import LabThermoError
from labthermo.quantity import format_quantity
from labthermo.run import Run
from labthermo.station import Station

if TYPE_CHECKING:
    from labthermo.records.journal import Point

MESSAGE_TIME = (
    1e-3  # s, assumed of a message to an instrument over Ethernet and its reply; a GPIB or serial line needs more
)
COMMIT_TIME = 4e-3  # s, assumed of a durable commit to a plain disk
ROUNDING = 1e-6  # relative, of steps that are differences of rounded set-points


@dataclass(frozen=True)
class Travel:
    """What one input or knob would do.

    unit: of the channel; lowest, highest: where it would go; way: the sum of all its steps; largest_step; fastest: the
    highest rate of change between two steps, per second; moves: how many steps. delivered: of a pumped flow, what it
    would deliver in all (L), else None; refills: of a syringe whose volume the station file has, how often it would be
    filled again by its pump, or would have to be by somebody, else None. times, values: every set-point, s and `unit`.
    """

    channel: str
    unit: str
    lowest: float
    highest: float
    way: float
    largest_step: float
    fastest: float
    moves: int
    delivered: float | None
    refills: int | None
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Outlook:
    """What one output or node would read: lowest, highest and median sigma in `unit`; signal_to_noise: their span
    over sigma; each: (points,), every reading's own |value| / sigma, NaN where nothing would be read."""

    channel: str
    unit: str
    lowest: float
    highest: float
    sigma: float
    signal_to_noise: float
    each: tuple[float, ...]


@dataclass(frozen=True)
class Forecast:
    """What would happen.

    subject: the procedure or training; points: device queries, scored ones included; bench_time: s, of ramps, settling
    and readings; bench_times: the same of every dry run; messages: to all instruments; reads: of all meters, those
    included that only watch it settle; wall_time: s, with MESSAGE_TIME and COMMIT_TIME for each message and point on
    top; statuses: how many points would have which; times: (points,), s of bench time, when each would be committed;
    problems: every limit that would be hit, one sentence each.
    """

    subject: str
    points: int
    bench_time: float
    bench_times: tuple[float, ...]
    messages: int
    reads: int
    wall_time: float
    statuses: Mapping[str, int]
    times: tuple[float, ...]
    travels: tuple[Travel, ...]
    outlooks: tuple[Outlook, ...]
    problems: tuple[str, ...]


def forecast(
    config: StationConfig,
    subject: str,
    execute: Callable[[Run, Station], None],
    scratch: Path,
    on_point: Callable[[Point], None] = lambda point: None,
    dry_runs: int = 1,
) -> Forecast:
    """Dry-run `execute` on the wire twin of the station as designed, its record below `scratch`.

    A limit that stops the run is a problem in the forecast, and what was done before is forecast all the same.
    dry_runs: how often, each with other noise, by which settling takes longer or shorter. Times, messages, reads and
    volumes are means over them, problems those of all, everything else is the first one's.

    Raises
    ------
    LabThermoError: the station cannot be opened at all.
    """
    seeds = range(config.simulation.seed, config.simulation.seed + dry_runs)
    found = [_dry_run(config.with_seed(seed), subject, execute, scratch / str(seed), on_point) for seed in seeds]
    volumes = [{t.channel: t.delivered or 0.0 for t in each.travels} for each in found]
    travels = [
        t if t.delivered is None else replace(t, delivered=float(np.mean([v.get(t.channel, 0.0) for v in volumes])))
        for t in found[0].travels
    ]
    return replace(
        found[0],
        bench_time=float(np.mean([each.bench_time for each in found])),
        bench_times=tuple(each.bench_time for each in found),
        messages=round(np.mean([each.messages for each in found])),
        reads=round(np.mean([each.reads for each in found])),
        wall_time=float(np.mean([each.wall_time for each in found])),
        travels=tuple(travels),
        problems=tuple(dict.fromkeys(problem for each in found for problem in each.problems)),
    )


def _dry_run(
    config: StationConfig,
    subject: str,
    execute: Callable[[Run, Station], None],
    scratch: Path,
    on_point: Callable[[Point], None],
) -> Forecast:
    times: list[float] = []
    problems: list[str] = []
    station = Station(config.as_designed(), "wire")

    def committed(point: Point) -> None:
        times.append(station.clock.now() - began)
        on_point(point)

    with station:
        began = station.clock.now()
        with station.run(scratch, {"plan": subject}, run_id="plan", on_point=committed) as run:
            channels = run.device.channels
            try:
                execute(run, station)
            except LabThermoError as error:
                problems.append(" ".join(str(error).split()))
            points = run.journal.points()
            refilled = Counter(pump for event in run.journal.events("refill") for pump in event.detail["volumes"])
        bench_time = station.clock.now() - began
        usage = getattr(station.device, "usage", None)
        reads = usage().reads if usage is not None else 0
        log = station.world.read_log()
        messages = station.world.messages()
    statuses = Counter(point.status for point in points)
    problems += [
        f"{count} of {len(points)} points would be {status}; {_ADVICE[status]}"
        for status, count in statuses.items()
        if status in _ADVICE
    ]
    travels = []
    for channel in (c for c in channels if c.kind in ("input", "knob")):
        travel = _travel(channel, log, began, bench_time)
        if travel is None:
            continue
        size, refillable = _syringe(config, channel.name)
        if size and travel.delivered is not None:
            timeout = config.device.settle.timeout
            needed = refilled[channel.name] if refillable else _refills(travel, times, points, timeout, size)
            travel = replace(travel, refills=needed)
        travels.append(travel)
        problems += _limits_hit(channel, travel)
        if travel.refills and not refillable:
            times_filled = "once" if travel.refills == 1 else f"{travel.refills} times"
            problems.append(
                f"{channel.name} would run empty: its syringe of {format_quantity(size, 'L')} would have to be filled "
                f"again {times_filled}, and it has no option refill_rate"
            )
    return Forecast(
        subject=subject,
        points=len(points),
        bench_time=bench_time,
        bench_times=(bench_time,),
        messages=messages,
        reads=reads,
        wall_time=bench_time + messages * MESSAGE_TIME + len(points) * COMMIT_TIME,
        statuses={str(status): count for status, count in statuses.items()},
        times=tuple(times),
        travels=tuple(travels),
        outlooks=tuple(_outlooks(channels, points)),
        problems=tuple(problems),
    )


_ADVICE = {
    Status.UNSETTLED: "allow a longer settle timeout or a wider tolerance",
    Status.OVERFLOW: "stay within the amplifier's and the meter's range",
    Status.COMPLIANCE: "raise the compliance or ask for less bias",
    Status.TRIPPED: "an interlock would trip: look at the leakage and temperature limits",
    Status.BISTABLE: "choose a reset policy",
    Status.OSCILLATING: "the design oscillates there: stay away",
    Status.ABANDONED: "the run would give up there",
}


def _syringe(config: StationConfig, channel: str) -> tuple[float, bool]:
    """What the syringe of this pump holds, L; 0 where the station file does not say, or it is no pump. And whether the
    pump fills it itself."""
    section = {**config.device.inputs, **config.device.knobs}[channel]
    options = config.instruments[section.of.instrument].options
    return float(options.get("syringe_volume", 0.0)), bool(options.get("refill_rate", 0.0))


def _refills(travel: Travel, times: Sequence[float], points: Sequence[Point], timeout: float, size: float) -> int:
    """How often somebody would have to fill a syringe, so that no answer is refused for want of what it could take.

    times: s, when each point would be committed; timeout: s, that settling may take; size: L.
    """
    rates = np.array(travel.values)
    pumped = np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(travel.times))])
    left, count, began = size, 0, 0.0
    for end, point in zip(times, points, strict=False):
        first, last = (int(np.searchsorted(travel.times, t, side="right")) - 1 for t in (began, end))
        before, after = (
            pumped[max(k, 0)] + rates[max(k, 0)] * max(0.0, t - travel.times[max(k, 0)])
            for k, t in ((first, began), (last, end))
        )
        volume = float(after - before)
        fastest = float(rates[max(first, 0) : last + 1].max(initial=0.0))
        need = volume if point.status is Status.TIMED else max(volume, fastest * timeout)
        if need > left - RESERVE * size:
            left, count = size, count + 1
        left, began = left - volume, end
    return count


def _travel(channel: Channel, log: Sequence[Any], began: float, lasts: float) -> Travel | None:
    """From the Bench's own log; None if the channel would not be moved. While it refills, a pump is at rest."""
    entries = [e for e in log if e.channel == channel.name and e.quantity in ("voltage", "flow")]
    before = [e for e in entries if e.time < began][-1:]
    entries = before + [e for e in entries if e.time >= began]
    if len(entries) == len(before):
        return None
    time = np.array([max(0.0, e.time - began) for e in entries])
    flow = entries[0].quantity == "flow"
    value = np.array([max(0.0, e.at_sample) if flow else e.at_sample for e in entries])
    steps, waits = np.abs(np.diff(value)), np.diff(time)
    moved = steps > 0
    delivered = float(np.sum(value * np.diff(np.append(time, lasts)))) if flow else None
    return Travel(
        channel=channel.name,
        unit=channel.unit,
        lowest=float(value.min()),
        highest=float(value.max()),
        way=float(steps.sum()),
        largest_step=float(steps.max(initial=0.0)),
        fastest=float((steps[moved] / np.maximum(waits[moved], 1e-12)).max(initial=0.0)),
        moves=int(moved.sum()),
        delivered=delivered,
        refills=None,
        times=tuple(time.tolist()),
        values=tuple(value.tolist()),
    )


def _limits_hit(channel: Channel, travel: Travel) -> list[str]:
    """Guard lets none of these pass: a second opinion, from the bench's side."""
    found = []
    moving = [value for value in travel.values if not (channel.rests and value == 0.0)]  # a pump may always stop
    lowest = min(moving, default=channel.minimum)
    for what, value, limit, unit in (
        ("go up to", travel.highest - channel.maximum, channel.resolution, channel.unit),
        ("go down to", channel.minimum - lowest, channel.resolution, channel.unit),
        ("step by", travel.largest_step, channel.max_step, channel.unit),
        ("change by", travel.fastest, channel.slew, f"{channel.unit}/s"),
    ):
        if value > limit + ROUNDING * max(abs(limit), abs(channel.maximum), abs(channel.minimum)):
            shown = {"go up to": travel.highest, "go down to": lowest}.get(what, value)
            allowed = {"go up to": channel.maximum, "go down to": channel.minimum}.get(what, limit)
            asked, limited = format_quantity(shown, unit), format_quantity(allowed, unit)
            found.append(f"{channel.name} would {what} {asked}, allowed is {limited}")
    return found


def _outlooks(channels: Sequence[Channel], points: Sequence[Point]) -> list[Outlook]:
    found = []
    for kind, values_of, sigmas_of in (("output", "outputs", "sigma"), ("node", "nodes", "node_sigma")):
        for column, channel in enumerate(c for c in channels if c.kind == kind):
            values = np.array([getattr(p, values_of)[column] for p in points], dtype=float)
            sigmas = np.array([getattr(p, sigmas_of)[column] for p in points], dtype=float)
            known = np.isfinite(values) & (sigmas > 0)
            if not known.any():
                continue
            low, high, sigma = values[known].min(), values[known].max(), float(np.median(sigmas[known]))
            each = np.where(known, np.abs(values) / np.where(known, sigmas, 1.0), np.nan)
            found.append(
                Outlook(
                    channel.name,
                    channel.unit,
                    float(low),
                    float(high),
                    sigma,
                    float(high - low) / sigma,
                    tuple(each.tolist()),
                )
            )
    return found


def write(found: Forecast, folder: Path) -> tuple[Path, Path]:
    """Write ``plan.json`` and ``plan.svg`` into a folder, which is made; their paths."""
    from labthermo.records.figures import plan

    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "plan.json", folder / "plan.svg"
    data = asdict(found)
    for outlook in data["outlooks"]:
        outlook["each"] = [value if np.isfinite(value) else None for value in outlook["each"]]
    table.write_text(json.dumps(data, indent=1), encoding="utf-8")
    drawing = plan(found).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" style="background:white"', 1)
    picture.write_text(drawing, encoding="utf-8")
    return table, picture
