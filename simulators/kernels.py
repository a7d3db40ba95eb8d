"""Compiled kernels: the relaxation of any network, its steady state and the adjoint of that.

One engine for all platforms. A network is a list of *processes*; process p has a law (integer code), reads some nodes,
and its rate r_p enters node i with stoichiometry S_ip:

    C_i du_i/dt = F_i = J_i + sum_p S_ip r_p(u_reads; theta_p)

An edge a -> b reads (a, b) with S = (-1, +1). Rows 0..n_free-1 are the free nodes in the order of elimination, the rest
are clamped. Laws are chosen by integer code (:mod:`simulators.laws`): passing laws as functions would defeat numba's
cache. Jacobians are sparse (compressed rows with the fill of the factorisation), whatever the size: the pattern is
analysed once when the network is built, as KLU does for circuits (Davis and Natarajan, ACM Trans. Math. Softw. 37, 36
(2010)), and each factorisation then only computes numbers.

Arguments that all kernels share:
net, data: who reads what and who feeds whom, as integers and floats: all of a network but its parameters' values.
    The first entries of `net` are sizes and where each of the :data:`INTEGERS`, of the :data:`FLOATS` and of the parts
    of a room (U to THETA) begins in `net`, `data` and `room` (:func:`pack_structure`). Two arrays, not forty: each
    argument costs at every call.
index, number: the parameters, likewise (:func:`pack_values`): theta = base 10**l where `exponential`, else base + l,
    with l = sum(weight*knob); after them the waste flows, max(0, sum(sign*max(0, theta[flow]))) of each vessel.
room: what one row of a batch is worked out in. u: all values; force, jac: F and J there; known: F before the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, prange, types  # pyright: ignore
from numba.extending import intrinsic
from numpy.typing import NDArray

from simulators import laws
from simulators.laws import compiled, frequent_rate_of, gaussian_ndc, linear, merged, rate_of

SETTLED, OSCILLATING, UNSETTLED, UNPROVEN = range(4)
SINGULAR, FACTORED, PIVOTED = range(3)
REACH = 0.02  # units of the weights: Newton is tried where a step moves less, and may land three times as far
RELATIVE = 0.02  # weight of a concentration over its value: it may come to matter far below its greatest
WHOLE = 1 << 40  # the length of an array whose length nothing checks
LANES = 64  # rows of one law that are worked out together
MAX_DENSE = 1000  # free nodes: above it no dense matrix is ever made

SIZES = ("N_FREE", "N_NODES", "N_ROWS", "N_ENTRIES", "N_KINDS", "N_MOIETIES", "ROOM_SIZE", "FLOWS")
N_FREE, N_NODES, N_ROWS, N_ENTRIES, N_KINDS, N_MOIETIES, ROOM_SIZE, FLOWS = range(8)

# Row p: its law is code[p], with the parameters theta[parameter[p]:][:own[p]] and constants in `data` from table[p] on;
# it reads read_node[read_first[p]:read_first[p+1]] and enters the free nodes fed_node with the stoichiometry `fed` at
# [fed_first[p]:fed_first[p+1]]. place[place_first[p] + s*n_reads + k]: where d(fed s)/d(read k) stands in the
# Jacobian's entries, -1 where the node read is clamped.
# Jacobian: row i has the columns column[row_first[i]:row_first[i+1]], ascending, its diagonal at diagonal[i]; mirror:
# the entry mirrored at the diagonal. order[i]: the row of free node i.
# concentration: of each node, whether it is one; kind: nodes of one kind share a scale (all potentials; one species).
# Moiety m: in a Newton step row moiety_row[m] is the conservation law with the coefficients `moiety` at the entries
# moiety_place[moiety_first[m]:moiety_first[m+1]].
INTEGERS = (
    "code", "read_first", "read_node", "fed_first", "fed_node", "parameter", "own", "table", "place_first", "place",
    "row_first", "column", "diagonal", "mirror", "order", "concentration", "kind", "moiety_row", "moiety_first",
    "moiety_place",
)  # fmt: skip
(
    CODE, READ_FIRST, READ_NODE, FED_FIRST, FED_NODE, PARAMETER, OWN, TABLE, PLACE_FIRST, PLACE,
    ROW_FIRST, COLUMN, DIAGONAL, MIRROR, ORDER, CONCENTRATION, KIND, MOIETY_ROW, MOIETY_FIRST,
    MOIETY_PLACE,
) = range(8, 28)  # fmt: skip
FLOATS = ("fed", "capacity", "moiety", "tables")
FED, CAPACITY, MOIETY, TABLES = range(28, 32)
(
    U, TRIAL, INJECTED, FORCE, KNOWN, INVERSE, SCATTER, K1, K2, FLOOR, WEIGHT, ORIGIN, JAC, LU, DENSE, LARGEST, MEMO,
    V, DU, DP, LANE, THETA,
) = range(32, 54)  # fmt: skip

N_PARAMETERS, N_WASTES = range(2)
FIRST, KNOB, EXPONENTIAL, WASTE_FIRST, FLOW, BASE, WEIGHT_OF, SIGN = range(2, 10)


def pack_structure(
    sizes: Mapping[str, int], integers: Mapping[str, NDArray[np.int64]], floats: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(net, data) of a network. sizes: of :data:`SIZES` all but two, and "n_theta", so many parameters and wastes."""
    header = np.zeros(THETA + 1, dtype=np.int64)
    n, nodes, entries = sizes["N_FREE"], sizes["N_NODES"], sizes["N_ENTRIES"]
    for slot, name in enumerate(SIZES[:-2]):
        header[slot] = sizes[name]
    at = len(header)
    for slot, name in enumerate(INTEGERS, start=CODE):
        header[slot] = at
        at += len(integers[name])
    at = 0
    for slot, name in enumerate(FLOATS, start=FED):
        header[slot] = at
        at += len(floats[name])
    widths = [nodes, nodes, *[n] * 10, entries, entries, n * n if n <= MAX_DENSE else 0, sizes["N_KINDS"], 6]
    widths += [laws.MAX_READS, laws.MAX_READS, laws.MAX_PARAMETERS + laws.ROOM, 6 * LANES, sizes["n_theta"]]
    at = 0
    for slot, width in enumerate(widths, start=U):
        header[slot] = at
        at += width
    header[ROOM_SIZE] = at
    tables = header[TABLES]
    shifted = np.where(integers["table"] >= 0, integers["table"] + tables, -1)
    whole = [shifted if name == "table" else integers[name] for name in INTEGERS]
    return (
        np.concatenate([header, *whole]).astype(np.int64),
        np.concatenate([floats[name] for name in FLOATS]).astype(np.float64),
    )


