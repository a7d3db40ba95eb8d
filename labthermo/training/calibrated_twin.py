"""The calibrated twin: train on a model that is fitted to the device as it is trained (training.md, section 3).

First the device is asked where its answers tell most (:mod:`labthermo.training.calibration`), until the twin knows its
outputs well enough to be trained on; what a lab does not know beforehand, lever arms, crosstalk, gains and offsets,
is among what it learns. Starts are screened on the twin. Then a measurement at all inputs alternates with a re-fit and
with Levenberg-Marquardt on the twin. Where the twin still misses by more than noise, what it misses is learnt
(:mod:`labthermo.training.residual`) and added, and steps stay within a region that grows while they keep their promise.
Answers that an earlier one contradicts are a charge jump: the twin's levels are set free, and it is fitted anew.

A pump's rate is never quite the same again. What that does to an answer counts as noise of its reading, and knobs are
sought at which it matters least (devices.md, section 2: flow noise belongs in the loss).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from threadpoolctl import threadpool_limits

from labthermo.channel import Channel
from labthermo.device import Query, Response
from labthermo.training.calibration import AGREES, CALIBRATION, CERTAIN, Calibration, refit
from labthermo.training.change import most_likely_change
from labthermo.training.evidence import Evidence
from labthermo.training.residual import Residual
from labthermo.training.task import Task
from labthermo.training.trainer import Ask, Progress
from labthermo.twin import Twin

Floats = NDArray[np.float64]

STARTS = 12  # screened on the twin
SCREENINGS = 4  # at most, where none leads to less than POOR
BETTER = 0.97  # of the best error: what counts as an improvement
POOR = 0.05  # of the amplitude
PATIENCE = 9  # batches without a better one before giving up; after each third of it new starts are screened, and it
# is over if a twin that agrees with the device knows of none that is better
GOOD = 0.006  # twin's own error, as a fraction of the amplitude, below which more steps gain nothing
ON_TARGET = 1.3  # chi-squared per reading about the targets at which there is nothing more to be seen
UNSURE = 0.08  # of the amplitude: the twin's doubt at a setting, above which it is probed before it is measured whole
PROBES = 10  # in a row at most
SURPRISE = 4.0  # chi-squared per reading of a prediction from which a jump is looked for
CHANGED = 9.0  # fall of chi-squared that a shift of one dot's levels brings, from which a jump is looked for
CONFIRMED = 12.0  # the same at an earlier setting that is asked again, from which it has happened
REFERENCE = 6  # queries that look for it
REGION = 0.3  # of half a knob's range: the first step where the twin is wrong


class CalibratedTwin:
    """Levenberg-Marquardt on a twin that is fitted to every readable node at settings of its own choice.

    channels: the device's. Knobs stay within their limits. All randomness comes from `seed`. known: settings (see
    :class:`Evidence`) that `twin` has been fitted to before.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        task: Task,
        twin: Twin,
        seed: int,
        known: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._knobs = [c for c in channels if c.kind == "knob"]
        self._low = np.array([c.minimum for c in self._knobs])
        self._high = np.array([c.maximum for c in self._knobs])
        self._task = task
        self._twin = twin
        self._rng = np.random.default_rng(seed)
        self._noise = [np.array([c.noise for c in channels if c.kind == kind]) for kind in ("input", "knob")]
        self._variants = self._make_variants(seed)
        scale = np.full(task.targets.shape[1], task.amplitude)
        self._calibration = Calibration(channels, scale, self._rng)
        self._residual = Residual((self._high - self._low) / 2.0, np.ptp(task.inputs, axis=0))
        self._evidence = Evidence(list(known))
        self._phase = "calibrate"
        self._asked = 0
        self._next: tuple[Floats, Floats] | None = None
        self._after: Floats | None = None  # where to go on after a look at an earlier setting
        self._suspected: tuple[int, int | None] = (0, None)  # first setting after a change, coordinate that has shifted
        self._alarm = CHANGED
        self._best: tuple[float, list[float]] | None = None
        self._promised = math.inf
        self._radius = REGION
        self._lowest = math.inf
        self._stale = 0
        self._probes = 0  # since the last full batch
        self._chi = 0.0  # per reading, of all that the twin is fitted to
        self._accepted = 0.0  # the same when it was last fitted afresh
        self._ask: Ask | None = None
        self._finished = False
        self._events: list[tuple[str, dict[str, Any]]] = []
        if known:
            rows = self._evidence.rows()
            twin.condition(*rows)
            self._chi = self._accepted = twin.misfit(*rows)

    def ask(self) -> Ask | None:
        with threadpool_limits(1, "blas"):
            return self._make_ask()

    def _make_ask(self) -> Ask | None:
        if self._finished:
            return None
        if self._ask is None:
            if self._next is None:
                self._calibrate_or_train()
            assert self._next is not None
            knobs, inputs = self._next
            named = {c.name: float(v) for c, v in zip(self._knobs, knobs, strict=True)}
            self._ask = Ask(self._asked, Query(knobs=named, inputs=inputs, reset="park"), self._phase)
        return self._ask

    def tell(self, response: Response) -> Progress | None:
        with threadpool_limits(1, "blas"):  # small matrices: threads would cost ten times what they gain
            return self._tell(response)

    def _tell(self, response: Response) -> Progress | None:
        ask = self._ask
        if ask is None:
            raise RuntimeError("tell() without ask()")
        self._ask = self._next = None
        self._asked += 1
        knobs = np.array([ask.query.knobs[c.name] for c in self._knobs])
        if ask.phase == "check":
            self._compare(response)
            return None
        response = self._with_flow_noise(knobs, response)
        suspected = self._surprise(knobs, response) > SURPRISE
        self._evidence.add(knobs, response)
        if suspected:
            return self._suspect(knobs, response, ask.phase)
        return self._learn(knobs, response, ask.phase)

    def take_events(self) -> list[tuple[str, dict[str, Any]]]:
        """What has happened since the last call that a record should have: (kind, detail), such as a ``jump``."""
        events, self._events = self._events, []
        return events

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
            "next": None if self._next is None else [part.tolist() for part in self._next],
            "after": None if self._after is None else self._after.tolist(),
            "settings": self._evidence.settings,
            "suspected": list(self._suspected),
            "alarm": self._alarm,
            "best": self._best,
            "promised": None if math.isinf(self._promised) else self._promised,
            "radius": self._radius,
            "lowest": None if math.isinf(self._lowest) else self._lowest,
            "stale": self._stale,
            "probes": self._probes,
            "chi": self._chi,
            "accepted": self._accepted,
            "finished": self._finished,
            "events": self._events,
            "rng": self._rng.bit_generator.state,
            "twin": self._twin.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._phase, self._asked = state["phase"], state["asked"]
        following = state["next"]
        self._next = None if following is None else (np.array(following[0]), np.array(following[1]))
        self._after = None if state["after"] is None else np.array(state["after"])
        self._evidence = Evidence(list(state["settings"]))
        self._suspected, self._alarm = (state["suspected"][0], state["suspected"][1]), state["alarm"]
        self._best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self._promised = math.inf if state["promised"] is None else state["promised"]
        self._radius = state["radius"]
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._stale, self._finished = state["stale"], state["finished"]
        self._probes, self._chi, self._accepted = state["probes"], state["chi"], state["accepted"]
        self._events = [(kind, detail) for kind, detail in state["events"]]
        self._rng.bit_generator.state = state["rng"]
        self._twin.restore(state["twin"])
        if self._evidence.settings:
            self._twin.condition(*self._evidence.rows())
        self._ask = None

    def _start(self, proposed: Floats | None = None, enough: float = POOR) -> Floats:
        """Where to measure next: what is proposed, unless the twin knows that it is no solution and has a better one.

        A start that ends in a poor valley costs nothing on the twin, and queries on the device. enough: the twin's
        error, as a fraction of the amplitude, below which it is not screened further.
        """
        best = proposed
        for _ in range(SCREENINGS):
            if best is not None and self._twin_error(best) < enough:
                break
            best = min([*([] if best is None else [best]), self._screen()[0]], key=self._twin_error)
        assert best is not None
        return best

    def _screen(self) -> list[Floats]:
        """Random starts in the middle of the knobs' ranges, each trained on the twin as it is, best first."""
        middle, half = (self._low + self._high) / 2.0, (self._high - self._low) / 2.0
        starts = [middle + 0.6 * half * self._rng.uniform(-1.0, 1.0, len(middle)) for _ in range(STARTS)]
        return sorted((self._improve(start) for start in starts), key=self._twin_error)

    def _calibrating(self) -> tuple[Floats, Floats]:
        """The next setting to calibrate at."""
        return self._calibration.choose(self._twin, self._sigma())

    def _sigma(self) -> Floats | None:
        return np.median(self._evidence.rows()[3], axis=0) if len(self._evidence) else None

    def _learn(self, knobs: Floats, response: Response, phase: str) -> Progress | None:
        """Re-fit to everything, and choose what to ask next."""
        kept, before = self._twin.state(), self._chi
        self._refit()
        if before <= AGREES < self._chi and len(self._evidence.settings) > 1:
            self._twin.restore(kept)
            self._twin.condition(*Evidence(self._evidence.settings[:-1]).rows())
            self._chi = before
            return self._suspect(knobs, response, phase)
        if phase != "calibrate" and self._chi < 3.0 * AGREES:  # else the twin is far from where it is linear
            change = most_likely_change(self._twin, self._evidence)
            if change is not None and change.gain > self._alarm * max(1.0, self._chi):
                self._alarm = 1.3 * change.gain  # if nothing comes of it, the next alarm takes more
                return self._suspect(knobs, response, phase, change.split, change.level)
        if phase == "train":
            return self._judge(knobs, response)
        if phase == "probe":
            self._go_to(self._start(self._improve(knobs)))
            return None
        self._calibrate_or_train()
        return None

    def _calibrate_or_train(self) -> None:
        """Calibrate on, or, once the twin knows its outputs well enough, train on it."""
        unsure = not len(self._evidence) or self._calibration.doubt(self._twin) > CERTAIN
        if unsure and len(self._evidence) + 1 < CALIBRATION:
            self._next = self._calibrating()
        else:
            self._go_to(self._start())

    def _refit(self) -> None:
        self._chi, self._accepted = refit(self._twin, self._evidence, self._rng, self._accepted)

    def _go_to(self, knobs: Floats) -> None:
        """Ask there next: all inputs, or, where the twin is not sure of its outputs, first those that tell most."""
        sure = self._chi > AGREES or self._calibration.doubt_at(self._twin, knobs, self._task.inputs) < UNSURE
        if sure or self._probes >= PROBES:
            self._phase, self._next, self._probes = "train", (knobs, self._task.inputs), 0
        else:
            self._phase, self._probes = "probe", self._probes + 1
            self._next = self._calibration.at(self._twin, knobs, self._sigma())

    def _suspect(
        self, knobs: Floats, response: Response, phase: str, split: int | None = None, level: int | None = None
    ) -> Progress | None:
        """Look at an earlier setting again before believing what came after: has the device changed?

        split: index of the first setting that is doubted, the last one if not given; level: the coordinate that may
        have shifted.
        """
        self._suspected = (len(self._evidence.settings) - 1 if split is None else split, level)
        self._phase, self._next, self._after = "check", self._reference(), knobs
        return self._progress(response) if phase == "train" else None

    def _surprise(self, knobs: Floats, response: Response) -> float:
        """Chi-squared per reading of what the twin foretold, given what it is unsure of; 0 where it proves nothing."""
        if not self._evidence.settings or self._chi > AGREES:
            return 0.0
        one = Evidence()
        one.add(knobs, response)
        rows, inputs, readings, sigma = one.rows()
        predicted, by = self._twin.sensitivity(rows, inputs)
        variance = sigma**2 + np.einsum("brn,nm,brm->br", by, self._twin.covariance(), by)
        known = np.isfinite(readings)
        # a twin is linear in its coordinates only nearby: what it is very unsure of proves nothing
        sure = known & (variance < 9.0 * sigma**2)
        return float(np.mean(((readings - predicted)[sure]) ** 2 / variance[sure])) if sure.any() else 0.0

    def _reference(self) -> tuple[Floats, Floats]:
        """An earlier setting to ask again: of those before the suspected change, the one that it would move most."""
        split, level = self._suspected
        settings = self._evidence.settings
        recent = settings[max(0, split - 12) : split]
        more: Floats | None = None
        if level is None:
            covariance, kept = self._twin.covariance(), self._twin.state()
            self._twin.loosen()
            more = self._twin.covariance() - covariance
            self._twin.restore(kept)
            self._twin.condition(*Evidence(settings).rows())
        best: tuple[float, Floats, Floats] | None = None
        for setting in recent:
            inputs = np.array(setting["inputs"])
            _, by = self._twin.sensitivity(np.tile(setting["knobs"], (len(inputs), 1)), inputs)
            if level is None:
                assert more is not None
                moved = np.einsum("brn,nm,brm->br", by[:, :1], more, by[:, :1])[:, 0]
            else:
                moved = np.sum((by[:, :, level] / np.array(setting["sigma"])) ** 2, axis=1)
            rows = np.sort(np.argsort(-moved, kind="stable")[:REFERENCE])
            told = float(np.sum(moved[rows]))
            if best is None or told > best[0]:
                best = told, np.array(setting["knobs"]), inputs[rows]
        assert best is not None
        return best[1], best[2]

    def _make_variants(self, seed: int) -> list[tuple[Floats, Floats]]:
        """Factors of the inputs and the knobs, one row a training input, over which a loss is averaged.

        Without noise of the pumps one variant, of ones. With it two: every row has signs of its own, and the other
        variant has the opposite ones. The mean of the squared errors is then, up to the second order, the squared
        error without noise and, in expectation over the signs, its variance by noise (Hutchinson 1990).
        """
        n = len(self._task.inputs)
        if not any(np.any(noise) for noise in self._noise):
            return [(np.ones((n, len(self._noise[0]))), np.ones((n, len(self._knobs))))]
        rng = np.random.default_rng([seed, 1])  # of its own: the trainer's must not depend on the pumps
        signs = [rng.choice([-1.0, 1.0], (n, len(noise))) for noise in self._noise]
        up, down = ([1.0 + way * s * noise for s, noise in zip(signs, self._noise, strict=True)] for way in (1, -1))
        return [(up[0], up[1]), (down[0], down[1])]

    def _with_flow_noise(self, knobs: Floats, response: Response) -> Response:
        """The response with what the pumps' noise does to its outputs in their sigma, as the twin has it."""
        if not any(np.any(noise) for noise in self._noise):
            return response
        inputs = np.asarray(response.inputs)
        rows = np.tile(knobs, (len(inputs), 1))
        outputs, by_knobs = self._twin.jacobian(rows, inputs)
        variance = np.sum((by_knobs * knobs * self._noise[1]) ** 2, axis=2)
        for column in np.flatnonzero(self._noise[0]):
            moved = inputs.copy()
            moved[:, column] *= 1.0 + self._noise[0][column]
            variance += (self._twin.respond(rows, moved)[:, : outputs.shape[1]] - outputs) ** 2
        return replace(response, sigma=np.sqrt(response.sigma**2 + np.nan_to_num(variance)))

    def _predict(self, knobs: Floats) -> tuple[Floats, Floats]:
        """Outputs on the task's inputs, (n, n_outputs), and their derivatives by the knobs."""
        return self._twin.jacobian(np.tile(knobs, (len(self._task.inputs), 1)), self._task.inputs)

    def _twin_error(self, knobs: Floats) -> float:
        """Of the twin on the task's inputs, as a fraction of the amplitude; noise of pumps included."""
        squares = [
            self._task.error(self._twin.jacobian(knobs * by_knob, self._task.inputs * by_input)[0]) ** 2
            for by_input, by_knob in self._variants
        ]
        return math.sqrt(sum(squares) / len(squares))

    def _improve(self, start: Floats, residual: Residual | None = None, radius: float = 2.0) -> Floats:
        """Levenberg-Marquardt from `start` on the twin plus what it is known to miss, within the knobs' limits.

        radius: how far any knob may move, in halves of its range.
        """
        half = (self._high - self._low) / 2.0
        low, high = (self._low + 1e-6 * half) / half, (self._high - 1e-6 * half) / half
        begin = np.clip(start / half, low, high)
        low, high = np.maximum(low, begin - radius), np.minimum(high, begin + radius)
        target, scale, share = self._task.targets, self._task.amplitude, math.sqrt(len(self._variants))
        last: list[Any] = [None, None]

        def evaluate(x: Floats) -> tuple[Floats, Floats]:
            """Errors over the amplitude, (n_variants * n * n_outputs,), and their derivatives by x."""
            if last[0] is None or not np.array_equal(last[0], x):
                errors, slopes = [], []
                for by_input, by_knob in self._variants:
                    inputs = self._task.inputs * by_input
                    outputs, by_knobs = self._twin.jacobian(x * half * by_knob, inputs)
                    if residual is not None:
                        more, by_more = residual.at(x * half, inputs)
                        outputs, by_knobs = outputs + more, by_knobs + by_more
                    errors.append(((outputs - target) / scale).ravel())
                    slopes.append((by_knobs * by_knob[:, None] * half / scale).reshape(-1, len(half)))
                last[0], last[1] = x.copy(), (np.concatenate(errors) / share, np.vstack(slopes) / share)
            return last[1]

        found = least_squares(
            lambda x: evaluate(x)[0],
            begin,
            jac=cast(Any, lambda x: evaluate(x)[1]),  # scipy's annotation knows only the names of schemes
            bounds=(low, high),
            xtol=1e-5,
            ftol=1e-4,
            max_nfev=60,
        )
        return np.clip(found.x * half, self._low, self._high)

    def _judge(self, knobs: Floats, response: Response) -> Progress:
        """Score a full batch, decide whether to go on, and where."""
        outputs, _ = self._predict(knobs)
        measured = response.outputs
        known = np.isfinite(measured)
        sigma = response.sigma
        misfit = np.where(known, measured - outputs, 0.0)
        progress = self._progress(response)
        # the twin has averaged over all readings: where it agrees within noise, its error is the less noisy one
        agrees = _chi(misfit, sigma, known) < AGREES
        if self._best is not None and self._chi < AGREES:
            self._best = self._twin_error(np.array(self._best[1])), self._best[1]  # it knows better by now
        score = self._twin_error(knobs) if agrees else progress.rmse
        if self._best is None or score < BETTER * self._best[0]:
            self._best, self._stale = (score, knobs.tolist()), 0
            self._radius = min(1.0, 1.5 * self._radius)
        else:
            self._stale += 1
            self._radius = max(0.02, 0.4 * self._radius)
        on_target = _chi(measured - self._task.targets, sigma, known) < ON_TARGET
        if on_target or (agrees and score < GOOD) or self._stale >= PATIENCE:
            self._finished = True
        elif self._stale and self._stale % (PATIENCE // 3) == 0 and agrees:
            better = BETTER * self._best[0]
            start = self._start(enough=min(POOR, better))
            self._finished = self._twin_error(start) >= better  # a twin that agrees knows of nothing better
            if not self._finished:
                self._go_to(start)
        elif not agrees:
            best = np.array(self._best[1])
            self._residual.fit(self._twin, self._evidence, best)
            self._go_to(self._improve(best, self._residual, self._radius))
        elif self._stale:
            spread = 0.05 * (self._high - self._low)
            kicked = np.array(self._best[1]) + spread * self._rng.standard_normal(len(knobs))
            self._go_to(self._improve(np.clip(kicked, self._low, self._high)))
        else:
            self._go_to(self._start(self._improve(knobs)))
        return progress

    def _progress(self, response: Response) -> Progress:
        known = np.isfinite(response.outputs)
        if not known.any():
            return Progress(math.nan, self._lowest)
        missing = np.where(known, response.outputs, self._task.targets)
        rmse = self._task.error(missing) / math.sqrt(known.mean())
        self._lowest = min(self._lowest, rmse)
        return Progress(rmse, self._lowest)

    def _compare(self, response: Response) -> None:
        """Hold the reference against what was read there before; set the levels free if they contradict each other."""
        suspect = self._evidence.settings[-1]
        split, level = self._suspected
        knobs = np.array([response.knobs[c.name] for c in self._knobs])
        again = Evidence()
        again.add(knobs, response)
        new = again.settings[0]
        old = self._earlier(new)
        before, after = np.array(old["readings"], dtype=float), np.array(new["readings"], dtype=float)
        variance = np.array(old["sigma"]) ** 2 + np.array(new["sigma"]) ** 2
        contradiction = float(np.nanmean((after - before) ** 2 / variance))
        changed, shift = contradiction > SURPRISE, None
        if level is not None:
            inputs = np.array(new["inputs"])
            by = self._twin.sensitivity(np.tile(new["knobs"], (len(inputs), 1)), inputs)[1][:, :, level]
            information = float(np.nansum(by**2 / variance))
            moved = float(np.nansum(by * (after - before) / variance))
            changed = information > 0.0 and moved**2 / information > CONFIRMED
            shift = moved / information if changed else None
        assert self._after is not None
        back, self._after = self._after, None
        calibrating = self._best is None and self._lowest == math.inf and self._probes == 0
        calibrating &= len(suspect["inputs"]) != len(self._task.inputs)
        if changed:
            self._record_jump(contradiction, split, level, shift, before, after)
            later = self._evidence.settings[split:]
            self._evidence = Evidence(self._evidence.settings[:split])
            self._refit()  # without what came after, then free to move
            self._twin.loosen()
            loose = self._twin.state()
            self._stale, self._alarm = 0, CHANGED
            if self._best is not None:
                self._best = math.inf, self._best[1]  # the knobs to keep until others are better on the changed device
            self._evidence = Evidence([new, *later])
            self._refit()
            if self._chi > AGREES:  # it has changed in the middle of a batch
                self._twin.restore(loose)
                self._evidence = again
                self._refit()
        else:
            self._evidence.settings.insert(-1, new)
            self._refit()
        if calibrating:
            self._phase, self._next = "calibrate", self._calibrating()
            return
        self._go_to(self._start(self._improve(back)))

    def _record_jump(
        self, chi: float, split: int, level: int | None, shift: float | None, before: Floats, after: Floats
    ) -> None:
        settings = self._evidence.settings
        detail: dict[str, Any] = {
            "chi_squared": chi,
            "largest": float(np.nanmax(np.abs(after - before)[:, : self._task.targets.shape[1]])),
            "readings_before": sum(len(s["inputs"]) for s in settings[:split]),
            "readings_since": sum(len(s["inputs"]) for s in settings[split:]),
            "message": "readings at the same setting differ from before by more than noise",
        }
        if level is not None and shift is not None:
            detail |= {
                "of": list(self._twin.parameters())[level],
                "shift": float(shift * dict(self._twin.levels())[level]),
            }
        self._events.append(("jump", detail))

    def _earlier(self, new: Mapping[str, Any]) -> dict[str, Any]:
        """The readings of the same knobs and inputs that were measured before."""
        for setting in reversed(self._evidence.settings[: self._suspected[0]]):
            if np.allclose(setting["knobs"], new["knobs"], rtol=1e-6, atol=1e-9):
                place = [int(np.argmin(np.abs(np.array(setting["inputs"]) - row).sum(axis=1))) for row in new["inputs"]]
                return {name: [setting[name][k] for k in place] for name in ("readings", "sigma")}
        raise RuntimeError("the reference was not measured before")


def _chi(misfit: Floats, sigma: Floats, known: NDArray[np.bool_]) -> float:
    return float(np.mean((misfit[known] / sigma[known]) ** 2)) if known.any() else math.inf
