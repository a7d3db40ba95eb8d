"""What the care of the instrument layer costs: queries and a gate-gate map, against the bare drivers in the same run.

python benchmarks/round_trip.py [--quick]

Everything talks to the instruments of one served bench (examples/sine) in another process. Round trips are medians.
The goals, 1.5, are for round trips and for the map through adapters and journal; a device query does more than the
bare loop (it ramps within limits, waits until the reading has settled by evidence, watches the leakage): no goal.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvisa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from instruments.keithley2450 import Keithley2450
from instruments.keysight34465a import Keysight34465A
from instruments.qdac2 import Qdac2
from labthermo import Query, Station
from labthermo.device import Response, Status, channels_of
from labthermo.records.journal import Journal

STATION = Path(__file__).parents[1] / "examples" / "sine" / "station.yaml"
GOAL = 1.5


def median_of(talks: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Median wall time of each, s; taken in turns, so that a machine that changes its speed changes all."""
    found: dict[str, list[float]] = {name: [] for name in talks}
    for talk in talks.values():
        talk()
    for _ in range(times):
        for name, talk in talks.items():
            begun = time.perf_counter()
            talk()
            found[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def bare(address: str) -> pyvisa.resources.MessageBasedResource:
    """A pyvisa-py session without Nagle's algorithm, as a careful user opens it."""
    resource = pyvisa.ResourceManager("@py").open_resource(address)
    assert isinstance(resource, pyvisa.resources.MessageBasedResource)
    resource.read_termination = resource.write_termination = "\n"
    resource.visalib.sessions[resource.session].interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return resource


def round_trips(addresses: dict[str, str], times: int) -> list[tuple[str, float, float]]:
    """One reading and one read-back: name, bare, ours (s)."""
    plain = {name: bare(addresses[name]) for name in ("dmm", "gates")}
    gates, dmm = Qdac2("gates", addresses["gates"]), Keysight34465A("dmm", addresses["dmm"])
    try:
        dmm.prepare_voltage_range(5.0)
        dmm.measure_voltage(4e-4)  # 0.02 power line cycles
        pairs = {
            "voltmeter reading": (lambda: plain["dmm"].query("READ?"), lambda: dmm.measure_voltage(4e-4)),
            "gate read-back": (lambda: plain["gates"].query("sour5:volt?"), lambda: gates.voltage("ch05")),
        }
        rows = []
        for name, (theirs, ours) in pairs.items():
            found = median_of({"bare": theirs, "ours": ours}, times)
            rows.append((name, found["bare"], found["ours"]))
        return rows
    finally:
        for thing in (*plain.values(), gates, dmm):
            thing.close()


def whole_query_map(axis: NDArray[np.float64], control: str) -> float:
    """Seconds of a gate-gate map by device queries: Guard's ramps, settling by evidence, leakage watch, journal."""
    with tempfile.TemporaryDirectory() as scratch, Station(STATION, "wire", bench=control) as station:
        run = station.run(Path(scratch), {"procedure": "map", "parameters": {}})
        middle = np.array([[0.5 * sum(c.window or (0.0, 0.0)) for c in channels_of(station.device, "input")]])
        run.query(Query({"p1": axis[0], "p2": axis[0]}, middle))
        begun = time.perf_counter()
        for slow in axis:
            for fast in axis:
                run.query(Query({"p1": float(slow), "p2": float(fast)}, middle))
        seconds = time.perf_counter() - begun
        run.close()
    return seconds


def adapter_map(axis: NDArray[np.float64], addresses: dict[str, str]) -> float:
    """Seconds of the map through adapters and journal: sets confirmed, values sent twice, points durable."""
    gates, dmm = Qdac2("gates", addresses["gates"]), Keysight34465A("dmm", addresses["dmm"])
    drain = Keithley2450("drain", addresses["drain"])
    try:
        dmm.prepare_voltage_range(5.0)
        drain.prepare_current_range(10e-9)
        drain.set_voltage("output", 0.0)
        drain.set_compliance(10e-9)
        drain.output_on()
        with tempfile.TemporaryDirectory() as scratch:
            journal = Journal.create(Path(scratch) / "run", {"backend": "wire"})
            sigma, none = np.array([[dmm.voltage_noise(0.02)]]), np.zeros((1, 0))
            begun = time.perf_counter()
            for slow in axis:
                gates.set_voltage("ch01", float(slow))
                for fast in axis:
                    gates.set_voltage("ch04", float(fast))
                    y, i = dmm.measure_voltage(0.02), drain.measure_current(0.02)
                    knobs = {"p1": float(slow), "p2": float(fast)}
                    journal.append(
                        Query(knobs, none),
                        Response(
                            np.array([[y.value]]), np.array([[i.value]]), sigma, sigma, np.zeros(1),
                            (Status.SETTLED,), none, knobs,
                        ),
                    )  # fmt: skip
            seconds = time.perf_counter() - begun
            journal.close()
        drain.output_off()
        return seconds
    finally:
        for adapter in (gates, dmm, drain):
            adapter.close()


def bare_map(axis: NDArray[np.float64], addresses: dict[str, str]) -> float:
    """Seconds of the map with the bare QCoDeS drivers and one durable commit a point."""
    from qcodes.instrument_drivers.Keithley import Keithley2450 as Smu
    from qcodes.instrument_drivers.Keysight import Keysight34465A as Dmm
    from qcodes_contrib_drivers.drivers.QDevil.QDAC2 import QDac2

    kinds = {"gates": QDac2, "dmm": Dmm, "drain": Smu}
    with contextlib.redirect_stdout(io.StringIO()):
        drivers = {n: kind(f"bare_{n}", None, resource=bare(addresses[n])) for n, kind in kinds.items()}
    gates, dmm, drain = (drivers[name] for name in kinds)
    try:
        dmm.NPLC(1)
        drain.sense_function("current")
        drain.sense.nplc(1)
        drain.output_enabled(True)
        p1, p2 = gates.channel(1).dc_constant_V, gates.channel(4).dc_constant_V
        with tempfile.TemporaryDirectory() as scratch:
            journal = sqlite3.connect(Path(scratch) / "points.sqlite", isolation_level=None)
            journal.execute("PRAGMA journal_mode=WAL")
            journal.execute("PRAGMA synchronous=FULL")
            journal.execute("CREATE TABLE points (p1 REAL, p2 REAL, y REAL, i REAL, time REAL)")
            begun = time.perf_counter()
            for slow in axis:
                p1(float(slow))
                for fast in axis:
                    p2(float(fast))
                    point = (float(slow), float(fast), dmm.volt(), drain.sense.current(), time.time())
                    journal.execute("INSERT INTO points VALUES (?, ?, ?, ?, ?)", point)
            seconds = time.perf_counter() - begun
            journal.close()
        drain.output_enabled(False)
        return seconds
    finally:
        for driver in drivers.values():
            driver.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a 20 by 20 map instead of 100 by 100")
    quick = parser.parse_args().quick
    served = subprocess.Popen(
        [sys.executable, "-m", "labthermo", "bench", str(STATION), "--virtual-time"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        bench = json.loads(served.stdout.readline())
        table = Table("talk", "bare", "ours", f"ours / bare (goal {GOAL})")
        for name, theirs, ours in round_trips(bench["addresses"], 300 if quick else 2000):
            table.add_row(name, f"{theirs * 1e6:.0f} us", f"{ours * 1e6:.0f} us", f"{ours / theirs:.2f}")
        axis = np.linspace(-10e-3, 10e-3, 20 if quick else 100)
        theirs = bare_map(axis, bench["addresses"])
        for what, ours in {
            "adapters and journal": adapter_map(axis, bench["addresses"]),
            "device queries": whole_query_map(axis, bench["control"]),
        }.items():
            name = f"{len(axis)} x {len(axis)} map, {what}"
            table.add_row(name, f"{theirs:.1f} s", f"{ours:.1f} s", f"{ours / theirs:.2f}")
        Console().print(table)
    finally:
        served.terminate()
        served.wait()


if __name__ == "__main__":
    main()
