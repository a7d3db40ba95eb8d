"""What dilution_scan refuses, and how it says where a fold is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.config import load_station
from labthermo.errors import ParameterError
from labthermo.limits import device_channels
from procedures.dilution_scan import DilutionScan, _place

STATION = Path(__file__).parents[3] / "examples" / "inhibited_well" / "station.yaml"


def test_a_scan_at_no_flow_is_refused() -> None:
    channels = device_channels(load_station(STATION))
    assert DilutionScan(flows="18 uL/min", points=8, paces=2).count(channels) == 34
    with pytest.raises(ParameterError, match="flows: none is named"):
        DilutionScan(flows=" ,").count(channels)


@pytest.mark.parametrize(
    ("fold", "words"), [(-0.108, "below 0.25"), (0.365, "0.365 ± 0.012"), (1.2, "above 0.75"), (0.25, "0.25 ± 0.012")]
)
def test_a_fold_outside_the_scan_is_no_number(fold: float, words: str) -> None:
    assert _place([fold, 0.012], np.linspace(0.25, 0.75, 21)) == words
