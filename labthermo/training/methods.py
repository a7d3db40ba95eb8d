"""The methods of training by name: what each is for, and how it is made. Light: the command line's help reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labthermo.errors import ParameterError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labthermo.device import Device
    from labthermo.training.knob_space import KnobSpace
    from labthermo.training.task import Task
    from labthermo.training.trainer import Trainer
    from labthermo.twin import Twin

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """What a method may use. twin: of the device as designed, or as calibrated; only some methods look at it.

    known: what a calibrated twin was fitted to, settings as :class:`labthermo.training.evidence.Evidence` has them.
    """

    task: Task
    device: Device
    twin: Twin
    seed: int
    known: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Method:
    """summary: a line for help and docs. make: from the material, a trainer; imports what it needs. twin: whether it
    looks at the material's twin."""

    summary: str
    make: Callable[[Material], Trainer]
    twin: bool = False


def make_trainer(name: str, material: Material) -> Trainer:
    """The trainer of a method.

    Raises
    ------
    ParameterError: no such method, or the device is not fit for it.
    """
    check_method(name)
    return METHODS[name].make(material)


def check_method(name: str) -> None:
    """Raises
    ------
    ParameterError: no such method.
    """
    if name not in METHODS:
        raise ParameterError(f"no method {name!r}; there is {', '.join(METHODS)}")


def _calibrated_twin(m: Material) -> Trainer:
    from labthermo.training.calibrated_twin import CalibratedTwin

    return CalibratedTwin(m.device.channels, m.task, m.twin, m.seed, m.known)


def _several(m: Material, climb: Callable[[KnobSpace, Floats, int], Trainer]) -> Trainer:
    from labthermo.training.knob_space import KnobSpace
    from labthermo.training.multi_start import MultiStart

    space = KnobSpace(m.device.channels)
    return MultiStart(space, m.task, m.seed, lambda start, seed: climb(space, start, seed))


def _physics_aware(m: Material) -> Trainer:
    from labthermo.training.physics_aware import physics_aware

    return _several(m, lambda space, start, _: physics_aware(space, m.task, start, m.twin))


def _adjoint(m: Material) -> Trainer:
    from labthermo.training.adjoint import adjoint, differentiable

    device = differentiable(m.device)
    return _several(m, lambda space, start, _: adjoint(space, m.task, start, device))


def _require_sources(m: Material) -> None:
    if not getattr(m.device, "current_sources", False):
        raise ParameterError(
            "this method injects currents at the outputs, and this device has no current source there; use "
            "--backend model, or another method"
        )


def _require_all_nodes(m: Material) -> None:
    import numpy as np

    from labthermo.training.equilibrium_propagation import require_all_nodes
    from labthermo.training.knob_space import KnobSpace

    space = KnobSpace(m.device.channels)
    middle = space.values(np.full(len(space), 0.5))[None]
    readings = np.full((1, sum(c.kind in ("output", "node") for c in m.device.channels)), np.nan)
    require_all_nodes(m.twin.tangent(middle, m.task.inputs[:1], readings))


def _propagation(asymmetric: bool) -> Callable[[Material], Trainer]:
    def make(m: Material) -> Trainer:
        from labthermo.training.contrastive import Contrastive
        from labthermo.training.equilibrium_propagation import EquilibriumPropagation

        _require_sources(m)
        if asymmetric:
            _require_all_nodes(m)
        rule = EquilibriumPropagation(asymmetric)
        return _several(m, lambda space, start, _: Contrastive(space, m.task, start, m.twin, rule))

    return make


def _coupled(m: Material) -> Trainer:
    from labthermo.training.contrastive import Contrastive
    from labthermo.training.coupled_learning import CoupledLearning

    _require_sources(m)
    return _several(m, lambda space, start, _: Contrastive(space, m.task, start, m.twin, CoupledLearning()))


def _spsa(m: Material) -> Trainer:
    from labthermo.training.spsa import Spsa

    return _several(m, lambda space, start, seed: Spsa(space, m.task, start, seed))


def _cma_es(m: Material) -> Trainer:
    from labthermo.training.cma_es import CmaEs

    if sum(c.kind == "knob" for c in m.device.channels) < 2:
        raise ParameterError("cma_es needs two knobs or more; use nelder_mead")
    return _several(m, lambda space, start, seed: CmaEs(space, m.task, start, seed))


def _nelder_mead(m: Material) -> Trainer:
    from labthermo.training.nelder_mead import NelderMead

    return _several(m, lambda space, start, seed: NelderMead(space, m.task, start, seed))


def _reservoir(m: Material) -> Trainer:
    from labthermo.training.knob_space import KnobSpace
    from labthermo.training.reservoir import Reservoir

    return Reservoir(KnobSpace(m.device.channels), m.task, m.seed)


METHODS: dict[str, Method] = {
    "calibrated_twin": Method("a twin re-fitted from every node: fewest queries", _calibrated_twin, twin=True),
    "physics_aware": Method("the designed model's derivatives at measured nodes, no re-fit", _physics_aware, twin=True),
    "equilibrium_propagation": Method(
        "currents at the outputs, both ways; exact if reciprocal", _propagation(False), twin=True
    ),
    "asymmetric_propagation": Method("the same with feedback into every node, for dots", _propagation(True), twin=True),
    "coupled_learning": Method("outputs clamped a little nearer to their targets", _coupled, twin=True),
    "spsa": Method("two measurements a step, no model", _spsa),
    "cma_es": Method("evolution, no model; needs large budgets", _cma_es),
    "nelder_mead": Method("a simplex, no model; for few knobs", _nelder_mead),
    "reservoir": Method("random knobs, a linear read-out is trained: never evidence for NDC", _reservoir),
    "adjoint": Method("the true device's own gradient, backend model only: a yardstick", _adjoint),
}
