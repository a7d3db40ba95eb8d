"""The laws of the conductors, compiled: rate and derivatives of each, chosen by an integer code.

One function per law, the formula above it. A law reads the values v[0:n] of some nodes (potentials in V, or
concentrations in mol/L), has parameters p[:] and perhaps constants in `tables` from `at` on, and returns its rate (A,
mol/s, or mol/(L s) inside a reaction). It fills du[0:n] with the derivatives by v, and dp[:] with those by p when
`full`.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Divisions by zero give inf or nan. Without numba's runtime (_nrt) a function can make no array and need count no
# references to those that it is given: in these short functions the counting is most of the time.
inner = {"cache": True, "error_model": "numpy", "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
compiled = njit(**inner)
inlined = njit(**inner, forceinline=True)
merged = njit(**inner, inline="always")  # into its caller: the fewer modules, the less there is to compile

LINEAR, GAUSSIAN_NDC, SINGLE_LEVEL, BLOCKING_LEVEL = range(4)
SPINFUL_LEVEL, SERIAL_DOUBLE_DOT, LANDAUER_LEVEL, METALLIC_ISLAND = range(4, 8)
MICHAELIS_MENTEN, SUBSTRATE_INHIBITION, PARTIAL_INHIBITION, ORDERED_BI_BI, MASS_ACTION = range(8, 13)
CURVE, TABLE, FORMULA, CARRY = range(13, 17)
FREQUENT = frozenset({LINEAR, GAUSSIAN_NDC, SINGLE_LEVEL, BLOCKING_LEVEL, CARRY})  # compiled first, without the others

ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact (SI 2019)
BOLTZMANN_EV = 8.617333262e-5  # eV/K, CODATA 2018
HBAR_EV = 6.62607015e-34 / (2.0 * math.pi) / ELEMENTARY_CHARGE  # eV s, exact (SI 2019)

MAX_READS = 16
MAX_PARAMETERS = 32
ROOM = 32 * (1 + MAX_READS + MAX_PARAMETERS)  # behind dp[0:MAX_PARAMETERS]: what a law needs to work in


@inlined
def linear(d, conductance):
    """I = g d, d = ua - ub: (I, dI/dd)"""
    return conductance * d, conductance


@inlined
def _linear(v, p, du, dp, full):
    """:func:`linear` with the derivative by its parameter"""
    d = v[0] - v[1]
    current, slope = linear(d, p[0])
    du[0] = slope
    du[1] = -slope
    if full:
        dp[0] = d
    return current


@intrinsic
def _two_to_the(typing_context, k):
    """2.0**k for -1022 <= k <= 1023, by its bits."""

    def code(context, builder, signature, values):
        wide = ir.IntType(64)
        exponent = builder.shl(builder.add(values[0], wide(1023)), wide(52))
        return builder.bitcast(exponent, ir.DoubleType())

    return types.float64(types.int64), code


@inlined
def exp_of_negative(x):
    """exp(x) for x <= 0, to 2 ulp; 0 below -708.

    Unlike a call of the C library's exp the compiler can run it on several numbers at once. exp(x) = 2^k exp(r), with
    x = k ln 2 + r and abs(r) <= ln(2)/2, by the Taylor series of exp to r^13.
    """
    k = np.int32(max(x, -708.0) * 1.4426950408889634 - 0.5)
    r = max(x, -708.0) - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10  # ln 2 in two parts
    high = 1 / 5040 + r * (1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * (1 / 479001600
        + r / 6227020800)))))  # fmt: skip
    low = 1.0 + r * (1.0 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * high))))))
    return low * _two_to_the(np.int64(k)) if x >= -708.0 else 0.0  # pyright: ignore[reportCallIssue]


@inlined
def gaussian_ndc(d, conductance, width, leak):
    """I = d (leak + g exp(-(d/w)^2)), d = ua - ub: (I, dI/dd, exp(-(d/w)^2))"""
    q = d / width
    bell = exp_of_negative(-q * q)
    return d * (leak + conductance * bell), leak + conductance * bell * (1.0 - 2.0 * q * q), bell


@inlined
def _gaussian_ndc(v, p, du, dp, full):
    """:func:`gaussian_ndc` with the derivatives by its parameters"""
    d = v[0] - v[1]
    current, slope, bell = gaussian_ndc(d, p[0], p[1], p[2])
    du[0] = slope
    du[1] = -slope
    if full:
        q = d / p[1]
        dp[0] = d * bell
        dp[1] = d * p[0] * bell * 2.0 * q * q / p[1]
        dp[2] = d
    return current


@inlined
def _carry(v, p, du, dp, full):
    """What liquid takes along, one way: max(q, 0) c"""
    rate = max(p[0], 0.0)
    du[0] = rate
    if full:
        dp[0] = v[0] if p[0] > 0.0 else 0.0
    return rate * v[0]


@inlined
def _fermi(x):
    """f = 1/(1+exp(x)) and 1-f, both to full relative precision and without overflow."""
    z = math.exp(-abs(x))
    near = 1.0 / (1.0 + z)
    if x >= 0.0:
        return z * near, near
    return near, z * near


@compiled
def _gain(delta):
    """sign(delta) (1 - exp(-abs(delta))) for the product form of :func:`_window`; not needed beyond 1."""
    if abs(delta) >= 1.0:
        return 0.0
    return -math.expm1(-delta) if delta >= 0.0 else math.expm1(delta)


@compiled
def _window(f_l, e_l, f_r, e_r, delta, gain):
    """f_l - f_r = f_l (1-f_r) (1 - exp(-delta)), delta = x_r - x_l: keeps relative precision at any bias.

    e_l, e_r: 1-f; gain: `_gain(delta)`. Holds for any pair of rates with e/f = exp(x), so for the island's too.
    """
    if abs(delta) >= 1.0:
        return f_l * e_r - f_r * e_l
    return f_l * e_r * gain if delta >= 0.0 else f_r * e_l * gain


@compiled
def _moved(v, n, p, first):
    """What the levers p[first:first+n] add to a level: sum of lever*potential over the nodes read, eV."""
    shift = 0.0
    for k in range(n):
        shift += p[first + k] * v[k]
    return shift


@compiled
def _follow(by_level, v, n, p, first, du, dp, full):
    """Derivatives through the levers p[first:first+n]; by_level: dI/dlevel, A/eV."""
    for k in range(n):
        du[k] += by_level * p[first + k]
        if full:
            dp[first + k] = by_level * v[k]


@compiled
def _single_level(v, n, p, du, dp, full):
    """I = e GL GR/(GL+GR) [f(eps-ua) - f(eps-ub)], eps -> eps + sum(lever*potential)"""
    gl, gr, kt = p[1], p[2], BOLTZMANN_EV * p[3]
    level = p[0] + _moved(v, n, p, 4)
    x_l, x_r, delta = (level - v[0]) / kt, (level - v[1]) / kt, (v[0] - v[1]) / kt
    f_l, e_l = _fermi(x_l)
    f_r, e_r = _fermi(x_r)
    d = _window(f_l, e_l, f_r, e_r, delta, _gain(delta))
    s = gl + gr
    g = ELEMENTARY_CHARGE * gl * gr / s
    w_l, w_r = -g * f_l * e_l, g * f_r * e_r  # dI/dx_l, dI/dx_r
    for k in range(2, n):
        du[k] = 0.0
    du[0], du[1] = -w_l / kt, -w_r / kt
    by_level = (w_l + w_r) / kt
    _follow(by_level, v, n, p, 4, du, dp, full)
    if full:
        dp[0] = by_level
        dp[1] = ELEMENTARY_CHARGE * d * gr * gr / (s * s)
        dp[2] = ELEMENTARY_CHARGE * d * gl * gl / (s * s)
        dp[3] = -(w_l * x_l + w_r * x_r) / p[3]
    return g * d


@compiled
def _blocking_level(v, n, p, du, dp, full):
    """physics.md, section 2, in the form that does not overflow:

    I = e [GL1 GR1 (fL1-fR1) out2 + GL2 GR2 (fL2-fR2) out1] / (out1 out2 + in1 out2 + in2 out1),
    in_a = GLa fLa + GRa fRa, out_a = GLa (1-fLa) + GRa (1-fRa)
    """
    kt = BOLTZMANN_EV * p[6]
    shift = _moved(v, n, p, 7)
    gl1, gl2, gr1, gr2 = p[2], p[3], p[4], p[5]
    xl1, xr1 = (p[0] + shift - v[0]) / kt, (p[0] + shift - v[1]) / kt
    xl2, xr2 = (p[1] + shift - v[0]) / kt, (p[1] + shift - v[1]) / kt
    fl1, el1 = _fermi(xl1)
    fr1, er1 = _fermi(xr1)
    fl2, el2 = _fermi(xl2)
    fr2, er2 = _fermi(xr2)
    delta = (v[0] - v[1]) / kt
    gain = _gain(delta)
    d1 = _window(fl1, el1, fr1, er1, delta, gain)
    d2 = _window(fl2, el2, fr2, er2, delta, gain)
    out1, out2 = gl1 * el1 + gr1 * er1, gl2 * el2 + gr2 * er2
    in1, in2 = gl1 * fl1 + gr1 * fr1, gl2 * fl2 + gr2 * fr2
    a1, a2 = gl1 * gr1, gl2 * gr2
    den = out1 * out2 + in1 * out2 + in2 * out1
    for k in range(n):
        du[k] = 0.0
    if den < 1e-280:  # both levels hundreds of kT below both leads: full, and no current
        if full:
            for k in range(7 + n):
                dp[k] = 0.0
        return 0.0
    current = (a1 * d1 * out2 + a2 * d2 * out1) / den
    # Quotient rule, dI = (dnum - I dden)/den. Raising fL1 by df: d1 +df, out1 -gl1 df, den -gl1 in2 df.
    t1 = a2 * d2 - current * in2  # (dnum - I dden) per -out1, through d in1 = -d out1
    t2 = a1 * d1 - current * in1
    e = ELEMENTARY_CHARGE
    scale = -e / den
    wl1, wr1 = scale * (a1 * out2 - gl1 * t1) * fl1 * el1, scale * (-a1 * out2 - gr1 * t1) * fr1 * er1  # dI/dx
    wl2, wr2 = scale * (a2 * out1 - gl2 * t2) * fl2 * el2, scale * (-a2 * out1 - gr2 * t2) * fr2 * er2
    by1, by2 = (wl1 + wr1) / kt, (wl2 + wr2) / kt
    du[0] = -(wl1 + wl2) / kt
    du[1] = -(wr1 + wr2) / kt
    _follow(by1 + by2, v, n, p, 7, du, dp, full)
    if full:
        dp[0] = by1
        dp[1] = by2
        dp[6] = -(wl1 * xl1 + wr1 * xr1 + wl2 * xl2 + wr2 * xr2) / p[6]
        # Rates: d out_a = (1-f), d in_a = f.
        dp[2] = e * (gr1 * d1 * out2 + a2 * d2 * el1 - current * (el1 * (out2 + in2) + fl1 * out2)) / den
        dp[4] = e * (gl1 * d1 * out2 + a2 * d2 * er1 - current * (er1 * (out2 + in2) + fr1 * out2)) / den
        dp[3] = e * (gr2 * d2 * out1 + a1 * d1 * el2 - current * (el2 * (out1 + in1) + fl2 * out1)) / den
        dp[5] = e * (gl2 * d2 * out1 + a1 * d1 * er2 - current * (er2 * (out1 + in1) + fr2 * out1)) / den
    return e * current


@compiled
def _spinful_level(v, n, p, du, dp, full):
    """I = 2e GL GR (fL-fR) / [GL (1+fL) + GR (1+fR)], eps -> eps + sum(lever*potential)"""
    gl, gr, kt = p[1], p[2], BOLTZMANN_EV * p[3]
    level = p[0] + _moved(v, n, p, 4)
    x_l, x_r, delta = (level - v[0]) / kt, (level - v[1]) / kt, (v[0] - v[1]) / kt
    f_l, e_l = _fermi(x_l)
    f_r, e_r = _fermi(x_r)
    d = _window(f_l, e_l, f_r, e_r, delta, _gain(delta))
    den = gl * (1.0 + f_l) + gr * (1.0 + f_r)
    g = 2.0 * ELEMENTARY_CHARGE * gl * gr / den
    w_l, w_r = -g * (1.0 - gl * d / den) * f_l * e_l, g * (1.0 + gr * d / den) * f_r * e_r  # dI/dx_l, dI/dx_r
    for k in range(2, n):
        du[k] = 0.0
    du[0], du[1] = -w_l / kt, -w_r / kt
    by_level = (w_l + w_r) / kt
    _follow(by_level, v, n, p, 4, du, dp, full)
    if full:
        dp[0] = by_level
        e = 2.0 * ELEMENTARY_CHARGE * d / (den * den)
        dp[1] = e * gr * gr * (1.0 + f_r)
        dp[2] = e * gl * gl * (1.0 + f_l)
        dp[3] = -(w_l * x_l + w_r * x_r) / p[3]
    return g * d


@compiled
def _serial_double_dot(v, n, p, du, dp, full):
    """I = e W GL GR (fL-fR) / [bL bR + W (bL+bR) + aL bR + aR bL + 2 W (aL+aR)], W = t^2 G / (G^2/4 + d^2),

    a = Gamma f, b = Gamma (1-f) at the mean level, G = bL + bR. With M = G^2/4 + d^2 and Y = (bL bR + aL bR + aR bL)/G
    this is I = e t^2 GL GR (fL-fR) / (M Y + t^2 B), B = G + 2 (aL+aR), which never divides by the detuning d.
    """
    t, gl, gr, kt = p[2] / HBAR_EV, p[3], p[4], BOLTZMANN_EV * p[5]
    left, right = p[0] + _moved(v, n, p, 6), p[1] + _moved(v, n, p, 6 + n)
    level, d = 0.5 * (left + right), (left - right) / HBAR_EV
    x_l, x_r, delta = (level - v[0]) / kt, (level - v[1]) / kt, (v[0] - v[1]) / kt
    f_l, e_l = _fermi(x_l)
    f_r, e_r = _fermi(x_r)
    window = _window(f_l, e_l, f_r, e_r, delta, _gain(delta))
    a_l, b_l, a_r, b_r = gl * f_l, gl * e_l, gr * f_r, gr * e_r
    g = b_l + b_r
    for k in range(n):
        du[k] = 0.0
    if g < 1e-140:  # hundreds of kT below both leads: full, and no current
        if full:
            for k in range(6 + 2 * n):
                dp[k] = 0.0
        return 0.0
    q, r = b_l / g, b_r / g
    m, y, b = 0.25 * g * g + d * d, b_l * r + a_l * r + a_r * q, g + 2.0 * (a_l + a_r)
    den = m * y + t * t * b
    e = ELEMENTARY_CHARGE
    top = e * gl * gr * t * t / den
    current = top * window
    # dden/dfL (1-fL) = bL (t^2 - G Y/2) + M q r (GL - aR), and alike at the right
    common, blurred = t * t - 0.5 * g * y, m * q * r
    w_l = -f_l * (top * e_l - current * (b_l * common + blurred * (gl - a_r)) / den)  # dI/dx_l
    w_r = f_r * (top * e_r + current * (b_r * common + blurred * (gr - a_l)) / den)
    by_level, by_detuning = 0.5 * (w_l + w_r) / kt, -2.0 * current * d * y / den / HBAR_EV
    du[0], du[1] = -w_l / kt, -w_r / kt
    _follow(by_level + by_detuning, v, n, p, 6, du, dp, full)
    _follow(by_level - by_detuning, v, n, p, 6 + n, du, dp, full)
    if full:
        dp[0] = by_level + by_detuning
        dp[1] = by_level - by_detuning
        dp[2] = 2.0 * e * gl * gr * window * t * m * y / (den * den) / HBAR_EV
        by_gl = 0.5 * g * e_l * y + m * r * (r + q * a_r / gl) + t * t * (1.0 + f_l)  # dden/dGL
        by_gr = 0.5 * g * e_r * y + m * q * (q + r * a_l / gr) + t * t * (1.0 + f_r)
        dp[3] = current / gl - current * by_gl / den
        dp[4] = current / gr - current * by_gr / den
        dp[5] = -(w_l * x_l + w_r * x_r) / p[5]
    return current


# B_2k/(2k), DLMF 24.2: the asymptotic series of the digamma function
DIGAMMA_SERIES = (0.0, 1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160, 43867 / 14364)


@compiled
def _inverse(z):
    """1/z; simpler to compile than a division that guards against overflow, which cannot happen here."""
    m = z.real * z.real + z.imag * z.imag
    return complex(z.real / m, -z.imag / m)


@compiled
def _landauer_level(v, n, p, du, dp, full):
    """I = e GL GR/(pi G) {Im psi(z_r) - Im psi(z_l)}, z = 1/2 + [hbar G/2 + i (eps-u)]/(2 pi kT), G = GL + GR

    psi by recurrence (DLMF 5.5.2) until Re z >= 10 and by its asymptotic series (DLMF 5.11.2) from there; both are
    taken as differences between z_r and z_l = z_r - i delta with the factor delta in front, so a small bias loses
    no digits. The derivatives need psi', from the same two formulas.
    """
    gl, gr, width = p[1], p[2], 2.0 * math.pi * BOLTZMANN_EV * p[3]
    g = gl + gr
    level = p[0] + _moved(v, n, p, 4)
    y_l, y_r, delta = (level - v[0]) / width, (level - v[1]) / width, (v[0] - v[1]) / width
    x = 0.5 * HBAR_EV * g / width
    z_l, z_r = complex(0.5 + x, y_l), complex(0.5 + x, y_r)
    slope, tri_l, tri_r = 0.0, 0j, 0j
    if min(abs(y_l), abs(y_r)) < 14.0:
        while z_l.real < 10.0:
            s_l, s_r = _inverse(z_l), _inverse(z_r)
            slope += (s_l * s_r).real
            tri_l += s_l * s_l
            tri_r += s_r * s_r
            z_l += 1.0
            z_r += 1.0
    s_l, s_r = _inverse(z_l), _inverse(z_r)
    q_l, q_r = s_l * s_l, s_r * s_r
    # Horner: series at q_l, its divided difference between q_l and q_r, and sum B_2k q^k at both
    series, divided, bernoulli_l, bernoulli_r = 0j, 0j, 0j, 0j
    for k in range(9, -1, -1):
        divided = divided * q_r + series
        series = series * q_l + DIGAMMA_SERIES[k]
        bernoulli_l = bernoulli_l * q_l + 2 * k * DIGAMMA_SERIES[k]
        bernoulli_r = bernoulli_r * q_r + 2 * k * DIGAMMA_SERIES[k]
    slope += (s_l * s_r * (0.5 + (s_l + s_r) * divided)).real
    tri_l += s_l + 0.5 * q_l + s_l * bernoulli_l
    tri_r += s_r + 0.5 * q_r + s_r * bernoulli_r
    a = z_l.real
    difference = math.atan2(a * delta, a * a + y_l * y_r) + delta * slope
    scale = ELEMENTARY_CHARGE * gl * gr / (math.pi * g)
    for k in range(2, n):
        du[k] = 0.0
    du[0], du[1] = scale * tri_l.real / width, -scale * tri_r.real / width
    by_level = -du[0] - du[1]
    _follow(by_level, v, n, p, 4, du, dp, full)
    if full:
        by_x = tri_r.imag - tri_l.imag
        broadening = scale * by_x * 0.5 * HBAR_EV / width
        dp[0] = by_level
        dp[1] = scale * difference * gr / (gl * g) + broadening
        dp[2] = scale * difference * gl / (gr * g) + broadening
        dp[3] = -scale * (y_r * tri_r.real - y_l * tri_l.real + x * by_x) / p[3]
    return scale * difference


@compiled
def _orthodox(x):
    """g(x) = x/(exp(x)-1), g(-x), and g' at x and at -x; all to full relative precision."""
    y = abs(x)
    if y < 0.03:  # sum B_k y^k/k!
        s = y * y
        down = 1.0 - 0.5 * y + s * (1.0 / 12.0 - s * (1.0 / 720.0 - s / 30240.0))
        up = down + y
        by_down = -0.5 + y * (1.0 / 6.0 - s * (1.0 / 180.0 - s / 5040.0))
    else:
        z = math.exp(-y)
        up = y / (1.0 - z)
        down = up * z
        by_down = down * (1.0 - up) / y
    by_up = -1.0 - by_down
    if x >= 0.0:
        return down, up, by_down, by_up
    return up, down, by_up, by_down


