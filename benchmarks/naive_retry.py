"""What bad replies do to the usual retry script, and to labthermo, under the same faults in one run.

python benchmarks/naive_retry.py [--points N] [--chance P]

The retry script is what one writes on the first day: bare PyVISA, and "try again on an error". Both set the bias of
examples/sine to values over its window, in any order as a trainer does (in a slow sweep the reply before is nearly
right), and read the output and the current of the drain, at a deadline of 50 ms (5 s in the lab). Every reply of every
instrument is at risk: none, late, truncated, empty, garbled, doubled, one digit replaced, connection cut.

A value is wrong if it is accepted (by labthermo: called settled) and lies more than 5 sigma and the settling tolerance
from the Bench's own truth at that moment.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvisa
from rich.console import Console
from rich.table import Table

from labthermo import Query, Station
from labthermo.config import StationConfig, load_station
from labthermo.device import Status
from labthermo.errors import LabThermoError
from simulators.bench import WireTwin, build_wire_twin
from simulators.faults import Chance

SINE = Path(__file__).parents[1] / "examples" / "sine"
DEADLINE = 0.05  # s
TRIES = 10
GAIN, DIVIDER, SIGN = 1000.0, 100.0, -1.0  # of the station file; the carriers are electrons


@dataclass
class Score:
    """points: that gave values; values: accepted; wrong: of these; failed: points that were reported as failed."""

    points: int = 0
    values: int = 0
    wrong: int = 0
    failed: int = 0
    bad_replies: int = 0
    seconds: float = 0.0
    slowest: float = 0.0


def make_station(folder: Path) -> StationConfig:
    """The example without hidden offsets, which no script could know, and with short deadlines."""
    (folder / "ndc_dots.yaml").write_text((SINE / "ndc_dots.yaml").read_text())
    text = (SINE / "station.yaml").read_text().replace("mismatch: 10 %", "mismatch: 10 %\n  offsets: false")
    (folder / "station.yaml").write_text(text.replace('::SOCKET"}', f'::SOCKET", timeout: {DEADLINE} s}}'))
    return load_station(folder / "station.yaml")


def put_at_risk(twin: WireTwin, chance: float) -> None:
    for k, name in enumerate(twin.addresses):
        twin.risk(name, Chance(chance, seed=k, delay=2 * DEADLINE))


def count_bad(twin: WireTwin) -> int:
    return sum(line.spoiled for line in twin._instruments.values())


class Judge:
    """Compares values with the bench's truth."""

    def __init__(self, twin: WireTwin, tolerance: float) -> None:
        self._twin, self._tolerance = twin, tolerance

    def wrong(self, values: dict[str, tuple[float, float]]) -> int:
        """How many of name: (value, sigma) are off."""
        truth = self._twin._servers.call(self._twin.bench.truth)
        slack = {"y": self._tolerance}
        return sum(not abs(value - truth[n]) <= 5 * sigma + slack.get(n, 0.0) for n, (value, sigma) in values.items())


class RetryingClient:
    """Ask, and on any error try again; the session stays as it is."""

    def __init__(self, address: str) -> None:
        self.resource = pyvisa.ResourceManager("@py").open_resource(address)
        assert isinstance(self.resource, pyvisa.resources.MessageBasedResource)
        self.address = address
        self.resource.read_termination = self.resource.write_termination = "\n"
        self.resource.timeout = 1000 * DEADLINE

    def ask(self, query: str) -> float:
        error: Exception = ValueError("never asked")
        for _ in range(TRIES):
            try:
                return float(self.resource.query(query))
            except Exception as caught:  # as such scripts do
                error = caught
                if isinstance(caught, (ConnectionError, BrokenPipeError)) or "closed" in str(caught).lower():
                    self.reopen()
        raise error

    def write(self, command: str) -> None:
        for _ in range(TRIES):
            try:
                self.resource.write(command)
                return
            except Exception:
                self.reopen()

    def reopen(self) -> None:
        self.resource.close()
        self.__init__(self.address)


