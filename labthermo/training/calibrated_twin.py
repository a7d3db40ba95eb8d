"""The calibrated twin: train on a model that is re-fitted to the device as it is trained (training.md, section 3).

Starts are screened on the twin, not on the device. The best few are measured with few inputs, the twin is re-fitted
to all readings (instrument gains and offsets with the rest), and the starts are improved on the re-fitted twin; then
Levenberg-Marquardt steps on the twin alternate with a measurement at the new knobs and another re-fit. Where the
twin still misses by more than noise, its misfit at the present knobs is carried as a correction, so that the steps
act on the hardware's residuals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from labthermo.channel import Channel
from labthermo.device import Query, Response, Status
from labthermo.training.task import Task
from labthermo.training.trainer import Ask, Progress
from labthermo.twin import Twin

Floats = NDArray[np.float64]

STARTS = 12  # screened on the twin
SCOUTS = 5  # of them measured, with SCOUT_INPUTS inputs each
SCOUT_INPUTS = 12
PATIENCE = 9  # batches without a better one before giving up; new starts are screened after each third of it
GOOD = 0.006  # twin's own error, as a fraction of the amplitude, below which more steps gain nothing
ROWS = 2500  # readings kept for re-fits, the newest


class CalibratedTwin:
    """Levenberg-Marquardt on a twin that is re-fitted from every readable node.

    channels: the device's. Knobs stay within their limits. All randomness comes from `seed`.
    """

    def __init__(self, channels: Sequence[Channel], task: Task, twin: Twin, seed: int) -> None:
        self._knobs = [c for c in channels if c.kind == "knob"]
        self._low = np.array([c.minimum for c in self._knobs])
        self._high = np.array([c.maximum for c in self._knobs])
        self._task = task
        self._twin = twin
        self._rng = np.random.default_rng(seed)
        self._phase = "scout"
        self._asked = 0
        self._candidates: list[Floats] = []
        self._next: Floats | None = None
        self._settings: list[dict[str, Any]] = []
        self._best: tuple[float, list[float]] | None = None
        self._lowest = math.inf
        self._stale = 0
        self._ask: Ask | None = None
        self._finished = False

    def ask(self) -> Ask | None:
        if self._finished:
            return None
        if self._ask is None:
            self._ask = self._make_ask()
        return self._ask

    def tell(self, response: Response) -> Progress | None:
        ask = self._ask
        if ask is None:
            raise RuntimeError("tell() without ask()")
        self._ask = None
        self._asked += 1
        bad = np.array([s not in (Status.SETTLED, Status.UNSETTLED) for s in response.status])
        readings = np.hstack([response.outputs, response.nodes])
        readings[bad] = np.nan
        knobs = np.array([ask.query.knobs[c.name] for c in self._knobs])
        self._settings.append(
            {
                "knobs": knobs.tolist(),
                "inputs": np.asarray(response.inputs).tolist(),
                "readings": readings.tolist(),
                "sigma": np.hstack([response.sigma, response.node_sigma]).tolist(),
            }
        )
        chi_squared = self._refit()
        if ask.phase == "scout":
            if self._asked == len(self._candidates):
                self._phase = "train"
                improved = [self._improve(start, None) for start in self._candidates]
                self._next = min(improved, key=self._twin_error)
            return None
        return self._judge(knobs, response, chi_squared)

    def screened(self) -> Floats:
        """The best knobs, (n_knobs,), that random starts lead to on the twin as it is, without any device."""
        return self._screen()[0]

    def result(self) -> dict[str, float]:
        knobs = self._best[1] if self._best else (self._low + self._high) / 2.0
        return {c.name: float(v) for c, v in zip(self._knobs, knobs, strict=True)}

    def state(self) -> dict[str, Any]:
        return {
            "phase": self._phase,
            "asked": self._asked,
            "candidates": [c.tolist() for c in self._candidates],
            "next": None if self._next is None else self._next.tolist(),
            "settings": self._settings,
            "best": self._best,
            "lowest": None if math.isinf(self._lowest) else self._lowest,
            "stale": self._stale,
            "finished": self._finished,
            "rng": self._rng.bit_generator.state,
            "twin": self._twin.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._phase, self._asked = state["phase"], state["asked"]
        self._candidates = [np.array(c) for c in state["candidates"]]
        self._next = None if state["next"] is None else np.array(state["next"])
        self._settings = list(state["settings"])
        self._best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._stale, self._finished = state["stale"], state["finished"]
        self._rng.bit_generator.state = state["rng"]
        self._twin.restore(state["twin"])
        self._ask = None

    def _make_ask(self) -> Ask:
        if not self._candidates:
            self._candidates = self._screen()[:SCOUTS]
        if self._phase == "scout":
            knobs = self._candidates[self._asked]
            every = np.linspace(0, len(self._task.inputs) - 1, SCOUT_INPUTS).round().astype(int)
            inputs = self._task.inputs[np.unique(every)]
        else:
            assert self._next is not None
            knobs, inputs = self._next, self._task.inputs
        named = {c.name: float(v) for c, v in zip(self._knobs, knobs, strict=True)}
        return Ask(self._asked, Query(knobs=named, inputs=inputs, reset="park"), self._phase)

    def _screen(self) -> list[Floats]:
        """Random starts in the middle of the knobs' ranges, each trained on the twin as it is, best first."""
        middle, half = (self._low + self._high) / 2.0, (self._high - self._low) / 2.0
        starts = [middle + 0.6 * half * self._rng.uniform(-1.0, 1.0, len(middle)) for _ in range(STARTS)]
        return sorted((self._improve(start, None) for start in starts), key=self._twin_error)

    def _refit(self) -> float:
        knobs, inputs, readings, sigma = [], [], [], []
        rows = 0
        for setting in reversed(self._settings):
            n = len(setting["inputs"])
            if rows and rows + n > ROWS:
                break
            rows += n
            knobs.append(np.tile(setting["knobs"], (n, 1)))
            inputs.append(setting["inputs"])
            readings.append(setting["readings"])
            sigma.append(setting["sigma"])
        measured = np.vstack(readings).astype(float)
        # no reading is trusted beyond 1e-4 of its column: a noiseless simulation would demand infinite weight
        floor = 1e-4 * np.nanmax(np.abs(measured), axis=0, initial=1e-15)
        widths = np.fmax(np.vstack(sigma).astype(float), floor)
        return self._twin.refit(np.vstack(knobs), np.vstack(inputs), measured, widths)

    def _predict(self, knobs: Floats) -> tuple[Floats, Floats]:
        """Outputs on the task's inputs, (n, n_outputs), and their derivatives by the knobs."""
        return self._twin.jacobian(np.tile(knobs, (len(self._task.inputs), 1)), self._task.inputs)

    def _twin_error(self, knobs: Floats) -> float:
        outputs, _ = self._predict(knobs)
        return self._task.error(outputs)

    def _improve(self, start: Floats, correction: Floats | None) -> Floats:
        """Levenberg-Marquardt from `start` on the twin plus `correction`, within the knobs' limits."""
        half = (self._high - self._low) / 2.0
        low, high = self._low + 1e-6 * half, self._high - 1e-6 * half
        target = self._task.targets if correction is None else self._task.targets - correction
        scale = self._task.amplitude
        last: list[Any] = [None, None]

        def evaluate(x: Floats) -> tuple[Floats, Floats]:
            if last[0] is None or not np.array_equal(last[0], x):
                last[0], last[1] = x.copy(), self._predict(x * half)
            return last[1]

        def residuals(x: Floats) -> Floats:
            return ((evaluate(x)[0] - target) / scale).ravel()

        def jacobian(x: Floats) -> Floats:
            by_knobs = evaluate(x)[1]
            return by_knobs.reshape(-1, by_knobs.shape[2]) * half / scale

        found = least_squares(
            residuals,
            np.clip(start, low, high) / half,
            jac=cast(Any, jacobian),  # scipy's annotation knows only the names of schemes
            bounds=(low / half, high / half),
            xtol=1e-5,
            ftol=1e-4,
            max_nfev=60,
        )
        return found.x * half

    def _judge(self, knobs: Floats, response: Response, chi_squared: float) -> Progress:
        """Score a full batch, decide whether to go on, and where."""
        outputs, _ = self._predict(knobs)
        measured = response.outputs
        known = np.isfinite(measured)
        misfit = np.where(known, measured - outputs, 0.0)
        rmse = self._task.error(np.where(known, measured, outputs))
        # the twin has averaged over all readings: where it agrees within noise, its error is the less noisy one
        agrees = float(np.mean((misfit[known] / response.sigma[known]) ** 2)) < 1.5 if known.any() else False
        score = self._task.error(outputs) if agrees else rmse
        if self._best is None or score < 0.97 * self._best[0]:
            self._best, self._stale = (score, knobs.tolist()), 0
        else:
            self._stale += 1
        if (agrees and score < GOOD) or self._stale >= PATIENCE:
            self._finished = True
        else:
            correction = None if agrees else misfit
            if self._stale and self._stale % (PATIENCE // 3) == 0:
                self._next = self._screen()[0]
            elif self._stale:
                spread = 0.05 * (self._high - self._low)
                kicked = np.array(self._best[1]) + spread * self._rng.standard_normal(len(knobs))
                self._next = self._improve(np.clip(kicked, self._low, self._high), None)
            else:
                self._next = self._improve(knobs, correction)
        self._lowest = min(self._lowest, rmse)
        return Progress(rmse, self._lowest)