MAX_CHARGES = 2000  # charge states on each side of the most probable one


@compiled
def _metallic_island(v, n, p, du, dp, full):
    """I = sum over charges c of P(c) [into(c) from the left] - P(c+1) [out(c+1) to the left],

    carriers enter and leave at G kT g(x)/e and G kT g(-x)/e, x = [Ec (2c+1-2ng) + sum(lever*potential) - u]/kT,
    g(x) = x/(exp(x)-1). Across the link c, c+1 detailed balance P(c+1)/P(c) = up/down, up = sum G g(x), down =
    sum G g(-x), makes this P(c) kT GL GR [g(xL) g(-xR) - g(-xL) g(xR)]/down. up - down = -(GL xL + GR xR) falls with
    c, so P has one maximum, and it is known.
    """
    gl, gr, ec, ng, kt = 1.0 / p[0], 1.0 / p[1], p[2], p[3], BOLTZMANN_EV * p[4]
    shift = _moved(v, n, p, 5)
    mean = v[0] + (v[1] - v[0]) * gr / (gl + gr)
    peak = np.ceil(0.5 * ((mean - shift) / ec - 1.0) + ng)
    delta = (v[0] - v[1]) / kt
    gain = _gain(delta)
    # Three rows of four: d ln P(c), d sum(P), d sum(P link current) by xL and xR in common shift, by Ec/kT, by GL
    s = dp[MAX_PARAMETERS:]
    for k in range(12):
        s[k] = 0.0
    total, flow = 1.0, 0.0
    for side in range(2):
        charge, weight = peak, 1.0
        for c in range(4):
            s[c] = 0.0
        for _ in range(MAX_CHARGES):
            link = charge if side == 0 else charge - 1.0
            spacing = 2.0 * (link - ng) + 1.0
            level = ec * spacing + shift
            in_l, out_l, by_in_l, by_out_l = _orthodox((level - v[0]) / kt)
            in_r, out_r, by_in_r, by_out_r = _orthodox((level - v[1]) / kt)
            up, down = gl * in_l + gr * in_r, gl * out_l + gr * out_r
            against, along = (down, up) if side == 0 else (up, down)
            part = weight * _window(in_l, out_l, in_r, out_r, delta, gain) / against
            by_l = weight * (by_in_l * out_r + by_out_l * in_r) / against  # of the link current, by xL and xR
            by_r = -weight * (in_l * by_out_r + out_l * by_in_r) / against
            flow += part
            weight *= along / against
            total += weight
            for c in range(4 if full else 2):
                if c == 0:
                    d_flow, d_up, d_down = by_l, gl * by_in_l, -gl * by_out_l
                elif c == 1:
                    d_flow, d_up, d_down = by_r, gr * by_in_r, -gr * by_out_r
                elif c == 2:
                    d_flow = (by_l + by_r) * spacing
                    d_up, d_down = (gl * by_in_l + gr * by_in_r) * spacing, -(gl * by_out_l + gr * by_out_r) * spacing
                else:
                    d_flow, d_up, d_down = 0.0, in_l, out_l
                d_against, d_along = (d_down, d_up) if side == 0 else (d_up, d_down)
                s[8 + c] += d_flow + part * (s[c] - d_against / against)
                # where nothing goes along any more the next weight is 0 and so is its derivative
                s[c] += (d_along / along if along > 0.0 else 0.0) - d_against / against
                s[4 + c] += weight * s[c]
            if weight <= 1e-18 * total and abs(part) <= 1e-18 * abs(flow):
                break
            charge += 1.0 if side == 0 else -1.0
    scale = kt * gl * gr / total
    current = scale * flow
    mean_flow = flow / total
    w_l, w_r = scale * (s[8] - mean_flow * s[4]) / kt, scale * (s[9] - mean_flow * s[5]) / kt
    for k in range(2, n):
        du[k] = 0.0
    du[0], du[1] = -w_l, -w_r
    _follow(w_l + w_r, v, n, p, 5, du, dp, full)
    if full:
        by_ec = scale * (s[10] - mean_flow * s[6]) / kt
        by_gl = current / gl + scale * (s[11] - mean_flow * s[7])
        dp[0] = -by_gl * gl * gl
        dp[1] = -(current - gl * by_gl) * gr  # I is homogeneous of degree 1 in the two conductances
        dp[2] = by_ec
        dp[3] = -2.0 * ec * (w_l + w_r)
        # and of degree 1 in all the energies together with kT
        dp[4] = (current - w_l * (shift - v[0]) - w_r * (shift - v[1]) - ec * by_ec) / p[4]
    return current


