"""Km, Ki and Vmax of a substrate-inhibited enzyme in a stirred flow vessel, from its product at rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.errors import ParameterError
from labthermo.kinetics import Assumed, fit_dose_response, inhibited_rate
from labthermo.quantity import quantity
from labthermo.run import Run
from procedures.feeding import Feed, Feeding, Floats, Fraction, Rate, absorptivity, figure


class DoseResponse(Feeding):
    """Settle at ascending substrate in a constant flow, read the product, and fit the Haldane-Andrews law.

    The dilution rate flow/volume should be above 0.1 Vmax/Km, so that the vessel has one state. First the blank is
    read with buffer alone. Errors of pumps and photometer are fitted along, within what is assumed of them.
    """

    name: ClassVar[str] = "dose_response"

    stock: Annotated[float, quantity("mol/L", above=0)] = Field(description="substrate in its syringe")
    flow: Rate = Field(default=120e-6 / 60.0, description="of substrate and buffer together")
    start: Fraction = Field(default=0.01, description="lowest share of substrate in the flow")
    stop: Fraction = Field(default=0.5, description="highest")
    points: Annotated[int, Field(ge=6, le=1000)] = Field(default=24, description="in equal ratios, 6 to 1000")
    blanks: Annotated[int, Field(ge=1, le=100)] = Field(default=4, description="readings without substrate, 1 to 100")
    product: str = Field(default="", description="species that is read; default: the only one that absorbs")
    pump_error: Annotated[float, quantity("", above=0)] = Field(default=0.0105, description="of each pump, relative")
    gain_error: Annotated[float, quantity("", above=0)] = Field(default=0.0033, description="of the photometer")
    flow_noise: Fraction = Field(default=0.001, description="of each pump, from reading to reading")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.blanks + self.points

    def execute(self, run: Run) -> None:
        feed, substrate, buffer = self._plan(run.device.channels)
        self._check_flow(run, feed, *((s, b, s + b + self.other) for s, b in zip(substrate, buffer, strict=True)))
        optical, _, product = absorptivity(run, feed.read.channel.name, self.product)
        read, sigmas = np.full(len(substrate), np.nan), []
        for k, (s, b) in enumerate(zip(substrate, buffer, strict=True)):
            response = run.query(feed.query(s, b, self.name), purpose=self.name if s else "blank")
            read[k] = feed.of(response)[0]
            sigmas.append(self._sigma(response, feed))
        sigma = float(np.median(sigmas))
        fit = fit_dose_response(
            substrate, buffer, read, sigma, stock=self.stock, volume=self.volume, absorptivity=optical,
            assumed=Assumed(self.pump_error, self.pump_error, self.gain_error, self.flow_noise),
            other=self.other, confidence=self.confidence,
        )  # fmt: skip
        flow = substrate + buffer + self.other
        dose = self.stock * substrate / flow
        fine = np.linspace(0.0, float(substrate.max()), 201)
        whole = self.flow if feed.buffer else float(substrate.max())
        curves = [{"label": "read", "x": dose, "y": read, "sigma": np.full(len(read), sigma), "join": False}]
        if fit is not None:
            made_up = whole - fine if feed.buffer else np.zeros_like(fine)
            curves.append({"label": "fit", "x": self.stock * fine / (fine + made_up + self.other),
                           "y": fit.curve(fine, made_up)})  # fmt: skip
        figure(run, f"Absorbance of {product} at rest over the substrate fed",
               ("substrate fed", "mol/L"), (feed.read.channel.name, "OD"), curves)  # fmt: skip
        if fit is None:
            run.event(self.name, determined=False, message="these readings do not determine Vmax, Km and Ki; read "
                      "more points, on both sides of the optimum")  # fmt: skip
            return
        made = (read - fit.blank) / optical
        left = np.maximum(dose - made, 0.0)
        span = np.linspace(0.0, float(np.nanmax(left)) * 1.02, 201)
        constants = fit.vmax.value, fit.km.value, fit.ki.value
        figure(run, "Rate over substrate in the vessel", ("substrate", "mol/L"), ("rate", "mol/L/s"),
               [{"label": "read", "x": left, "y": made * flow / self.volume, "join": False},
                {"label": "fit", "x": span, "y": inhibited_rate(span, *constants)}])  # fmt: skip
        rows = [[name, str(interval)] for name, interval in (("Vmax", fit.vmax), ("Km", fit.km), ("Ki", fit.ki))]
        rows += [["optimum", f"{fit.optimum:.3g} mol/L"], ["chi-squared a degree of freedom", f"{fit.chi_squared:.3g}"]]
        columns = ["constant", f"value and {self.confidence:.3g} interval"]
        run.event("table", title="Substrate inhibition", columns=columns, rows=rows)
        two = _two_states(float(np.min(flow[substrate > 0])) / self.volume, *constants)
        run.event(self.name, determined=True, vmax=fit.vmax.plain(), km=fit.km.plain(), ki=fit.ki.plain(),
                  blank=fit.blank, chi_squared=fit.chi_squared,
                  message=f"Vmax {fit.vmax}, Km {fit.km}, Ki {fit.ki}; chi-squared {fit.chi_squared:.2g}"
                  + ("; at this dilution rate the vessel may have two states: pump faster" if two else ""))  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[Feed, Floats, Floats]:
        """Pumps, and the rates (L/s) of substrate and buffer, blanks first."""
        feed = self._feed(channels)
        if not 0.0 < self.start < self.stop:
            raise ParameterError(f"{self.name}: start, stop: {self.start:g} to {self.stop:g} is no ascending series")
        shares = np.concatenate([np.zeros(self.blanks), np.geomspace(self.start, self.stop, self.points)])
        substrate = shares * self.flow
        buffer = self.flow - substrate if feed.buffer else np.zeros_like(substrate)
        for s, b in zip(substrate, buffer, strict=True):
            feed.query(s, b, f"{self.name}: start, stop, flow")
        return feed, substrate, buffer


def _two_states(dilution: float, vmax: float, km: float, ki: float) -> bool:
    """Whether the rate falls more steeply anywhere than the vessel is flushed."""
    s = np.geomspace(0.01 * ki, 100.0 * max(km, ki), 2000)
    return bool(np.gradient(inhibited_rate(s, vmax, km, ki), s).min() < -dilution)