def pack_values(
    integers: Mapping[str, NDArray[np.int64]], floats: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(index, number) of a network's parameters.

    Weights of parameter q: weight[first[q]:first[q+1]] of the knobs `knob`. Flows of vessel w: flow, sign at
    [waste_first[w]:waste_first[w+1]].
    """
    header = np.zeros(SIGN + 1, dtype=np.int64)
    header[N_PARAMETERS], header[N_WASTES] = len(floats["base"]), len(integers["waste_first"]) - 1
    names = ("first", "knob", "exponential", "waste_first", "flow")
    at = len(header)
    for slot, name in enumerate(names, start=FIRST):
        header[slot] = at
        at += len(integers[name])
    at = 0
    for slot, name in enumerate(("base", "weight", "sign"), start=BASE):
        header[slot] = at
        at += len(floats[name])
    return (
        np.concatenate([header, *(integers[name] for name in names)]).astype(np.int64),
        np.concatenate([floats[name] for name in ("base", "weight", "sign")]).astype(np.float64),
    )


@compiled
def _resolve(index, number, knobs, theta):
    """Every parameter at these knobs (n_knobs,), and the waste flows after them, into theta.

    Not a matrix product: BLAS rounds a row differently in batches of different sizes, and a resumed run must agree to
    the last bit.
    """
    first = index[index[FIRST] :]
    knob = index[index[KNOB] :]
    waste_first = index[index[WASTE_FIRST] :]
    flow = index[index[FLOW] :]
    exponential = index[index[EXPONENTIAL] :]
    base = number[index[BASE] :]
    weight = number[index[WEIGHT_OF] :]
    sign = number[index[SIGN] :]
    n = index[N_PARAMETERS]
    for q in range(n):
        start, end = first[q], first[q + 1]
        theta[q] = base[q]
        if end > start:
            linear = 0.0
            for k in range(start, end):
                linear += weight[k] * knobs[knob[k]]
            theta[q] = theta[q] * 10.0**linear if exponential[q] else theta[q] + linear
    for w in range(index[N_WASTES]):
        total = 0.0
        for k in range(waste_first[w], waste_first[w + 1]):
            total += sign[k] * max(theta[flow[k]], 0.0)
        theta[n + w] = max(total, 0.0)


@compiled
def _flows_here(net, data, room, u, slopes, seldom):
    """:func:`_flows` for the module that holds the laws. seldom: None leaves all but the frequent ones uncompiled."""
    code = net[net[CODE] :]
    read_first = net[net[READ_FIRST] :]
    read_node = net[net[READ_NODE] :]
    fed_first = net[net[FED_FIRST] :]
    fed_node = net[net[FED_NODE] :]
    parameter = net[net[PARAMETER] :]
    table = net[net[TABLE] :]
    place_first = net[net[PLACE_FIRST] :]
    place = net[net[PLACE] :]
    fed = data[net[FED] :]
    theta = room[net[THETA] :]
    injected = room[net[INJECTED] :]
    force = room[net[FORCE] :]
    jac = room[net[JAC] :]
    v = room[net[V] :]
    du = room[net[DU] :]
    dp = room[net[DP] :]
    lanes = room[net[LANE] :]
    for i in range(net[N_FREE]):
        force[i] = injected[i]
    if slopes:
        for q in range(net[N_ENTRIES]):
            jac[q] = 0.0
    row = 0
    while row < net[N_ROWS]:
        law = code[row]
        if law <= laws.GAUSSIAN_NDC:  # of the difference alone; many at a time: rows of one law stand together
            many = 0
            while many < LANES and row + many < net[N_ROWS] and code[row + many] == law:
                first, at = read_first[row + many], parameter[row + many]
                lanes[many] = u[read_node[first]] - u[read_node[first + 1]]
                lanes[LANES + many] = theta[at]
                if law == laws.GAUSSIAN_NDC:
                    lanes[2 * LANES + many] = theta[at + 1]
                    lanes[3 * LANES + many] = theta[at + 2]
                many += 1
            if law == laws.GAUSSIAN_NDC:
                for k in range(many):
                    lanes[4 * LANES + k], lanes[5 * LANES + k], _ = gaussian_ndc(
                        lanes[k], lanes[LANES + k], lanes[2 * LANES + k], lanes[3 * LANES + k]
                    )
            else:
                for k in range(many):
                    lanes[4 * LANES + k], lanes[5 * LANES + k] = linear(lanes[k], lanes[LANES + k])
            for k in range(many):
                q = place_first[row + k]
                r, slope = lanes[4 * LANES + k], lanes[5 * LANES + k]
                for s in range(fed_first[row + k], fed_first[row + k + 1]):
                    c = fed[s]
                    force[fed_node[s]] += c * r
                    if slopes:
                        if place[q] >= 0:
                            jac[place[q]] += c * slope
                        if place[q + 1] >= 0:
                            jac[place[q + 1]] -= c * slope
                        q += 2
            row += many
            continue
        first = read_first[row]
        count = read_first[row + 1] - first
        for k in range(count):
            v[k] = u[read_node[first + k]]
        if seldom is None:
            r = frequent_rate_of(code[row], v, count, theta[parameter[row] :], du, dp, False)
        else:
            r = rate_of(code[row], v, count, theta[parameter[row] :], data, table[row], du, dp, False)
        q = place_first[row]
        for s in range(fed_first[row], fed_first[row + 1]):
            c = fed[s]
            force[fed_node[s]] += c * r
            if slopes:
                for k in range(count):
                    if place[q] >= 0:
                        jac[place[q]] += c * du[k]
                    q += 1
        row += 1


def _all_flows(net: Any, data: Any, room: Any, u: Any, slopes: Any) -> None:
    _flows_here(
        carray(net, WHOLE), carray(data, WHOLE), carray(room, WHOLE), carray(u, WHOLE), slopes != 0, True
    )  # fmt: skip


def _frequent_flows(net: Any, data: Any, room: Any, u: Any, slopes: Any) -> None:
    _flows_here(
        carray(net, WHOLE), carray(data, WHOLE), carray(room, WHOLE), carray(u, WHOLE), slopes != 0, None
    )  # fmt: skip


@cache
def flows_address(frequent: bool) -> int:
    """Where the compiled flows stand in this process's memory: goes to net[FLOWS].

    Called by address, the laws are compiled into one module; called by name, they would be compiled again into each
    kernel above them, half a minute in all. frequent: of the laws in :data:`simulators.laws.FREQUENT` only; the others
    are half of what there is to compile, and most networks never need them.
    """
    floats = types.CPointer(types.float64)
    signature = types.void(types.CPointer(types.int64), floats, floats, floats, types.int64)
    flows = _frequent_flows if frequent else _all_flows
    address = cfunc(signature, cache=True, error_model="numpy")(flows).address
    assert address is not None
    return address


@intrinsic
def _call(typing_context, address, net, data, room, u, slopes):
    """Call what stands at `address` with the arrays' first elements, and `slopes`."""

    def code(context, builder, signature, values):
        pointers = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[1:5], values[1:5], strict=True)
        ]
        flag = context.cast(builder, values[5], signature.args[5], types.int64)
        kind = ir.FunctionType(ir.VoidType(), [*(pointer.type for pointer in pointers), flag.type])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [*pointers, flag])
        return context.get_dummy_value()

    return types.void(types.int64, net, data, room, u, slopes), code