@compiled
def _michaelis_menten(code, v, n, p, du, dp, full):
    """v = Vf H (S - P/Keq)/Ks / (1 + S/Ks + P/Kp + S^2/(Ks Ki)), H = (1 + b S/Kss)/(1 + S/Kss)

    Ki = inf unless SUBSTRATE_INHIBITION, H = 1 unless PARTIAL_INHIBITION. Below zero concentration, where only a
    solver's trial step goes, the denominators stay at their values at zero.
    """
    vmax, ks = p[0], p[1]
    own = 2 if code == MICHAELIS_MENTEN else (3 if code == SUBSTRATE_INHIBITION else 4)  # where kp and keq stand
    kp, keq = p[own], p[own + 1]
    product = v[1] if n > 1 else 0.0
    s, c = max(v[0], 0.0), max(product, 0.0)
    drive = (v[0] - product / keq) / ks
    den = 1.0 + s / ks + c / kp
    by_s = 1.0 / ks  # dden/dS
    h, by_h, free = 1.0, 0.0, 1.0
    if code == SUBSTRATE_INHIBITION:
        den += s * s / (ks * p[2])
        by_s += 2.0 * s / (ks * p[2])
    if code == PARTIAL_INHIBITION:
        free = 1.0 / (1.0 + s / p[2])
        h = (1.0 + p[3] * s / p[2]) * free
        by_h = (p[3] - 1.0) * free * free / p[2]  # dH/dS
    unit = drive * h / den
    scale = vmax / den
    du[0] = scale * h / ks
    if v[0] >= 0.0:
        du[0] += scale * (drive * by_h - unit * by_s)
    if n > 1:
        du[1] = -scale * h / (keq * ks)
        if product >= 0.0:
            du[1] -= scale * unit / kp
    if full:
        dp[0] = unit
        dp[1] = vmax * unit * ((den - 1.0 - c / kp) / den - 1.0) / ks  # all of den but 1 + P/Kp goes as 1/Ks
        dp[own] = scale * unit * c / (kp * kp)
        dp[own + 1] = scale * h * product / (keq * keq * ks)
        if code == SUBSTRATE_INHIBITION:
            dp[2] = scale * unit * s * s / (ks * p[2] * p[2])
        if code == PARTIAL_INHIBITION:
            dp[2] = -scale * drive * by_h * s / p[2]
            dp[3] = scale * drive * s * free / p[2]
    return vmax * unit


