"""Queries and responses: shapes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labthermo.channel import Channel
from labthermo.device import Query, Response, Status
from labthermo.errors import QueryError

ONE = [Channel("x", "input", "V")]
TWO = [*ONE, Channel("z", "input", "V")]


@pytest.mark.parametrize(
    ("inputs", "channels", "shape"),
    [
        ([1.0, 2.0, 3.0], ONE, (3, 1)),
        (0.5, ONE, (1, 1)),
        ([[1.0], [2.0]], ONE, (2, 1)),
        ((), ONE, (0, 1)),
        ([1.0, 2.0], TWO, (1, 2)),
        ([[1.0, 2.0], [3.0, 4.0]], TWO, (2, 2)),
    ],
)
def test_inputs_become_a_batch(inputs, channels, shape):
    assert Query(inputs=inputs).input_array(channels).shape == shape


@pytest.mark.parametrize(
    ("inputs", "channels", "word"),
    [
        ([[1.0, 2.0]], ONE, "shape"),
        ([1.0, 2.0, 3.0], TWO, "shape"),
        (np.zeros((2, 2, 2)), TWO, "shape"),
        ([0.0, np.nan], ONE, "row 1"),
        ([np.inf], ONE, "row 0"),
        (["a"], ONE, "numbers"),
        ([[1.0], [1.0, 2.0]], ONE, "numbers"),
        (None, ONE, "finite"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(inputs, channels, word):
    with pytest.raises(QueryError, match=word) as error:
        Query(inputs=inputs).input_array(channels)
    assert "\n" not in str(error.value)


def test_responses_join_in_order_and_keep_the_last_knobs():
    column = np.array([[1.0]])
    part = Response(column, column, column, column, np.array([0.1]), (Status.SETTLED,), column, {"p": 1.0})
    other = replace(part, outputs=2 * column, status=(Status.OVERFLOW,), knobs={"p": 2.0})
    whole = Response.join([part, other])
    assert len(whole) == 2
    assert whole.outputs.tolist() == [[1.0], [2.0]]
    assert whole.status == ("settled", "overflow")
    assert whole.knobs == {"p": 2.0}
    with pytest.raises(QueryError):
        Response.join([])