@compiled
def _flows(net, data, room, u, slopes):
    """Net flow into every free node at u (n_nodes,), into force; with `slopes` its Jacobian, into jac."""
    _call(net[FLOWS], net, data, room, u, slopes)  # pyright: ignore[reportCallIssue]


@compiled
def _factor(net, lu, inverse, scatter):
    """LU in place over the fixed pattern, without pivoting; False where a pivot is lost against its row.

    inverse: filled with the reciprocal pivots. The matrices of a relaxation, C - gamma h J, tend to the positive
    diagonal C for short steps, and a lost pivot there asks for a shorter step; at a stable end state see
    :func:`_newton_solve`.
    """
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    diagonal = net[net[DIAGONAL] :]
    n = net[N_FREE]
    for i in range(n):
        start, end, middle = row_first[i], row_first[i + 1], diagonal[i]
        largest = 0.0
        for q in range(start, end):
            scatter[column[q]] = lu[q]
            largest = max(largest, abs(lu[q]))
        for q in range(start, middle):
            k = column[q]
            f = scatter[k] * inverse[k]
            lu[q] = f
            if f != 0.0:
                above, stop = diagonal[k] + 1, row_first[k + 1]
                if stop > above:
                    c = column[above]
                    if column[stop - 1] - c == stop - 1 - above:  # contiguous columns: no gather
                        for m in range(stop - above):
                            scatter[c + m] -= f * lu[above + m]
                    else:
                        for m in range(above, stop):
                            scatter[column[m]] -= f * lu[m]
        for q in range(middle, end):
            lu[q] = scatter[column[q]]
        if not abs(lu[middle]) > 1e-12 * largest:
            return False
        inverse[i] = 1.0 / lu[middle]
    return True


@compiled
def _solve(net, lu, inverse, b):
    """Solve with the factors of :func:`_factor`, in place."""
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    diagonal = net[net[DIAGONAL] :]
    n = net[N_FREE]
    for i in range(n):
        x = b[i]
        for q in range(row_first[i], diagonal[i]):
            x -= lu[q] * b[column[q]]
        b[i] = x
    for i in range(n - 1, -1, -1):
        x = b[i]
        for q in range(diagonal[i] + 1, row_first[i + 1]):
            x -= lu[q] * b[column[q]]
        b[i] = x * inverse[i]


@compiled
def _solve_transposed(net, lu, inverse, b):
    """Solve with the transposed factors, in place."""
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    diagonal = net[net[DIAGONAL] :]
    n = net[N_FREE]
    for i in range(n):
        x = b[i] * inverse[i]
        b[i] = x
        for q in range(diagonal[i] + 1, row_first[i + 1]):
            b[column[q]] -= lu[q] * x
    for i in range(n - 1, -1, -1):
        x = b[i]
        for q in range(row_first[i], diagonal[i]):
            b[column[q]] -= lu[q] * x