@compiled
def _ordered_bi_bi(v, n, p, du, dp, full):
    """devices.md, section 2: v = E F (A B - P Q/Keq) / [e0 (1+B/Keb) + ea (1+I/Kox) + ex + eq (1+B/Keqb)],

    F = k1 k2 k3 k4, k-3 = F/(Keq k-1 k-2 k-4), e0 ... eq the King-Altman sums of the four enzyme forms.
    """
    k1, k1r, k2, k2r, k3, k4, k4r = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    keq, keb, keqb, kox = p[7], p[8], p[9], p[10]
    enzyme = v[4]
    forward = k1 * k2 * k3 * k4
    k3r = forward / (keq * k1r * k2r * k4r)
    # Below zero, where only a solver's trial step goes, the denominator stays at its value at zero.
    a, b, c, q = max(v[0], 0.0), max(v[1], 0.0), max(v[2], 0.0), max(v[3], 0.0)
    i = max(v[5], 0.0) if n > 5 else 0.0
    w0, wa, wq = 1.0 + b / keb, 1.0 + i / kox, 1.0 + b / keqb
    t1, t2, t3, t4 = k1r * k2r * k4, k1r * k3 * k4, k2 * k3 * k4 * b, k1r * k2r * k3r * c
    t5, t6, t7, t8 = k1 * k2r * k4 * a, k1 * k3 * k4 * a, k1 * k2r * k3r * a * c, k2r * k3r * k4r * c * q
    t9, t10 = k1 * k2 * k4 * a * b, k1r * k3r * k4r * c * q
    t11, t12 = k1 * k2 * k3r * a * b * c, k2 * k3r * k4r * b * c * q
    t13, t14, t15, t16 = k1 * k2 * k3 * a * b, k1r * k2r * k4r * q, k1r * k3 * k4r * q, k2 * k3 * k4r * b * q
    e0, ea, eq = t1 + t2 + t3 + t4, t5 + t6 + t7 + t8, t13 + t14 + t15 + t16
    den = e0 * w0 + ea * wa + (t9 + t10 + t11 + t12) + eq * wq
    num = forward * (v[0] * v[1] - v[2] * v[3] / keq)
    turnover = num / den
    scale = enzyme / den
    by_a = wa * (k1 * (k2r + k3) * k4 + k1 * k2r * k3r * c) + k1 * k2 * b * (k4 + k3r * c + wq * k3)  # dden/da
    by_b = w0 * k2 * k3 * k4 + e0 / keb + k2 * (k1 * a * (k4 + k3r * c) + k3r * k4r * c * q)
    by_b += wq * k2 * k3 * (k1 * a + k4r * q) + eq / keqb
    by_c = w0 * k1r * k2r * k3r + wa * k2r * k3r * (k1 * a + k4r * q)
    by_c += k3r * (k1r * k4r * q + k2 * b * (k1 * a + k4r * q))
    by_q = k3r * k4r * c * (wa * k2r + k1r + k2 * b) + wq * k4r * (k1r * (k2r + k3) + k2 * k3 * b)
    du[0] = scale * (forward * v[1] - (turnover * by_a if v[0] >= 0.0 else 0.0))
    du[1] = scale * (forward * v[0] - (turnover * by_b if v[1] >= 0.0 else 0.0))
    du[2] = scale * (-forward * v[3] / keq - (turnover * by_c if v[2] >= 0.0 else 0.0))
    du[3] = scale * (-forward * v[2] / keq - (turnover * by_q if v[3] >= 0.0 else 0.0))
    du[4] = turnover
    if n > 5:
        du[5] = -scale * turnover * ea / kox if v[5] >= 0.0 else 0.0
    if full:
        # dden/dln k, term by term; k-3 follows the others through Keq
        t1, t2, t3, t4 = w0 * t1, w0 * t2, w0 * t3, w0 * t4
        t5, t6, t7, t8 = wa * t5, wa * t6, wa * t7, wa * t8
        t13, t14, t15, t16 = wq * t13, wq * t14, wq * t15, wq * t16
        back = t4 + t7 + t8 + t10 + t11 + t12
        dp[0] = scale * (num - turnover * (t5 + t6 + t7 + t9 + t11 + t13 + back)) / k1
        dp[1] = -scale * turnover * (t1 + t2 + t4 + t10 + t14 + t15 - back) / k1r
        dp[2] = scale * (num - turnover * (t3 + t9 + t11 + t12 + t13 + t16 + back)) / k2
        dp[3] = -scale * turnover * (t1 + t4 + t5 + t7 + t8 + t14 - back) / k2r
        dp[4] = scale * (num - turnover * (t2 + t3 + t6 + t13 + t15 + t16 + back)) / k3
        dp[5] = scale * (num - turnover * (t1 + t2 + t3 + t5 + t6 + t9 + back)) / k4
        dp[6] = -scale * turnover * (t8 + t10 + t12 + t14 + t15 + t16 - back) / k4r
        dp[7] = scale * (forward * v[2] * v[3] / keq + turnover * back) / keq
        dp[8] = scale * turnover * e0 * b / (keb * keb)
        dp[9] = scale * turnover * eq * b / (keqb * keqb)
        dp[10] = scale * turnover * ea * i / (kox * kox)
    return enzyme * turnover


