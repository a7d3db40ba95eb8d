from types import SimpleNamespace

import numpy as np
import pytest

from simulators.wire.metrology import Range, Ranges
from simulators.wire.world import Imperfections

TABLE = (Range(1.0, 1e-3, 1e-2, 1e-2, 1e-4), Range(10.0, 1e-2, 1e-2, 1e-1, 1e-3))


def make(seed: int = 0, **kinds: bool) -> Ranges:
    generators: dict[str, np.random.Generator] = {}

    def random(stream: str) -> np.random.Generator:
        return generators.setdefault(stream, np.random.default_rng([seed, *stream.encode()]))

    world = SimpleNamespace(random=random, imperfections=Imperfections(**kinds))
    return Ranges(TABLE, world, "meter")  # type: ignore[arg-type]


OFF = {"noise": False, "offsets": False, "quantisation": False}


def test_with_everything_off_a_value_is_exact():
    assert make(**OFF).distort(0.123456789, 0, noise=1.0) == 0.123456789


def test_offsets_are_within_their_limits_static_and_of_this_very_instrument():
    kinds = OFF | {"offsets": True}
    offsets = np.array([make(seed, **kinds).distort(0.0, 0) for seed in range(300)])
    gains = np.array([make(seed, **kinds).distort(1.0, 0) for seed in range(300)]) - 1 - offsets
    for drawn in (offsets, gains):
        assert np.abs(drawn).max() <= 1e-2
        assert drawn.std() == pytest.approx(1e-2 / 3, rel=0.15)
    assert abs(np.corrcoef(offsets, gains)[0, 1]) < 0.2
    ranges = make(3, **kinds)
    assert ranges.distort(0.0, 0) == ranges.distort(0.0, 0) == make(3, **kinds).distort(0.0, 0)
    assert ranges.distort(0.0, 0) != ranges.distort(0.0, 1)


def test_noise_has_the_asked_size():
    ranges = make(**(OFF | {"noise": True}))
    values = np.array([ranges.distort(0.5, 0, noise=0.1) for _ in range(4000)])
    assert values.mean() == pytest.approx(0.5, abs=0.01)
    assert values.std() == pytest.approx(0.1, rel=0.05)
    assert ranges.distort(0.5, 0) == 0.5


def test_quantisation_rounds_to_the_steps_of_the_range():
    ranges = make(**(OFF | {"quantisation": True}))
    assert ranges.distort(0.12345, 0) == pytest.approx(0.123, abs=1e-12)
    assert ranges.distort(0.12345, 1) == pytest.approx(0.12, abs=1e-12)
    assert ranges.distort(0.12345, 1, resolution=0.1) == pytest.approx(0.1, abs=1e-12)


def test_the_smallest_range_that_holds_a_value():
    ranges = make()
    assert [ranges.holding(value) for value in (0.0, -1.0, 1.01, 10.0, 10.1)] == [0, 0, 1, 1, None]
    assert ranges.holding(1.2, overrange=1.2) == 0
