"""The one interface between whoever asks (trainer, procedure, operator) and whatever answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labthermo.channel import Channel
from labthermo.errors import QueryError

Floats = NDArray[np.float64]


class Status(StrEnum):
    """What became of one input: data, never an exception."""

    SETTLED = "settled"
    UNSETTLED = "unsettled"
    OSCILLATING = "oscillating"
    BISTABLE = "bistable"
    OVERFLOW = "overflow"
    COMPLIANCE = "compliance"
    TRIPPED = "tripped"
    ABANDONED = "abandoned"
    TIMED = "timed"


@dataclass(frozen=True)
class Query:
    """A question to a device.

    Attributes
    ----------
    knobs: knob name -> value (SI, at the sample). Knobs left out keep their present value.
    inputs: (batch, n_inputs), in the order of the device's input channels; a 1-D array is one column.
    nudge: currents injected at the outputs, (batch, n_outputs), or at the outputs and then the nodes that are read,
        (batch, n_outputs + n_nodes), in A, positive where it raises the reading (0 for a node that is a lead's
        current); None for none. Only a device with current sources there takes one: the `model` backend does.
    reset: where inputs start from. ``hold``: the first from wherever the last one ended; ``park``: inputs go to zero
        before the knobs move. With either, every further input starts where the one before it ended. ``each``: every
        input starts from zero, settled: what a device with two states needs to be told one of them; not with `after`.
    after: (batch,), ascending, s: each input is read so long after its set-point, whether it has settled or not (status
        ``timed``); where a row moves nothing, the set-point is the last one that moved something. None: read when
        it has settled.
    number: the number of the first input of this query within its run (keys the noise of `model`);
        None lets the device count for itself.
    """

    knobs: Mapping[str, float] = field(default_factory=dict)
    inputs: ArrayLike = ()
    nudge: ArrayLike | None = None
    reset: str = "hold"
    number: int | None = None
    after: ArrayLike | None = None

    def delays(self, batch: int) -> list[float | None]:
        """`after` for each of `batch` inputs, s; None for one that is to settle.

        Raises
        ------
        QueryError: not one time for each input, or one that is not finite, or negative.
        """
        if self.after is None:
            return [None] * batch
        after = np.asarray(self.after, dtype=float)
        if after.shape != (batch,) or not np.isfinite(after).all() or (after < 0.0).any():
            raise QueryError(f"after has to be {batch} times in s, 0 or more, one for each input; it is {after}")
        return after.tolist()

    def input_array(self, channels: Sequence[Channel]) -> Floats:
        """Inputs as (batch, n_inputs), checked against the device's input channels.

        Raises
        ------
        QueryError: wrong width, or a value that is not finite, or no number.
        """
        try:
            array = np.asarray(self.inputs, dtype=float)
        except (TypeError, ValueError) as error:
            raise QueryError(f"inputs are not an array of numbers: {error}") from None
        if array.ndim < 2:
            array = array.reshape(-1, 1) if len(channels) == 1 else np.atleast_2d(array)
        names = ", ".join(c.name for c in channels)
        if array.ndim != 2 or array.shape[1] != len(channels):
            raise QueryError(f"inputs have shape {array.shape}; this device takes (batch, {len(channels)}): {names}")
        if not np.all(np.isfinite(array)):
            row = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise QueryError(f"input row {row} is not finite ({array[row]}); inputs are {names}")
        return array


@dataclass(frozen=True)
class Response:
    """What a device answered, one row per input.

    Attributes
    ----------
    outputs: (batch, n_out), in the order of the device's output channels; NaN where nothing was read.
    nodes: (batch, n_nodes), every further readable node.
    sigma: (batch, n_out), standard deviation of each output reading, same unit.
    node_sigma: (batch, n_nodes).
    settle_time: (batch,), s: from the last set-point to the reading that decided, or to a timed one.
    status: (batch,) of :class:`Status`.
    inputs: (batch, n_in), what was read back as set.
    knobs: knob name -> value read back.
    incidents: what went wrong on the lines to the instruments meanwhile and was mended, one sentence each.
    surroundings: monitor name -> what it read at the last row, and its unit; NaN where there is no sensor.
    """

    outputs: Floats
    nodes: Floats
    sigma: Floats
    node_sigma: Floats
    settle_time: Floats
    status: tuple[Status, ...]
    inputs: Floats
    knobs: Mapping[str, float]
    incidents: tuple[str, ...] = ()
    surroundings: Mapping[str, tuple[float, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.status)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(batch,): rows whose reading says something of the device; a failed or abandoned one does not."""
        return np.array([s in (Status.SETTLED, Status.UNSETTLED) for s in self.status])

    @staticmethod
    def join(parts: Sequence[Response]) -> Response:
        """One response from several that share their knobs, rows in order.

        Raises
        ------
        QueryError: there is nothing to join.
        """
        if not parts:
            raise QueryError("a query needs at least one input")
        rows = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("outputs", "nodes", "sigma", "node_sigma", "settle_time", "inputs")
        }
        return Response(
            **rows,
            status=tuple(s for part in parts for s in part.status),
            knobs=parts[-1].knobs,
            incidents=tuple(incident for part in parts for incident in part.incidents),
            surroundings=parts[-1].surroundings,
        )


class Device(Protocol):
    """What a trainer or a procedure holds: a thing with channels that answers queries."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels: inputs, knobs, outputs, nodes, each kind in its own order."""
        ...

    def stream(self, query: Query) -> Iterator[Response]:
        """Answer in parts as they are read: one input a part on a bench, the whole batch on a model."""
        ...

    def query(self, query: Query) -> Response:
        """Answer a query whole: all parts of :meth:`stream`, joined."""
        ...

    def park(self) -> None:
        """Bring the device to its safe state: inputs to zero, knobs as the station file says."""
        ...

    def close(self) -> None:
        """Park and let go. Closing twice does nothing."""
        ...


def channels_of(device: Device, kind: str) -> tuple[Channel, ...]:
    """The device's channels of one kind, in order."""
    return tuple(c for c in device.channels if c.kind == kind)