@compiled
def _mass_action(v, n, p, tables, at, du, dp, full):
    """v = kf prod(substrates) - kr prod(products); tables[at]: how many of the nodes are substrates"""
    substrates = int(tables[at])
    forward, backward = 1.0, 1.0
    for k in range(substrates):
        forward *= v[k]
    for k in range(substrates, n):
        backward *= v[k]
    for k in range(n):
        first, last, slope = (0, substrates, p[0]) if k < substrates else (substrates, n, -p[1])
        for j in range(first, last):
            if j != k:
                slope *= v[j]
        du[k] = slope
    if full:
        dp[0] = forward
        dp[1] = -backward
    return p[0] * forward - p[1] * backward


@compiled
def _curve(v, p, tables, at, du, dp, full):
    """I = scale C(ua - ub), C piecewise cubic, straight outside

    tables: count, slopes beyond the first and the last point, the points x, then (c3, c2, c1, c0) of each piece.
    """
    count = int(tables[at])
    x = at + 3
    d = v[0] - v[1]
    low, high = 0, count - 2
    while low < high:  # the last piece that begins at or below d
        middle = (low + high + 1) // 2
        if tables[x + middle] <= d:
            low = middle
        else:
            high = middle - 1
    c = x + count + 4 * low
    inside = min(max(d, tables[x]), tables[x + count - 1])
    s = inside - tables[x + low]
    value = ((tables[c] * s + tables[c + 1]) * s + tables[c + 2]) * s + tables[c + 3]
    slope = (3.0 * tables[c] * s + 2.0 * tables[c + 1]) * s + tables[c + 2]
    if d != inside:
        slope = tables[at + 1] if d < inside else tables[at + 2]
        value += slope * (d - inside)
    du[0] = p[0] * slope
    du[1] = -p[0] * slope
    if full:
        dp[0] = value
    return p[0] * value


