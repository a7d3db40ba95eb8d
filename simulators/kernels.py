"""Compiled kernels: the laws, the relaxation, the steady state and its adjoint, for any network.

One engine for all platforms. A network is a list of *processes*; process p has a law (integer code), reads some
nodes, and its rate r_p enters node i with stoichiometry S_ip:

    C_i du_i/dt = F_i = J_i + sum_p S_ip r_p(u_reads; theta_p)

An edge a -> b reads (a, b) with S = (-1, +1). Nodes 0..n_free-1 are free, the rest are clamped.
Laws are chosen by integer code inside one cached kernel: passing laws as functions would defeat numba's cache.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LINEAR, GAUSSIAN_NDC, SINGLE_LEVEL, BLOCKING_LEVEL = range(4)
SETTLED, OSCILLATING, UNSETTLED = range(3)

ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact (SI 2019)
BOLTZMANN_EV = 8.617333262e-5  # eV/K, CODATA 2018

MAX_READS = 4
MAX_PARAMETERS = 16


@njit(cache=True)
def _expit(x):
    """1/(1+exp(-x)), without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    z = math.exp(x)
    return z / (1.0 + z)


@njit(cache=True)
def rate(code, ua, ub, p, du, dp):
    """Rate of one two-node law and its derivatives.

    ua, ub: potentials of the nodes read, V. p: parameters. du[0:2], dp[:]: filled with derivatives.
    """
    if code == LINEAR:
        # I = g (ua - ub)
        d = ua - ub
        du[0] = p[0]
        du[1] = -p[0]
        dp[0] = d
        return p[0] * d
    if code == GAUSSIAN_NDC:
        # I = d (leak + g exp(-(d/w)^2))
        d = ua - ub
        q = d / p[1]
        bell = math.exp(-q * q)
        slope = p[2] + p[0] * bell * (1.0 - 2.0 * q * q)
        du[0] = slope
        du[1] = -slope
        dp[0] = d * bell
        dp[1] = d * p[0] * bell * 2.0 * q * q / p[1]
        dp[2] = d
        return d * (p[2] + p[0] * bell)
    if code == SINGLE_LEVEL:
        # I = e GL GR/(GL+GR) [f(eps-ua) - f(eps-ub)], eps -> eps + aS ua + aD ub
        eps, gl, gr, temperature, a_s, a_d = p[0], p[1], p[2], p[3], p[4], p[5]
        kt = BOLTZMANN_EV * temperature
        level = eps + a_s * ua + a_d * ub
        x_l, x_r = (level - ua) / kt, (level - ub) / kt
        f_l, f_r = _expit(-x_l), _expit(-x_r)
        e_l, e_r = _expit(x_l), _expit(x_r)  # 1-f, accurate when f is near 1
        d = f_l - f_r if f_l < 0.5 else e_r - e_l
        s = gl + gr
        g = ELEMENTARY_CHARGE * gl * gr / s
        w_l, w_r = -g * f_l * e_l, g * f_r * e_r  # dI/dx_l, dI/dx_r
        dp[0] = (w_l + w_r) / kt
        du[0] = (w_l * (a_s - 1.0) + w_r * a_s) / kt
        du[1] = (w_l * a_d + w_r * (a_d - 1.0)) / kt
        dp[1] = ELEMENTARY_CHARGE * d * gr * gr / (s * s)
        dp[2] = ELEMENTARY_CHARGE * d * gl * gl / (s * s)
        dp[3] = -(w_l * x_l + w_r * x_r) / temperature
        dp[4] = dp[0] * ua
        dp[5] = dp[0] * ub
        return g * d
    # BLOCKING_LEVEL, devices.md section 1:
    # I = e [GL1 GR1 (fL1-fR1) out2 + GL2 GR2 (fL2-fR2) out1] / (out1 out2 + in1 out2 + in2 out1)
    # in_a = GLa fLa + GRa fRa, out_a = GLa (1-fLa) + GRa (1-fRa); in_a + out_a = s_a
    temperature, a_s, a_d = p[6], p[7], p[8]
    kt = BOLTZMANN_EV * temperature
    shift = a_s * ua + a_d * ub
    gl1, gl2, gr1, gr2 = p[2], p[3], p[4], p[5]
    xl1, xr1 = (p[0] + shift - ua) / kt, (p[0] + shift - ub) / kt
    xl2, xr2 = (p[1] + shift - ua) / kt, (p[1] + shift - ub) / kt
    fl1, el1, fr1, er1 = _expit(-xl1), _expit(xl1), _expit(-xr1), _expit(xr1)
    fl2, el2, fr2, er2 = _expit(-xl2), _expit(xl2), _expit(-xr2), _expit(xr2)
    d1 = fl1 - fr1 if fl1 < 0.5 else er1 - el1
    d2 = fl2 - fr2 if fl2 < 0.5 else er2 - el2
    out1, out2 = gl1 * el1 + gr1 * er1, gl2 * el2 + gr2 * er2
    in1, in2 = gl1 * fl1 + gr1 * fr1, gl2 * fl2 + gr2 * fr2
    a1, a2 = gl1 * gr1, gl2 * gr2
    num = a1 * d1 * out2 + a2 * d2 * out1
    den = out1 * out2 + in1 * out2 + in2 * out1
    if den < 1e-280:  # both levels hundreds of kT below both leads: full, and no current
        du[0] = 0.0
        du[1] = 0.0
        for k in range(9):
            dp[k] = 0.0
        return 0.0
    current = num / den
    # Quotient rule, dI = (dnum - I dden)/den. Raising fL1 by df: d1 +df, out1 -gl1 df, den -gl1 in2 df.
    t1 = a2 * d2 - current * in2  # (dnum - I dden) per -out1, through d in1 = -d out1
    t2 = a1 * d1 - current * in1
    i_fl1 = (a1 * out2 - gl1 * t1) / den
    i_fr1 = (-a1 * out2 - gr1 * t1) / den
    i_fl2 = (a2 * out1 - gl2 * t2) / den
    i_fr2 = (-a2 * out1 - gr2 * t2) / den
    e = ELEMENTARY_CHARGE
    wl1, wr1 = -e * i_fl1 * fl1 * el1, -e * i_fr1 * fr1 * er1  # dI/dx
    wl2, wr2 = -e * i_fl2 * fl2 * el2, -e * i_fr2 * fr2 * er2
    dp[0] = (wl1 + wr1) / kt
    dp[1] = (wl2 + wr2) / kt
    both = dp[0] + dp[1]
    du[0] = -(wl1 + wl2) / kt + a_s * both
    du[1] = -(wr1 + wr2) / kt + a_d * both
    dp[6] = -(wl1 * xl1 + wr1 * xr1 + wl2 * xl2 + wr2 * xr2) / temperature
    dp[7] = both * ua
    dp[8] = both * ub
    # Rates: d out_a = (1-f), d in_a = f.
    dp[2] = e * (gr1 * d1 * out2 + a2 * d2 * el1 - current * (el1 * (out2 + in2) + fl1 * out2)) / den
    dp[4] = e * (gl1 * d1 * out2 + a2 * d2 * er1 - current * (er1 * (out2 + in2) + fr1 * out2)) / den
    dp[3] = e * (gr2 * d2 * out1 + a1 * d1 * el2 - current * (el2 * (out1 + in1) + fl2 * out1)) / den
    dp[5] = e * (gl2 * d2 * out1 + a1 * d1 * er2 - current * (er2 * (out1 + in1) + fr2 * out1)) / den
    return e * current


