"""A charge sensor: a point contact whose conductance tells how many carriers two coupled dots hold."""

from __future__ import annotations

from simulators.conductors import Formula, Parameter
from simulators.laws import BOLTZMANN_EV

MOST = 3  # carriers in a dot: charge states 0 to 3, so that a gate-gate map shows three addition lines of each dot


def charge_sensor(
    conductance: Parameter,
    steps: tuple[Parameter, Parameter],
    potentials: tuple[Parameter, Parameter],
    charging: tuple[Parameter, Parameter],
    mutual: Parameter,
    temperature: float,
) -> Formula:
    """I = g (1 - s1 <n1> - s2 <n2>) (ua - ub): two dots in equilibrium, seen by a point contact beside them.

    <n> is the Boltzmann average over the charge states n1, n2 = 0 ... 3 of the constant-interaction model, E = U1 n1
    (n1-1)/2 + U2 n2 (n2-1)/2 + Um n1 n2 - mu1 n1 - mu2 n2 (van der Wiel et al., Rev. Mod. Phys. 75, 1 (2003), section
    II; point contacts as charge detectors: Field et al., Phys. Rev. Lett. 70, 1311 (1993)). Over two gates this is
    the honeycomb: dot k takes a carrier where mu_k crosses U_k n_k + Um n_other.

    conductance: g, S, of the sensor beside empty dots. steps: (s1, s2), the share of it that a carrier in each dot
    takes away; 3 (s1 + s2) < 1, or the sensor would conduct backwards. potentials: (mu1, mu2), eV, moved by gates
    through their lever arms (positive weights, eV/V). charging: (U1, U2), eV; mutual: Um, eV. temperature: K, > 0.
    Valid where tunnelling is slow against kT and fast against the reading, |mu| < 200 kT.

    Raises
    ------
    ValueError: a temperature that is not above 0 K, or steps that take more than all of the conductance.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature} K; give a value above 0 K")
    taken = MOST * sum(s if isinstance(s, int | float) else s.base for s in steps)
    if not taken < 1:
        raise ValueError(f"steps take {taken:.3g} of the conductance with {MOST} carriers in each dot; keep it below 1")
    weighted, weights = [], []
    for i in range(MOST + 1):
        for j in range(MOST + 1):
            # counted from half filling, which halves the exponents
            energy = f"{i - MOST / 2}*p+{j - MOST / 2}*q-{i * (i - 1) // 2}*u-{j * (j - 1) // 2}*v-{i * j}*m"
            weight = f"exp(({energy})/t)"
            weights.append(weight)
            weighted.append(f"({i}*s+{j}*r)*{weight}")
    t = repr(BOLTZMANN_EV * temperature)
    expression = f"g*(a-b)*(1-({'+'.join(weighted[1:])})/({'+'.join(weights)}))".replace("/t)", f"/{t})")
    names = dict(zip("sr", steps, strict=True)) | dict(zip("pq", potentials, strict=True))
    names |= dict(zip("uv", charging, strict=True)) | {"g": conductance, "m": mutual}
    return Formula(expression, ("a", "b"), names)