@compiled
def _table(v, n, p, tables, at, du, dp, full):
    """I = scale T(ua - s, ub - s), s = level + sum(lever*potential), T linear on triangles

    tables: points per side, first point, step, then the currents, row by row. Each cell is cut along its diagonal
    (1, 1), so T is 0 wherever ua = ub, and its slopes are differences of neighbouring entries. Beyond the grid the
    potential counts as the edge's.
    """
    side, start, step = int(tables[at]), tables[at + 1], tables[at + 2]
    shift = p[0] + _moved(v, n, p, 2)
    x, y = (v[0] - shift - start) / step, (v[1] - shift - start) / step
    if math.isnan(x + y):  # no cell to look up
        for k in range(n):
            du[k] = np.nan
        return np.nan
    inside_x, inside_y = 0.0 <= x <= side - 1, 0.0 <= y <= side - 1
    x, y = min(max(x, 0.0), side - 1.0), min(max(y, 0.0), side - 1.0)
    i, j = min(int(x), side - 2), min(int(y), side - 2)
    fx, fy = x - i, y - j
    # exact at small bias: not the difference of two rounded fractions
    difference = (v[0] - v[1]) / step if inside_x and inside_y and i == j else fx - fy
    corner = at + 3 + i * side + j
    t00, t11 = tables[corner], tables[corner + side + 1]
    if difference >= 0.0:
        middle = tables[corner + side]
        by_x, by_y = middle - t00, t11 - middle
        value = t00 + (t11 - t00) * fy + by_x * difference
    else:
        middle = tables[corner + 1]
        by_x, by_y = t11 - middle, middle - t00
        value = t00 + (t11 - t00) * fx - by_y * difference
    scale = p[1] / step
    for k in range(2, n):
        du[k] = 0.0
    du[0] = scale * by_x if inside_x else 0.0
    du[1] = scale * by_y if inside_y else 0.0
    by_level = -du[0] - du[1]
    _follow(by_level, v, n, p, 2, du, dp, full)
    if full:
        dp[0] = by_level
        dp[1] = value
    return p[1] * value