@njit(cache=True)
def _forces(code, reads, first, stoich_node, stoich, n_free, u, theta, injected, force, jac, du, dp):
    """Net flow into every free node, its Jacobian.

    u: (n_nodes,) all potentials. force: (n_free,); jac: (n_free, n_free).
    """
    for i in range(n_free):
        force[i] = injected[i]
        for j in range(n_free):
            jac[i, j] = 0.0
    for p in range(code.size):
        r = rate(code[p], u[reads[p, 0]], u[reads[p, 1]], theta[first[p] : first[p + 1]], du, dp)
        for k in range(stoich_node.shape[1]):
            i = stoich_node[p, k]
            if 0 <= i < n_free:
                force[i] += stoich[p, k] * r
                for m in range(2):
                    j = reads[p, m]
                    if j < n_free:
                        jac[i, j] += stoich[p, k] * du[m]


@njit(cache=True)
def _factor(a, pivot):
    """LU with partial pivoting, in place; False when singular. Small matrices: LAPACK's call costs more."""
    n = a.shape[0]
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[best, k]):
                best = i
        pivot[k] = best
        if a[best, k] == 0.0 or not math.isfinite(a[best, k]):
            return False
        if best != k:
            for j in range(k, n):  # not the multipliers before: _solve swaps and eliminates in turn
                a[k, j], a[best, j] = a[best, j], a[k, j]
        for i in range(k + 1, n):
            a[i, k] /= a[k, k]
            f = a[i, k]
            if f != 0.0:
                for j in range(k + 1, n):
                    a[i, j] -= f * a[k, j]
    return True