@compiled
def _dense_solve(n, a, b):
    """Gauss with partial pivoting, in place, for a (n*n, row by row); False when singular."""
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(a[i * n + k]) > abs(a[best * n + k]):
                best = i
        if not abs(a[best * n + k]) > 0.0:
            return False
        if best != k:
            for j in range(k, n):
                a[k * n + j], a[best * n + j] = a[best * n + j], a[k * n + j]
            b[k], b[best] = b[best], b[k]
        for i in range(k + 1, n):
            f = a[i * n + k] / a[k * n + k]
            if f != 0.0:
                for j in range(k + 1, n):
                    a[i * n + j] -= f * a[k * n + j]
                b[i] -= f * b[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            b[k] -= a[k * n + j] * b[j]
        b[k] /= a[k * n + k]
    return True


@compiled
def _conserve(net, data, room):
    """Copy the Jacobian to lu with the conservation laws in place of the rows that depend on the others."""
    row_first = net[net[ROW_FIRST] :]
    moiety_row = net[net[MOIETY_ROW] :]
    moiety_first = net[net[MOIETY_FIRST] :]
    moiety_place = net[net[MOIETY_PLACE] :]
    moiety = data[net[MOIETY] :]
    jac = room[net[JAC] :]
    lu = room[net[LU] :]
    for q in range(net[N_ENTRIES]):
        lu[q] = jac[q]
    for m in range(net[N_MOIETIES]):
        i = moiety_row[m]
        for q in range(row_first[i], row_first[i + 1]):
            lu[q] = 0.0
        for k in range(moiety_first[m], moiety_first[m + 1]):
            lu[moiety_place[k]] = moiety[k]


@compiled
def _newton_solve(net, data, room, b, transposed):
    """Solve J x = b (or J^T x = b), conservation laws in place, in place of b.

    FACTORED: over the fixed pattern, and lu holds the factors. PIVOTED: by Gauss with partial pivoting, where the
    fixed pattern lost a pivot. SINGULAR: not at all.
    """
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    lu = room[net[LU] :]
    inverse = room[net[INVERSE] :]
    scatter = room[net[SCATTER] :]
    dense = room[net[DENSE] :]
    n = net[N_FREE]
    _conserve(net, data, room)
    if _factor(net, lu, inverse, scatter):
        if transposed:
            _solve_transposed(net, lu, inverse, b)
        else:
            _solve(net, lu, inverse, b)
        return FACTORED
    if n > MAX_DENSE:
        return SINGULAR
    _conserve(net, data, room)
    for q in range(n * n):
        dense[q] = 0.0
    for i in range(n):
        for q in range(row_first[i], row_first[i + 1]):
            dense[column[q] * n + i if transposed else i * n + column[q]] = lu[q]
    return PIVOTED if _dense_solve(n, dense, b) else SINGULAR


@compiled
def _stable(net, data, room):
    """Whether every eigenvalue of C^-1 J (in jac) has a negative real part, without eigenvalues: SETTLED or UNPROVEN.

    Two proofs, each one factorisation: -J is an H-matrix with a positive diagonal (no NDC at work; Berman and Plemmons,
    Nonnegative Matrices, ch. 6), or J + J^T is negative definite (V = u^T C u is then a Lyapunov function: any stable
    network of difference-type edges).
    """
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    mirror = net[net[MIRROR] :]
    jac = room[net[JAC] :]
    lu = room[net[LU] :]
    inverse = room[net[INVERSE] :]
    scatter = room[net[SCATTER] :]
    n = net[N_FREE]
    for proof in range(2):
        for i in range(n):
            for q in range(row_first[i], row_first[i + 1]):
                if proof == 0:
                    lu[q] = -jac[q] if column[q] == i else -abs(jac[q])
                else:
                    lu[q] = -jac[q] - jac[mirror[q]]
        if _factor(net, lu, inverse, scatter):
            proven = True
            for i in range(n):
                proven = proven and inverse[i] > 0.0
            if proven:
                return SETTLED
    return UNPROVEN


@njit(cache=True, error_model="numpy")
def _growth(net, data, room):
    """Largest real part of the eigenvalues of C^-1 J, 1/s: the state is stable where it is negative.

    Zeros are left out, those of conservation laws and others. For MAX_DENSE free nodes at most.
    """
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    capacity = data[net[CAPACITY] :]
    jac = room[net[JAC] :]
    n = net[N_FREE]
    a = np.zeros((n, n), np.complex128)
    largest = 0.0
    for i in range(n):
        for q in range(row_first[i], row_first[i + 1]):
            a[i, column[q]] = jac[q] / capacity[i]
            largest = max(largest, abs(a[i, column[q]]))
    if not math.isfinite(largest):
        return np.inf
    values = np.linalg.eigvals(a)
    # Least first, as many as there are conservation laws; and what rests wherever it is, such as behind a pump at rest.
    for _ in range(net[N_MOIETIES]):
        least = 0
        for k in range(n):
            if abs(values[k]) < abs(values[least]):
                least = k
        values[least] = -1.0 - largest
    growth = -np.inf
    for k in range(n):
        if abs(values[k]) > 1e-12 * largest:
            growth = max(growth, values[k].real)
    return growth


_GAMMA = 1.0 - 1.0 / math.sqrt(2.0)


@compiled
def _weigh(net, data, room):
    """What errors of each free node are measured in: its floor, and for a concentration a part of its value besides."""
    concentration = net[net[CONCENTRATION] :]
    u = room[net[U] :]
    floor = room[net[FLOOR] :]
    weight = room[net[WEIGHT] :]
    for i in range(net[N_FREE]):
        weight[i] = floor[i] + (RELATIVE * abs(u[i]) if concentration[i] else 0.0)


@merged
def _try_step(net, data, room, h):
    """One ROS2 step from u, whose force and jac are known: k1 and k2 and the error in units of weight.

    ROS2 (Verwer, Spee, Blom and Hundsdorfer, SIAM J. Sci. Comput. 20, 1456 (1999)), gamma = 1 - 1/sqrt(2), L-stable:
        (C - gamma h J) k1 = F(u);  (C - gamma h J) k2 = F(u + h k1) - 2 C k1;  u += h (3 k1 + k2)/2
    with local error h (k1 + k2)/2. Infinite where the step cannot be made. F at u is kept in known.
    """
    diagonal = net[net[DIAGONAL] :]
    capacity = data[net[CAPACITY] :]
    u = room[net[U] :]
    force = room[net[FORCE] :]
    known = room[net[KNOWN] :]
    jac = room[net[JAC] :]
    lu = room[net[LU] :]
    inverse = room[net[INVERSE] :]
    scatter = room[net[SCATTER] :]
    k1 = room[net[K1] :]
    k2 = room[net[K2] :]
    trial = room[net[TRIAL] :]
    weight = room[net[WEIGHT] :]
    n = net[N_FREE]
    for q in range(net[N_ENTRIES]):
        lu[q] = -_GAMMA * h * jac[q]
    for i in range(n):
        lu[diagonal[i]] += capacity[i]
        known[i] = k1[i] = force[i]
    if not _factor(net, lu, inverse, scatter):
        return np.inf
    _solve(net, lu, inverse, k1)
    for i in range(n):
        trial[i] = u[i] + h * k1[i]
    for i in range(n, net[N_NODES]):
        trial[i] = u[i]
    _flows(net, data, room, trial, False)
    for i in range(n):
        k2[i] = force[i] - 2.0 * capacity[i] * k1[i]
    _solve(net, lu, inverse, k2)
    error = 0.0
    for i in range(n):
        e = abs(0.5 * h * (k1[i] + k2[i])) / weight[i]
        if not e <= error:  # also when not a number
            error = e
    return error


@merged
def _first_step(net, data, room):
    """Evaluate at u; a step in which no value would move by more than half of its weight, infinite if nothing moves."""
    capacity = data[net[CAPACITY] :]
    force = room[net[FORCE] :]
    weight = room[net[WEIGHT] :]
    _weigh(net, data, room)
    _flows(net, data, room, room[net[U] :], True)
    h = np.inf
    for i in range(net[N_FREE]):
        if force[i] != 0.0:
            h = min(h, 0.5 * weight[i] * capacity[i] / abs(force[i]))
    return h


@compiled
def _advance(net, data, room, h, limit, tolerance):
    """One accepted ROS2 step of at most `limit` from u, in place. Returns (step made, next step, moved).

    force and jac hold F and J at u, before and after. moved: the largest change, in units of weight. A step
    made of 0 says that no step could be made.
    """
    u = room[net[U] :]
    force = room[net[FORCE] :]
    known = room[net[KNOWN] :]
    k1 = room[net[K1] :]
    k2 = room[net[K2] :]
    weight = room[net[WEIGHT] :]
    n = net[N_FREE]
    for _ in range(60):
        h = min(h, limit)
        error = _try_step(net, data, room, h) / tolerance
        if error <= 1.0:
            moved = 0.0
            for i in range(n):
                d = h * (1.5 * k1[i] + 0.5 * k2[i])
                u[i] += d
                moved = max(moved, abs(d) / weight[i])
            _weigh(net, data, room)
            _flows(net, data, room, u, True)
            return h, h * min(8.0, 0.8 / math.sqrt(max(error, 1e-6))), moved
        h *= max(0.1, 0.8 / math.sqrt(error)) if math.isfinite(error) else 0.1
        for i in range(n):
            force[i] = known[i]
    return 0.0, h, 0.0


@compiled
def _return_to_start(net, data, room):
    """Back to where Newton began."""
    u = room[net[U] :]
    origin = room[net[ORIGIN] :]
    for i in range(net[N_FREE]):
        u[i] = origin[i]
    _flows(net, data, room, u, True)


@compiled
def _newton(net, data, room, reach):
    """Newton from u to a steady state: SETTLED where u is a stable one now, UNPROVEN where it may be.

    Kept only if it lands within `reach` (units of weight) of where it began, is stable, and has no negative
    concentration; else UNSETTLED, and u, force and jac are as before (and origin is where it began). Ends where the
    next step would be below 1e-13 (by the quadratic law), or where round-off keeps steps from shrinking (potentials
    far from 0 V).
    """
    column = net[net[COLUMN] :]
    concentration = net[net[CONCENTRATION] :]
    moiety_row = net[net[MOIETY_ROW] :]
    moiety_first = net[net[MOIETY_FIRST] :]
    moiety_place = net[net[MOIETY_PLACE] :]
    moiety = data[net[MOIETY] :]
    u = room[net[U] :]
    force = room[net[FORCE] :]
    k1 = room[net[K1] :]
    weight = room[net[WEIGHT] :]
    origin = room[net[ORIGIN] :]
    n = net[N_FREE]
    for i in range(n):
        origin[i] = u[i]
    last = np.inf
    verdict = UNSETTLED
    for _ in range(30):
        for i in range(n):
            k1[i] = -force[i]
        for m in range(net[N_MOIETIES]):
            missing = 0.0
            for k in range(moiety_first[m], moiety_first[m + 1]):
                j = column[moiety_place[k]]
                missing += moiety[k] * (origin[j] - u[j])
            k1[moiety_row[m]] = missing
        if _newton_solve(net, data, room, k1, False) == SINGULAR:
            break
        moved = 0.0
        away = 0.0
        for i in range(n):
            u[i] += k1[i]
            moved = max(moved, abs(k1[i]) / weight[i])
            away = max(away, abs(u[i] - origin[i]) / weight[i])
        if not away < reach:
            break
        _flows(net, data, room, u, True)
        stuck = moved < 1e-8 and moved > 0.9 * last
        if stuck or moved <= 1e-13 or (last < 1e-2 and moved * moved * moved <= 1e-14 * last * last):
            verdict = _stable(net, data, room)
            break
        last = moved
    for i in range(n):
        if concentration[i] and u[i] < -1e-6 * weight[i]:
            verdict = UNSETTLED
    if verdict == UNSETTLED:
        _return_to_start(net, data, room)
    return verdict


@merged
def _begin(net, data, room):
    """Evaluate at u and choose the first step.

    memo holds where :func:`_settle` is: step, last move, reach, time; set by the caller: memo[4] the longest step,
    memo[5] how many steps are left.
    """
    memo = room[net[MEMO] :]
    h = _first_step(net, data, room)
    memo[0], memo[1], memo[2], memo[3] = (h if h < np.inf else 1.0), np.inf, REACH, 0.0


@merged
def _settle(net, data, room, tolerance):
    """Follow the relaxation from u, in place, to the steady state it reaches: SETTLED, UNPROVEN or UNSETTLED.

    Newton is tried where steps begin to shrink below :data:`REACH`, and kept if it lands near. Where it is not
    proven that it landed on a stable state the caller finds out, and if not goes back to origin and calls again.
    """
    diagonal = net[net[DIAGONAL] :]
    u = room[net[U] :]
    force = room[net[FORCE] :]
    jac = room[net[JAC] :]
    weight = room[net[WEIGHT] :]
    origin = room[net[ORIGIN] :]
    memo = room[net[MEMO] :]
    h, last, reach, time = memo[0], memo[1], memo[2], memo[3]
    verdict, still = UNSETTLED, 0
    while memo[5] > 0.0:
        memo[5] -= 1.0
        made, h, moved = _advance(net, data, room, h, memo[4], tolerance)
        if made == 0.0:
            break
        time += made
        if moved < reach and moved <= last:
            verdict = _newton(net, data, room, 3.0 * REACH)
            reach = max(0.2 * moved, 1e-9)
        still = still + 1 if moved < 1e-11 else 0
        if still == 60 and verdict == UNSETTLED:  # no motion for 8^60 first steps, though Newton cannot be made
            verdict = UNPROVEN
            for i in range(net[N_FREE]):
                origin[i] = u[i]
                if abs(force[i]) > 1e-9 * abs(jac[diagonal[i]]) * weight[i]:
                    verdict = UNSETTLED
            if verdict == UNSETTLED:  # two stages of a long step, either side of a kink, cancel: it moves on
                h, still, reach, tolerance = _first_step(net, data, room), 0, REACH, 0.1 * tolerance
        last = moved
        if verdict != UNSETTLED:
            break
    memo[0], memo[1], memo[2], memo[3] = h, last, reach, time
    return verdict


@compiled
def _integrate(net, data, room, duration, tolerance):
    """Follow the relaxation from u, in place, for `duration` (s)."""
    u = room[net[U] :]
    time = 0.0
    h = _first_step(net, data, room)
    while time < duration:
        left = duration - time
        made, h, _ = _advance(net, data, room, h, left, tolerance)
        if made == 0.0:
            for i in range(net[N_FREE]):
                u[i] = np.nan
            return
        time = duration if made >= left * (1.0 - 1e-12) else time + made


@compiled
def _cycle(net, data, room, tolerance, max_steps, low, high, last):
    """Look for a limit cycle from u on. Returns its period (s), or nan; low, high: the ends of each node's swing.

    A first stretch finds the node that swings most and its middle; then, with a smaller error, each time
    this node rises through the middle is a point of a Poincare map (by cubic Hermite interpolation within the step;
    `last` is the one before). It is a cycle when ten times in a row the state returns to within 1e-3 of the swing after
    a time that is the same to 1e-3, and its swing has changed by less than 5e-3 over the ten. Where it shrinks instead
    u is put into the middle, towards which it spirals.
    """
    u = room[net[U] :]
    weight = room[net[WEIGHT] :]
    origin = room[net[ORIGIN] :]
    n = net[N_FREE]
    longest = room[net[MEMO] + 4]
    h = _first_step(net, data, room)
    for i in range(n):
        low[i], high[i], last[i] = u[i], u[i], np.nan
    watched, middle = -1, 0.0
    warm = max_steps // 25
    time, last_time, last_period, returns = 0.0, np.nan, np.nan, 0
    first_height, shrinks = 0.0, False
    fine = 0.02 if net[N_KINDS] == 1 else 0.3  # the weights of concentrations are small as they are
    for step in range(max_steps):
        for i in range(n):
            origin[i] = u[i]
        made, h, _ = _advance(net, data, room, h, longest, tolerance if watched < 0 else fine * tolerance)
        if made == 0.0:
            return np.nan
        for i in range(n):
            low[i] = min(low[i], u[i])
            high[i] = max(high[i], u[i])
        if step == warm:
            swing = 0.0
            for i in range(n):
                if (high[i] - low[i]) / weight[i] > swing:
                    swing = (high[i] - low[i]) / weight[i]
                    watched, middle = i, 0.5 * (high[i] + low[i])
            if swing < 1e-3:
                return np.nan
        if watched >= 0 and origin[watched] < middle <= u[watched]:
            a, b = 0.0, 1.0  # where in the step, by bisection
            for _ in range(50):
                s = 0.5 * (a + b)
                if _within_step(net, data, room, made, watched, s) < middle:
                    a = s
                else:
                    b = s
            period = time + a * made - last_time
            apart, swing = 0.0, 0.0
            for i in range(n):
                x = _within_step(net, data, room, made, i, a)
                away = abs(x - last[i]) / weight[i]
                apart = max(apart, away if away == away else np.inf)
                last[i] = x
                swing = max(swing, (high[i] - low[i]) / weight[i])
            same = apart < 1e-3 * swing and abs(period - last_period) < 1e-3 * period
            returns = returns + 1 if same else 0
            height = high[watched] - low[watched]
            if returns == 0:
                first_height = height
            elif returns >= 10:
                if abs(height - first_height) < 5e-3 * height:
                    return period
                shrinks = height < first_height
                returns, first_height = 0, height
            last_time, last_period = time + a * made, period
            for i in range(n):
                low[i], high[i] = u[i], u[i]
        time += made
    if shrinks:
        for i in range(n):
            u[i] = 0.5 * (low[i] + high[i])
    return np.nan


@compiled
def _within_step(net, data, room, h, i, s):
    """Row i at the fraction s of the step from origin to u: the cubic with the slopes F/C at both ends."""
    capacity = data[net[CAPACITY] :]
    u = room[net[U] :]
    force = room[net[FORCE] :]
    known = room[net[KNOWN] :]
    origin = room[net[ORIGIN] :]
    t, c = 1.0 - s, h / capacity[i]
    here = (1.0 + 2.0 * s) * origin[i] + s * c * known[i]
    return t * t * here + s * s * ((1.0 + 2.0 * t) * u[i] - t * c * force[i])


@compiled
def _at(array, b):
    """Row b, or the only one: rows that are the same for the whole batch are given once."""
    return b if array.shape[0] > 1 else 0


@merged
def _pose(net, data, index, number, room, clamped, knobs, sources, natural):
    """Set a row's question into `room`, but for its start: clamps, parameters, injected currents, floors of errors.

    Floors: potentials share the smaller of their spread (of terminals, start and 0 V) and `natural`, the voltage over
    which the conductors bend; concentrations of one kind share a part of the largest of that kind among terminals and
    start; where the kind is nowhere supplied, of what its processes at the start tend to, -F/J; else of all. u holds
    the start.
    """
    order = net[net[ORDER] :]
    concentration = net[net[CONCENTRATION] :]
    kind = net[net[KIND] :]
    u = room[net[U] :]
    theta = room[net[THETA] :]
    injected = room[net[INJECTED] :]
    floor = room[net[FLOOR] :]
    largest = room[net[LARGEST] :]
    diagonal = net[net[DIAGONAL] :]
    force = room[net[FORCE] :]
    jac = room[net[JAC] :]
    n = net[N_FREE]
    for k in range(clamped.size):
        u[n + k] = clamped[k]
    _resolve(index, number, knobs, theta)
    for i in range(n):
        injected[order[i]] = sources[i]
    low, high, most = 0.0, 0.0, 0.0
    for k in range(net[N_KINDS]):
        largest[k] = 0.0
    for i in range(net[N_NODES]):
        if concentration[i]:
            largest[kind[i]] = max(largest[kind[i]], abs(u[i]))
            most = max(most, abs(u[i]))
        else:
            low, high = min(low, u[i]), max(high, u[i])
    if net[N_KINDS] > 1:
        _flows(net, data, room, u, True)
        for i in range(n):
            if concentration[i] and largest[kind[i]] <= 0.0 and jac[diagonal[i]] != 0.0:
                # negative until the kind is done, so that it is not taken for a supply
                largest[kind[i]] = min(largest[kind[i]], -abs(force[i] / jac[diagonal[i]]))
    volts = min(high - low if high > low else np.inf, natural)
    volts = volts if volts < np.inf else 1.0
    for i in range(n):
        if concentration[i]:
            typical = abs(largest[kind[i]])
            typical = typical if typical > 0.0 else most
            floor[i] = 1e-3 * RELATIVE * (typical if typical > 0.0 else 1.0)
        else:
            floor[i] = volts


@njit(cache=True, error_model="numpy")
def steady_states(
    net, data, index, number, start, clamped, knobs, injected, natural, carry, tolerance, max_steps, first, stop,
    potentials, verdict, residual, time, period, amplitude,
):  # fmt: skip
    """Steady states of the rows first..stop-1 of a batch, each reached by relaxation from its start, one by one.

    start (V or mol/L), clamped, knobs, injected (A or mol/s): (batch or 1, n); natural: V, what the conductors bend
    over; carry: rows after the first start where the one before ended. Fills potentials (batch, n_free), verdict,
    residual (A or mol/s), time followed (s), period (s, nan but of limit cycles): (batch,); amplitude (batch, n_free)
    of limit cycles.
    """
    room = np.empty(net[ROOM_SIZE])
    order = net[net[ORDER] :]
    u = room[net[U] :]
    force = room[net[FORCE] :]
    memo = room[net[MEMO] :]
    n = net[N_FREE]
    low, high, last = np.empty(n), np.empty(n), np.empty(n)
    for b in range(first, stop):
        if not (carry and b > first):
            for i in range(n):
                u[order[i]] = start[_at(start, b)][i]
        _pose(
            net, data, index, number, room, clamped[_at(clamped, b)], knobs[_at(knobs, b)], injected[_at(injected, b)],
            natural,
        )  # fmt: skip
        time[b], period[b], memo[4] = 0.0, np.nan, np.inf
        for attempt in range(2):
            _begin(net, data, room)
            memo[5] = max_steps if attempt else max_steps // 4
            found = UNPROVEN
            while found == UNPROVEN:
                found = _settle(net, data, room, tolerance)
                if found == UNPROVEN and n > MAX_DENSE:
                    break
                if found == UNPROVEN:
                    growth = _growth(net, data, room)
                    if growth < 0.0:
                        found = SETTLED
                    else:
                        _return_to_start(net, data, room)
                        # a longer step would damp what grows
                        memo[4] = min(memo[4], 0.5 / growth if growth > 0.0 else np.inf)
                        memo[5] -= 100.0  # eigenvalues cost so much more than a step
            time[b] += memo[3]
            if found == UNSETTLED and attempt == 0:
                period[b] = _cycle(net, data, room, tolerance, 5 * max_steps, low, high, last)
                if math.isfinite(period[b]):
                    found = OSCILLATING
                    for i in range(n):
                        amplitude[b, i] = 0.5 * (high[order[i]] - low[order[i]])
            verdict[b] = found
            if found != UNSETTLED:
                break
        worst = 0.0
        for i in range(n):
            worst = max(worst, abs(force[i]))
            potentials[b, i] = u[order[i]]
        residual[b] = worst


@njit(cache=True, error_model="numpy", parallel=True)
def steady_states_parallel(
    net, data, index, number, start, clamped, knobs, injected, natural, tolerance, max_steps, parts,
    potentials, verdict, residual, time, period, amplitude,
):  # fmt: skip
    """:func:`steady_states` in `parts` pieces on as many threads as there are; rows do not depend on the pieces."""
    batch = len(verdict)
    for part in prange(parts):
        steady_states(
            net, data, index, number, start, clamped, knobs, injected, natural, False, tolerance, max_steps,
            part * batch // parts, (part + 1) * batch // parts,
            potentials, verdict, residual, time, period, amplitude,
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def relaxations(net, data, index, number, start, clamped, knobs, injected, natural, tolerance, times, batch):
    """Values at the given times (s, ascending, from 0), (batch, n_times, n_free)."""
    room = np.empty(net[ROOM_SIZE])
    order = net[net[ORDER] :]
    u = room[net[U] :]
    n = net[N_FREE]
    out = np.empty((batch, times.size, n))
    for b in range(batch):
        for i in range(n):
            u[order[i]] = start[_at(start, b)][i]
        _pose(
            net, data, index, number, room, clamped[_at(clamped, b)], knobs[_at(knobs, b)], injected[_at(injected, b)],
            natural,
        )  # fmt: skip
        now = 0.0
        for t in range(times.size):
            if times[t] > now:
                _integrate(net, data, room, times[t] - now, tolerance)
                now = times[t]
            for i in range(n):
                out[b, t, i] = u[order[i]]
    return out


@njit(cache=True, error_model="numpy")
def settling_times(net, data, index, number, start, clamped, knobs, injected, natural, end, within, horizon, tolerance):
    """When each relaxation comes within `within` of its `end` (batch, n_free) to stay, (batch,), s.

    Followed until a hundredth of `within`, or for `horizon` (batch,), s; nan where that was not enough.
    """
    room = np.empty(net[ROOM_SIZE])
    order = net[net[ORDER] :]
    u = room[net[U] :]
    n = net[N_FREE]
    batch = end.shape[0]
    out = np.empty(batch)
    for b in range(batch):
        for i in range(n):
            u[order[i]] = start[_at(start, b)][i]
        _pose(
            net, data, index, number, room, clamped[_at(clamped, b)], knobs[_at(knobs, b)], injected[_at(injected, b)],
            natural,
        )  # fmt: skip
        h = _first_step(net, data, room)
        time, made, entered, far = 0.0, 0.0, 0.0, np.inf
        while time < horizon[b]:
            away = 0.0
            for i in range(n):
                away = max(away, abs(u[order[i]] - end[b, i]))
            if far > within >= away and time > 0.0:  # entered within the last step: logarithmic interpolation
                s = math.log(far / within) / math.log(far / away) if away > 0.0 and far < np.inf else 1.0
                entered = time - (1.0 - s) * made
            far = away
            if away <= 0.01 * within:
                break
            made, h, _ = _advance(net, data, room, h, np.inf, tolerance)
            if made == 0.0:
                break
            time += made
        out[b] = entered if far <= 0.01 * within else np.nan
    return out


@njit(cache=True, error_model="numpy")
def rates(net, data, index, number, potentials, clamped, knobs):
    """Rates of all processes, (batch, n_processes)."""
    room = np.empty(net[ROOM_SIZE])
    batch = len(potentials)
    out = np.empty((batch, net[N_ROWS]))
    for b in range(batch):
        _place(net, data, index, number, room, potentials[b], clamped[_at(clamped, b)], knobs[_at(knobs, b)])
        for p in range(net[N_ROWS]):
            out[b, p] = _rate_of(net, data, room, p, False)
    return out


@njit(cache=True, error_model="numpy")
def parameters(index, number, knobs):
    """Every parameter and then the waste flows, at these knobs, (batch, n)."""
    out = np.empty((knobs.shape[0], index[N_PARAMETERS] + index[N_WASTES]))
    for b in range(knobs.shape[0]):
        _resolve(index, number, knobs[b], out[b])
    return out


@njit(cache=True, error_model="numpy")
def jacobians(net, data, index, number, potentials, clamped, knobs):
    """dF/du at given values, (batch, n_free, n_free), A/V or L/s."""
    room = np.empty(net[ROOM_SIZE])
    row_first = net[net[ROW_FIRST] :]
    column = net[net[COLUMN] :]
    order = net[net[ORDER] :]
    u = room[net[U] :]
    injected = room[net[INJECTED] :]
    jac = room[net[JAC] :]
    batch, n = potentials.shape
    out = np.zeros((batch, n, n))
    row = np.empty(n, np.int64)
    for i in range(n):
        row[order[i]] = i
    for i in range(net[N_FREE]):
        injected[i] = 0.0
    for b in range(batch):
        _place(net, data, index, number, room, potentials[b], clamped[_at(clamped, b)], knobs[_at(knobs, b)])
        _flows(net, data, room, u, True)
        for i in range(n):
            for q in range(row_first[i], row_first[i + 1]):
                out[b, row[i], row[column[q]]] = jac[q]
    return out


@njit(cache=True, error_model="numpy")
def sparse_jacobian(net, data, index, number, potentials, clamped, knobs):
    """The Jacobian at one point as compressed rows, in the order of elimination: (values, columns, row starts)."""
    room = np.empty(net[ROOM_SIZE])
    u = room[net[U] :]
    injected = room[net[INJECTED] :]
    jac = room[net[JAC] :]
    for i in range(net[N_FREE]):
        injected[i] = 0.0
    _place(net, data, index, number, room, potentials[0], clamped[0], knobs[0])
    _flows(net, data, room, u, True)
    column, row_first = net[net[COLUMN] :], net[net[ROW_FIRST] :]
    return jac[: net[N_ENTRIES]].copy(), column[: net[N_ENTRIES]].copy(), row_first[: net[N_FREE] + 1].copy()


@compiled
def _place(net, data, index, number, room, potentials, clamped, knobs):
    order = net[net[ORDER] :]
    u = room[net[U] :]
    theta = room[net[THETA] :]
    for i in range(net[N_FREE]):
        u[order[i]] = potentials[i]
    for k in range(clamped.size):
        u[net[N_FREE] + k] = clamped[k]
    _resolve(index, number, knobs, theta)


@compiled
def _rate_of(net, data, room, p, full):
    """Rate of process p at u, its derivatives in du and, with `full`, dp."""
    code = net[net[CODE] :]
    read_first = net[net[READ_FIRST] :]
    read_node = net[net[READ_NODE] :]
    parameter = net[net[PARAMETER] :]
    table = net[net[TABLE] :]
    u = room[net[U] :]
    theta = room[net[THETA] :]
    v = room[net[V] :]
    du = room[net[DU] :]
    dp = room[net[DP] :]
    first = read_first[p]
    count = read_first[p + 1] - first
    for k in range(count):
        v[k] = u[read_node[first + k]]
    at = parameter[p]
    return rate_of(code[p], v, count, theta[at:], data, table[p], du, dp, full)


@compiled
def _pull_back(net, data, index, number, room, nodes, weights, lam, by_theta, by_clamp, by_injected):
    """:func:`adjoints` of the one row whose values and parameters are in `room`; lam: (k, n_free) to work in."""
    code = net[net[CODE] :]
    table = net[net[TABLE] :]
    read_first = net[net[READ_FIRST] :]
    read_node = net[net[READ_NODE] :]
    fed_first = net[net[FED_FIRST] :]
    fed_node = net[net[FED_NODE] :]
    parameter = net[net[PARAMETER] :]
    own = net[net[OWN] :]
    order = net[net[ORDER] :]
    moiety_row = net[net[MOIETY_ROW] :]
    fed = data[net[FED] :]
    theta = room[net[THETA] :]
    lu = room[net[LU] :]
    inverse = room[net[INVERSE] :]
    u = room[net[U] :]
    v = room[net[V] :]
    du = room[net[DU] :]
    dp = room[net[DP] :]
    waste_first = index[index[WASTE_FIRST] :]
    flow = index[index[FLOW] :]
    sign = number[index[SIGN] :]
    n, functions, n_parameters = net[N_FREE], nodes.shape[0], index[N_PARAMETERS]
    _flows(net, data, room, u, True)
    how = SINGULAR
    for f in range(functions):
        for i in range(n):
            lam[f, order[i]] = -nodes[f, i]
        for p in range(net[N_ROWS]):
            if weights[f, p] != 0.0:
                _rate_of(net, data, room, p, False)
                for k in range(read_first[p + 1] - read_first[p]):
                    j = read_node[read_first[p] + k]
                    if j < n:
                        lam[f, j] -= weights[f, p] * du[k]
        if f > 0 and how == FACTORED:  # the factors hold for all functions
            _solve_transposed(net, lu, inverse, lam[f])
        else:
            how = _newton_solve(net, data, room, lam[f], True)
        for m in range(net[N_MOIETIES]):
            lam[f, moiety_row[m]] = 0.0  # a conservation law does not depend on any parameter
        for i in range(n):
            if how == SINGULAR:
                lam[f, order[i]] = np.nan
            by_injected[f, i] = lam[f, order[i]]
    for p in range(net[N_ROWS]):
        first = read_first[p]
        count = read_first[p + 1] - first
        for k in range(count):
            v[k] = u[read_node[first + k]]
        rate_of(code[p], v, count, theta[parameter[p] :], data, table[p], du, dp, True)
        for f in range(functions):
            weight = weights[f, p]
            for s in range(fed_first[p], fed_first[p + 1]):
                weight += lam[f, fed_node[s]] * fed[s]
            if weight != 0.0:
                for k in range(own[p]):
                    by_theta[f, parameter[p] + k] += weight * dp[k]
                for k in range(count):
                    j = read_node[first + k]
                    if j >= n:
                        by_clamp[f, j - n] += weight * du[k]
    for m in range(index[N_WASTES]):  # a waste flow is the sum of others
        if theta[n_parameters + m] > 0.0:
            for k in range(waste_first[m], waste_first[m + 1]):
                if theta[flow[k]] > 0.0:
                    for f in range(functions):
                        by_theta[f, flow[k]] += sign[k] * by_theta[f, n_parameters + m]


@njit(cache=True, error_model="numpy")
def adjoints(net, data, index, number, potentials, clamped, knobs, by_node, by_rate):
    """Derivatives of k functions L = sum by_node*u + sum by_rate*r at steady states, by one transposed solve each.

    J^T lambda = -dL/du; dL/dtheta = lambda^T dF/dtheta + direct part (physics.md, section 1). With conserved moieties
    the totals are held: the rows of J that depend on the others are the conservation laws.
    by_node: (batch or 1, k, n_free); by_rate: (batch or 1, k, n_processes). Returns derivatives by every parameter's
    resolved value (batch, k, n_parameters), by the clamps (batch, k, n_terminals), by injected currents (batch, k,
    n_free); nan where J is singular.
    """
    room = np.empty(net[ROOM_SIZE])
    room[net[INJECTED] : net[INJECTED] + net[N_FREE]] = 0.0
    batch, n = potentials.shape
    functions = by_node.shape[1]
    by_theta = np.zeros((batch, functions, index[N_PARAMETERS] + index[N_WASTES]))
    by_clamp, by_injected = np.zeros((batch, functions, net[N_NODES] - n)), np.empty((batch, functions, n))
    lam = np.empty((functions, n))
    for b in range(batch):
        _place(net, data, index, number, room, potentials[b], clamped[_at(clamped, b)], knobs[_at(knobs, b)])
        _pull_back(
            net, data, index, number, room, by_node[_at(by_node, b)], by_rate[_at(by_rate, b)], lam, by_theta[b],
            by_clamp[b], by_injected[b],
        )  # fmt: skip
    return by_theta[:, :, : index[N_PARAMETERS]], by_clamp, by_injected