NUMBER, NODE, PARAMETER, ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, MINIMUM, MAXIMUM = range(10)
NEGATE, EXP, LOG, LOG10, SQRT, TANH, ABS = range(10, 17)
MAX_STACK = ROOM // (1 + MAX_READS + MAX_PARAMETERS)


@compiled
def _formula(v, n, p, tables, at, du, dp, full):
    """A program in postfix order, run on a stack of values with their derivatives (forward mode).

    tables: number of steps, number of parameters, then (operation, argument) of each step. Operations before NEGATE
    that are not NUMBER, NODE or PARAMETER take two entries off the stack, those from NEGATE on one.
    """
    steps, many = int(tables[at]), int(tables[at + 1])
    wide = 1 + n + many if full else 1 + n  # of an entry: its value and derivatives
    s = dp[MAX_PARAMETERS:]
    top = -wide
    for step in range(steps):
        operation, argument = int(tables[at + 2 + 2 * step]), tables[at + 3 + 2 * step]
        if operation <= PARAMETER:
            top += wide
            for k in range(wide):
                s[top + k] = 0.0
            if operation == NUMBER:
                s[top] = argument
            elif operation == NODE:
                s[top] = v[int(argument)]
                s[top + 1 + int(argument)] = 1.0
            else:
                s[top] = p[int(argument)]
                if full:
                    s[top + 1 + n + int(argument)] = 1.0
            continue
        if operation < NEGATE:
            top -= wide
            x, y = s[top], s[top + wide]
            by_x, by_y = 1.0, 1.0
            if operation == ADD:
                z = x + y
            elif operation == SUBTRACT:
                z, by_y = x - y, -1.0
            elif operation == MULTIPLY:
                z, by_x, by_y = x * y, y, x
            elif operation == DIVIDE:
                z = x / y
                by_x, by_y = 1.0 / y, -z / y
            elif operation == POWER:
                z = x**y
                by_x = y * x ** (y - 1.0) if y != 0.0 else 0.0
                by_y = z * math.log(x) if x > 0.0 else 0.0
            else:
                first = (x <= y) == (operation == MINIMUM)
                z, by_x, by_y = (x, 1.0, 0.0) if first else (y, 0.0, 1.0)
            for k in range(1, wide):
                s[top + k] = by_x * s[top + k] + by_y * s[top + wide + k]
        else:
            x = s[top]
            if operation == NEGATE:
                z, by_x = -x, -1.0
            elif operation == EXP:
                z = math.exp(x)
                by_x = z
            elif operation == LOG:
                z, by_x = math.log(x), 1.0 / x
            elif operation == LOG10:
                z, by_x = math.log10(x), 1.0 / (x * math.log(10.0))
            elif operation == SQRT:
                z = math.sqrt(x)
                by_x = 0.5 / z
            elif operation == TANH:
                z = math.tanh(x)
                by_x = 1.0 - z * z
            else:
                z, by_x = abs(x), (1.0 if x >= 0.0 else -1.0)
            for k in range(1, wide):
                s[top + k] *= by_x
        s[top] = z
    for k in range(n):
        du[k] = s[1 + k]
    if full:
        for k in range(many):
            dp[k] = s[1 + n + k]
    return s[0]