@njit(cache=True)
def _solve(lu, pivot, b):
    """Solve with the factors of :func:`_factor`, in place."""
    n = lu.shape[0]
    for k in range(n):
        b[k], b[pivot[k]] = b[pivot[k]], b[k]
        for i in range(k + 1, n):
            b[i] -= lu[i, k] * b[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            b[k] -= lu[k, j] * b[j]
        b[k] /= lu[k, k]


@njit(cache=True)
def _is_stable(jac, capacity):
    """Whether every eigenvalue of C^-1 J has a negative real part.

    Weak column dominance with a negative diagonal (no NDC at work) proves it without eigenvalues: -J is then an
    M-matrix, nonsingular because the caller has just solved with it.
    """
    n = jac.shape[0]
    dominant = True
    for j in range(n):
        total = 0.0
        for i in range(n):
            if i != j:
                total += abs(jac[i, j])
        if -jac[j, j] < total * (1.0 - 1e-12):
            dominant = False
            break
    if dominant:
        return True
    a = np.empty((n, n), np.complex128)
    for i in range(n):
        for j in range(n):
            a[i, j] = jac[i, j] / capacity[i]
    return np.max(np.linalg.eigvals(a).real) < 0.0


_GAMMA = 1.0 - 1.0 / math.sqrt(2.0)


@njit(cache=True)
def _newton(
    code, reads, first, stoich_node, stoich, capacity, u, theta, injected, tolerance, reach,
    force, jac, du, dp, lu, pivot, step,
):  # fmt: skip
    """Newton from u, in place. Returns (converged, residual): converged only if u moved less than `reach`.

    Steps end below `tolerance`, or where round-off keeps them from shrinking (potentials far from 0 V).
    """
    n = capacity.size
    start = u[:n].copy()
    last = np.inf
    for _ in range(30):
        _forces(code, reads, first, stoich_node, stoich, n, u, theta, injected, force, jac, du, dp)
        lu[:, :] = jac
        if not _factor(lu, pivot):
            return False, np.inf
        for i in range(n):
            step[i] = -force[i]
        _solve(lu, pivot, step)
        moved = 0.0
        away = 0.0
        for i in range(n):
            u[i] += step[i]
            moved = max(moved, abs(step[i]))
            away = max(away, abs(u[i] - start[i]))
        if not away < reach:
            return False, np.inf
        stuck = moved < 1e5 * tolerance and moved > 0.9 * last
        last = moved
        if moved <= tolerance or stuck:
            # one more evaluation at the final point, for the residual and the stability check
            _forces(code, reads, first, stoich_node, stoich, n, u, theta, injected, force, jac, du, dp)
            worst = 0.0
            for i in range(n):
                worst = max(worst, abs(force[i]))
            return True, worst
    return False, np.inf


@njit(cache=True)
def _follow(
    code, reads, first, stoich_node, stoich, capacity, u, theta, injected, scale, tolerance, horizon, max_steps, seek,
    force, jac, du, dp, lu, pivot,
):  # fmt: skip
    """Follow the relaxation from u (in place) with ROS2 and error control.

    ROS2 (Verwer, Spee, Blom and Hundsdorfer, SIAM J. Sci. Comput. 20, 1456 (1999)), gamma = 1 - 1/sqrt(2), L-stable:
        (C - gamma h J) k1 = F(u);  (C - gamma h J) k2 = F(u + h k1) - 2 C k1;  u += h (3 k1 + k2)/2
    local error h (k1 + k2)/2 kept below tolerance*scale. With `seek`, stops at the stable steady state that the
    relaxation reaches: Newton is tried when its step is below 1e-2 scale and kept if it lands near and stable.
    Returns (verdict, residual, stable, time).
    """
    n = capacity.size
    k1, k2, trial = np.empty(n), np.empty(n), u.copy()
    low, high = np.empty(n), np.empty(n)
    spans = np.zeros((2, n))
    crossings = np.zeros(2, np.int64)
    midpoint, watched, above = 0.0, 0, False
    window = max_steps // 4
    reach = 1e-2 * scale
    time, h = 0.0, np.inf
    done = 0
    attempts = 0
    while done < max_steps and attempts < 4 * max_steps:
        attempts += 1
        _forces(code, reads, first, stoich_node, stoich, n, u, theta, injected, force, jac, du, dp)
        if not math.isfinite(h):
            # first step: a small fraction of the fastest diagonal time constant
            h = horizon
            for i in range(n):
                if jac[i, i] != 0.0:
                    h = min(h, 0.1 * capacity[i] / abs(jac[i, i]))
        if seek:
            lu[:, :] = jac
            if _factor(lu, pivot):
                for i in range(n):
                    k1[i] = -force[i]
                _solve(lu, pivot, k1)
                far = 0.0
                for i in range(n):
                    far = max(far, abs(k1[i]))
                if far < reach:
                    trial[:] = u
                    ok, residual = _newton(
                        code, reads, first, stoich_node, stoich, capacity, trial, theta, injected,
                        1e-13 * scale, 3.0 * reach, force, jac, du, dp, lu, pivot, k2,
                    )  # fmt: skip
                    if ok and _is_stable(jac, capacity):
                        u[:] = trial
                        return SETTLED, residual, True, time
                    reach *= 0.1 if reach > 1e-9 * scale else 1.0
                    _forces(
                        code,
                        reads,
                        first,
                        stoich_node,
                        stoich,
                        n,
                        u,
                        theta,
                        injected,
                        force,
                        jac,
                        du,
                        dp,
                    )
        elif time >= horizon:
            return SETTLED, 0.0, True, time
        h = min(h, horizon - time) if not seek else h
        for i in range(n):
            for j in range(n):
                lu[i, j] = -_GAMMA * h * jac[i, j]
            lu[i, i] += capacity[i]
            k1[i] = force[i]
        if not _factor(lu, pivot):
            h *= 0.5
            continue
        _solve(lu, pivot, k1)
        trial[n:] = u[n:]
        for i in range(n):
            trial[i] = u[i] + h * k1[i]
        _forces(code, reads, first, stoich_node, stoich, n, trial, theta, injected, force, jac, du, dp)
        for i in range(n):
            k2[i] = force[i] - 2.0 * capacity[i] * k1[i]
        _solve(lu, pivot, k2)
        error = 0.0
        for i in range(n):
            error = max(error, abs(0.5 * h * (k1[i] + k2[i])))
        error /= tolerance * scale
        if not error <= 1.0:  # also when not finite
            h *= max(0.1, 0.8 / math.sqrt(error)) if math.isfinite(error) else 0.1
            continue
        for i in range(n):
            u[i] += h * (1.5 * k1[i] + 0.5 * k2[i])
        last = not seek and time + h >= horizon * (1.0 - 1e-12)
        time = horizon if last else time + h
        h *= min(5.0, 0.8 / math.sqrt(max(error, 1e-4)))
        done += 1
        # the second half of the budget watches for a limit cycle, in two windows
        if seek and done >= 2 * window:
            w = 0 if done < 3 * window else 1
            if done == 2 * window or done == 3 * window:
                for i in range(n):
                    low[i] = u[i]
                    high[i] = u[i]
            for i in range(n):
                low[i] = min(low[i], u[i])
                high[i] = max(high[i], u[i])
                spans[w, i] = high[i] - low[i]
            if done == 3 * window - 1:
                watched = int(np.argmax(spans[0]))
                midpoint = 0.5 * (low[watched] + high[watched])
                above = u[watched] > midpoint
            if w == 1 and (u[watched] > midpoint) != above:
                above = not above
                crossings[1] += 1
    _forces(code, reads, first, stoich_node, stoich, n, u, theta, injected, force, jac, du, dp)
    residual = 0.0
    for i in range(n):
        residual = max(residual, abs(force[i]))
    cycle = (
        seek
        and crossings[1] >= 3
        and spans[1, watched] > 1e-3 * scale
        and abs(spans[1, watched] - spans[0, watched]) < 0.2 * spans[0, watched]
    )
    return (OSCILLATING if cycle else UNSETTLED), residual, False, time


@njit(cache=True)
def steady_states(
    code,
    reads,
    first,
    stoich_node,
    stoich,
    capacity,
    start,
    clamped,
    theta,
    injected,
    scale,
    carry,
    tolerance,
    max_steps,
):
    """Steady states of a batch, each reached by relaxation from its start.

    start: (batch, n_free), V; clamped: (batch, n_terminals), V; theta: (batch, n_parameters); injected: (batch,
    n_free), A; scale: (batch,), V; carry: rows after the first start where the one before ended. Returns potentials
    (batch, n_free), verdict, residual (A), stable: (batch,).
    """
    batch, n = start.shape
    potentials = np.empty((batch, n))
    verdict, residual, stable = np.empty(batch, np.int64), np.empty(batch), np.empty(batch, np.bool_)
    force, pivot = np.empty(n), np.empty(n, np.int64)
    jac, lu = np.empty((n, n)), np.empty((n, n))
    du, dp = np.empty(MAX_READS), np.empty(MAX_PARAMETERS)
    u = np.empty(n + clamped.shape[1])
    for b in range(batch):
        if not (carry and b > 0):
            u[:n] = start[b]
        u[n:] = clamped[b]
        verdict[b], residual[b], stable[b], _ = _follow(
            code, reads, first, stoich_node, stoich, capacity, u, theta[b], injected[b], scale[b], tolerance,
            np.inf, max_steps, True, force, jac, du, dp, lu, pivot,
        )  # fmt: skip
        potentials[b] = u[:n]
    return potentials, verdict, residual, stable


@njit(cache=True)
def relaxations(
    code,
    reads,
    first,
    stoich_node,
    stoich,
    capacity,
    start,
    clamped,
    theta,
    injected,
    scale,
    tolerance,
    times,
):
    """Potentials at the given times (s, ascending, from 0), (batch, n_times, n_free)."""
    batch, n = start.shape
    out = np.empty((batch, times.size, n))
    force, pivot = np.empty(n), np.empty(n, np.int64)
    jac, lu = np.empty((n, n)), np.empty((n, n))
    du, dp = np.empty(MAX_READS), np.empty(MAX_PARAMETERS)
    u = np.empty(n + clamped.shape[1])
    for b in range(batch):
        u[:n] = start[b]
        u[n:] = clamped[b]
        now = 0.0
        for t in range(times.size):
            if times[t] > now:
                _follow(
                    code, reads, first, stoich_node, stoich, capacity, u, theta[b], injected[b], scale[b], tolerance,
                    times[t] - now, 10_000_000, False, force, jac, du, dp, lu, pivot,
                )  # fmt: skip
                now = times[t]
            out[b, t] = u[:n]
    return out


@njit(cache=True)
def rates(code, reads, first, potentials, clamped, theta):
    """Rates of all processes, (batch, n_processes)."""
    batch, n = potentials.shape
    out = np.empty((batch, code.size))
    du, dp = np.empty(MAX_READS), np.empty(MAX_PARAMETERS)
    u = np.empty(n + clamped.shape[1])
    for b in range(batch):
        u[:n] = potentials[b]
        u[n:] = clamped[b]
        for p in range(code.size):
            r = rate(code[p], u[reads[p, 0]], u[reads[p, 1]], theta[b, first[p] : first[p + 1]], du, dp)
            out[b, p] = r
    return out


@njit(cache=True)
def linear_forms(knobs, weights):
    """sum(weight*knob) of every parameter, (batch, n_parameters).

    Not a matrix product: BLAS rounds a row differently in batches of different sizes, and a resumed run must agree
    to the last bit.
    """
    batch, n_knobs = knobs.shape
    out = np.zeros((batch, weights.shape[0]))
    for b in range(batch):
        for p in range(weights.shape[0]):
            for k in range(n_knobs):
                if weights[p, k] != 0.0:
                    out[b, p] += weights[p, k] * knobs[b, k]
    return out


@njit(cache=True)
def jacobians(code, reads, first, stoich_node, stoich, potentials, clamped, theta):
    """dF/du at given potentials, (batch, n_free, n_free), A/V."""
    batch, n = potentials.shape
    out = np.empty((batch, n, n))
    force, injected = np.empty(n), np.zeros(n)
    du, dp = np.empty(MAX_READS), np.empty(MAX_PARAMETERS)
    u = np.empty(n + clamped.shape[1])
    for b in range(batch):
        u[:n] = potentials[b]
        u[n:] = clamped[b]
        _forces(code, reads, first, stoich_node, stoich, n, u, theta[b], injected, force, out[b], du, dp)
    return out


@njit(cache=True)
def adjoints(code, reads, first, stoich_node, stoich, potentials, clamped, theta, injected, by_node, by_rate):
    """Derivatives of L = sum by_node*u + sum by_rate*r at steady states, by one transposed solve each.

    J^T lambda = -dL/du; dL/dtheta = lambda^T dF/dtheta + direct part (physics.md, section 1).
    by_node: (batch, n_free); by_rate: (batch, n_processes). Returns dL/dtheta (batch, n_parameters),
    dL/dclamped (batch, n_terminals), dL/dinjected (batch, n_free).
    """
    batch, n = potentials.shape
    n_terminals = clamped.shape[1]
    g_theta, g_clamped = np.zeros(theta.shape), np.zeros((batch, n_terminals))
    g_injected = np.zeros((batch, n))
    force, pivot = np.empty(n), np.empty(n, np.int64)
    jac, lu = np.empty((n, n)), np.empty((n, n))
    du, dp = np.empty(MAX_READS), np.empty(MAX_PARAMETERS)
    u, lam = np.empty(n + n_terminals), np.empty(n)
    for b in range(batch):
        u[:n] = potentials[b]
        u[n:] = clamped[b]
        _forces(code, reads, first, stoich_node, stoich, n, u, theta[b], injected[b], force, jac, du, dp)
        for i in range(n):
            lam[i] = -by_node[b, i]
            for j in range(n):
                lu[i, j] = jac[j, i]
        for p in range(code.size):
            if by_rate[b, p] != 0.0:
                rate(code[p], u[reads[p, 0]], u[reads[p, 1]], theta[b, first[p] : first[p + 1]], du, dp)
                for m in range(2):
                    if reads[p, m] < n:
                        lam[reads[p, m]] -= by_rate[b, p] * du[m]
        if _factor(lu, pivot):
            _solve(lu, pivot, lam)
        else:
            lam[:] = np.nan
        g_injected[b] = lam
        for p in range(code.size):
            rate(code[p], u[reads[p, 0]], u[reads[p, 1]], theta[b, first[p] : first[p + 1]], du, dp)
            weight = by_rate[b, p]
            for k in range(stoich_node.shape[1]):
                i = stoich_node[p, k]
                if 0 <= i < n:
                    weight += lam[i] * stoich[p, k]
            for k in range(first[p + 1] - first[p]):
                g_theta[b, first[p] + k] = weight * dp[k]
            for m in range(2):
                if reads[p, m] >= n:
                    g_clamped[b, reads[p, m] - n] += weight * du[m]
    return g_theta, g_clamped, g_injected