def naive(config: StationConfig, biases: np.ndarray, chance: float) -> Score:
    """The retry script."""
    score = Score()
    twin = build_wire_twin(config)
    try:
        gates, dmm, drain = (RetryingClient(twin.addresses[name]) for name in ("gates", "dmm", "drain"))
        dmm.write("CONF:VOLT 10")
        dmm.write("SENS:VOLT:DC:NPLC 1")
        for command in ("SENS:CURR:RANG 1e-8", "SOUR:VOLT:ILIM 1e-8", "SOUR:VOLT 0", "OUTP ON"):
            drain.write(command)
        judge = Judge(twin, config.device.settle.tolerance)
        put_at_risk(twin, chance)
        begun = time.perf_counter()
        for bias in biases:
            start = time.perf_counter()
            gates.write(f"sour24:volt {SIGN * bias * DIVIDER:.9g}")
            time.sleep(2e-3)  # until it has been executed: nothing confirms it
            twin.sleep(0.2)  # many time constants
            try:
                y = SIGN * dmm.ask("READ?") / GAIN
                i = drain.ask("MEAS:CURR?")
            except Exception:
                score.failed += 1
                continue
            finally:
                score.slowest = max(score.slowest, time.perf_counter() - start)
            score.points += 1
            score.values += 2
            score.wrong += judge.wrong({"y": (y, 2e-6), "i_lo": (i, 2e-12)})
        score.seconds = time.perf_counter() - begun
        score.bad_replies = count_bad(twin)
        for client in (gates, dmm, drain):
            client.resource.close()
    finally:
        twin.close()
    return score


def ours(config: StationConfig, biases: np.ndarray, chance: float) -> Score:
    """The same sweep by device queries of a recorded run; opened again after a failure that was reported."""
    score = Score()
    begun, left = time.perf_counter(), list(biases)
    with tempfile.TemporaryDirectory() as runs:
        while left:
            station = Station(config)
            try:
                with station, station.run(Path(runs), {"procedure": "sweep", "parameters": {}}) as run:
                    judge = Judge(station.world, config.device.settle.tolerance)
                    put_at_risk(station.world, chance)
                    try:
                        while left:
                            start = time.perf_counter()
                            r = run.query(Query(inputs=[[float(left.pop(0))]]))
                            score.slowest = max(score.slowest, time.perf_counter() - start)
                            score.points += 1
                            if r.status[0] is Status.SETTLED and r.node_sigma is not None:
                                score.values += 2
                                y, i = (r.outputs[0, 0], r.sigma[0, 0]), (r.nodes[0, 0], r.node_sigma[0, 0])
                                score.wrong += judge.wrong({"y": y, "i_lo": i})
                    finally:
                        score.bad_replies += count_bad(station.world)
                        put_at_risk(station.world, 0.0)
            except LabThermoError:
                score.failed += 1
    score.seconds = time.perf_counter() - begun
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--chance", type=float, default=0.05, help="of every reply to go wrong")
    asked = parser.parse_args()
    logging.getLogger("labthermo.instruments").setLevel(logging.ERROR)  # every line that is mended is told
    table = Table(
        *("", "points", "values", "wrong", "failed", "bad replies", "slowest", "seconds"),
        title=f"{asked.chance:.0%} of all replies go wrong",
    )
    with tempfile.TemporaryDirectory() as folder:
        config = make_station(Path(folder))
        biases = np.random.default_rng(1).permutation(np.linspace(0.9e-3, 2.7e-3, asked.points))
        for name, sweep in (("retry script", naive), ("labthermo", ours)):
            score = sweep(config, biases, asked.chance)
            table.add_row(
                *(name, str(score.points), str(score.values), str(score.wrong), str(score.failed)),
                *(str(score.bad_replies), f"{score.slowest:.1f} s", f"{score.seconds:.0f}"),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