@merged
def _seldom(code, v, n, p, tables, at, du, dp, full):
    """The laws that are not worth inlining."""
    if code == SPINFUL_LEVEL:
        return _spinful_level(v, n, p, du, dp, full)
    if code == SERIAL_DOUBLE_DOT:
        return _serial_double_dot(v, n, p, du, dp, full)
    if code == LANDAUER_LEVEL:
        return _landauer_level(v, n, p, du, dp, full)
    if code == METALLIC_ISLAND:
        return _metallic_island(v, n, p, du, dp, full)
    if code in (MICHAELIS_MENTEN, SUBSTRATE_INHIBITION, PARTIAL_INHIBITION):
        return _michaelis_menten(code, v, n, p, du, dp, full)
    if code == ORDERED_BI_BI:
        return _ordered_bi_bi(v, n, p, du, dp, full)
    if code == MASS_ACTION:
        return _mass_action(v, n, p, tables, at, du, dp, full)
    if code == CURVE:
        return _curve(v, p, tables, at, du, dp, full)
    if code == TABLE:
        return _table(v, n, p, tables, at, du, dp, full)
    return _formula(v, n, p, tables, at, du, dp, full)


@merged
def frequent_rate_of(code, v, n, p, du, dp, full):
    """:func:`rate` of the laws :data:`FREQUENT`, for kernels that need no other."""
    if code == LINEAR:
        return _linear(v, p, du, dp, full)
    if code == GAUSSIAN_NDC:
        return _gaussian_ndc(v, p, du, dp, full)
    if code == CARRY:
        return _carry(v, p, du, dp, full)
    if code == SINGLE_LEVEL:
        return _single_level(v, n, p, du, dp, full)
    return _blocking_level(v, n, p, du, dp, full)


@merged
def rate_of(code, v, n, p, tables, at, du, dp, full):
    """:func:`rate` for kernels."""
    if code <= BLOCKING_LEVEL or code == CARRY:
        return frequent_rate_of(code, v, n, p, du, dp, full)
    return _seldom(code, v, n, p, tables, at, du, dp, full)


@njit(cache=True, error_model="numpy", _nrt=False)  # pyright: ignore[reportCallIssue]
def rate(code, v, n, p, tables, at, du, dp, full):
    """Rate of one process and its derivatives (see the module's docstring)."""
    return rate_of(code, v, n, p, tables, at, du, dp, full)
