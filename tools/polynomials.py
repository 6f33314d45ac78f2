"""Fits the polynomials of csrc/kernels/math.inc.h; prints tables and error bounds.

Each is a minimax fit (Lawson's iterated least squares at Chebyshev points, 60 digits)
under the weight that makes its error the relative error of the function it serves.
Coefficients are rounded to the target type from the lowest degree up, and what is left
is fitted anew after each rounding, so that later coefficients make up for earlier ones.
The bound printed is the largest weighted error of the rounded coefficients over 2000
points, as a power of two; what evaluation in floating point adds is for tests.

Pieces are 16 short polynomials in x - m, 8 of float64, one table row a coefficient and
one for the m, looked up by bits of x scale + offset, which is in [1, 16): each octave of
it has four pieces, or two. m is near the middle of its piece, and where f is almost
exactly a number of the target type, so that rounding the constant term costs nothing.

Run: python tools/polynomials.py [name ...]        (needs mpmath)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp

mp.mp.dps = 60

Function = Callable[[mp.mpf], mp.mpf]


@dataclass
class Fit:
    """f on [lo, hi] by a polynomial of `degree`, error weighted by `weight`."""

    name: str
    bits: int  # of the coefficients: 24 or 53
    degree: int
    lo: mp.mpf
    hi: mp.mpf
    f: Function
    weight: Function


@dataclass
class Pieces:
    """f on [0, top] by polynomials in x - m, error weighted by `weight`."""

    name: str
    degree: int
    scale: mp.mpf
    offset: mp.mpf
    top: mp.mpf
    f: Function
    weight: Function
    plus_x: bool  # in the first piece, f is x and the polynomial
    bits: int


def round_to(x: mp.mpf, bits: int) -> mp.mpf:
    """x rounded to `bits` significant bits."""
    with mp.workprec(bits):
        return +x


def horner(c: list[mp.mpf], x: mp.mpf) -> mp.mpf:
    """c[0] + c[1] x + ..."""
    return mp.polyval(c[::-1], x)


def grid(lo: mp.mpf, hi: mp.mpf, n: int) -> list[mp.mpf]:
    """n points from lo to hi, denser at the ends; off any exact zero."""
    mid, half = (lo + hi) / 2, (hi - lo) / 2
    return [mid - half * mp.cos(mp.pi * (i + mp.mpf("0.137")) / n) for i in range(n)]


def least_squares(
    xs: list[mp.mpf], fs: list[mp.mpf], ws: list[mp.mpf], low: int, n: int
) -> list[mp.mpf]:
    """Coefficients of x^low ... x^(low + n - 1) with the least weighted squares."""
    rows = [[w * x ** (low + k) for k in range(n)] for x, w in zip(xs, ws, strict=True)]
    right = [w * f for f, w in zip(fs, ws, strict=True)]
    a, b = mp.matrix(n, n), mp.matrix(n, 1)
    for i in range(n):
        column = [row[i] for row in rows]
        b[i] = mp.fdot(column, right)
        for j in range(i + 1):
            a[i, j] = a[j, i] = mp.fdot(column, (row[j] for row in rows))
    return list(mp.lu_solve(a, b))


def minimax(
    xs: list[mp.mpf], fs: list[mp.mpf], ws: list[mp.mpf], low: int, n: int
) -> list[mp.mpf]:
    """The same by Lawson's iteration: squares weigh more where the error is large."""
    scale = [mp.mpf(1)] * len(xs)
    best, least = [], mp.inf
    for _ in range(8):
        c = least_squares(
            xs, fs, [w * mp.sqrt(s) for w, s in zip(ws, scale, strict=True)], low, n
        )
        err = [
            abs((f - x**low * horner(c, x)) * w)
            for x, f, w in zip(xs, fs, ws, strict=True)
        ]
        if max(err) < least:
            best, least = c, max(err)
        mean = mp.fdot(scale, err) / mp.fsum(scale)
        if not mean:
            break
        scale = [
            s * (e / mean + mp.mpf("1e-6")) for s, e in zip(scale, err, strict=True)
        ]
    return best


def fit(job: Fit, points: int = 2000) -> tuple[list[mp.mpf], mp.mpf]:
    """Rounded coefficients, lowest degree first, and log2 of the error bound."""
    n = job.degree + 1
    xs = grid(job.lo, job.hi, 10 * (n + 2))
    fs = [job.f(x) for x in xs]
    ws = [job.weight(x) for x in xs]
    done: list[mp.mpf] = []
    while len(done) < n:
        rest = [
            f - (horner(done, x) if done else 0) for x, f in zip(xs, fs, strict=True)
        ]
        c = minimax(xs, rest, ws, len(done), n - len(done))
        done.append(round_to(c[0], job.bits))
    worst = max(
        abs((job.f(x) - horner(done, x)) * job.weight(x))
        for x in grid(job.lo, job.hi, points)
    )
    return done, mp.log(worst, 2)


def middle(job: Pieces, lo: mp.mpf, hi: mp.mpf) -> mp.mpf:
    """Not far from the middle, where f is nearest to a number of the type."""
    step = (hi - lo) / 1000
    near = [round_to((lo + hi) / 2 + i * step, job.bits) for i in range(-200, 201)]
    return min(near, key=lambda m: abs(round_to(job.f(m), job.bits) / job.f(m) - 1))


def fit_piece(
    job: Pieces, lo: mp.mpf, hi: mp.mpf
) -> tuple[mp.mpf, list[mp.mpf], mp.mpf]:
    """m, rounded coefficients, lowest degree first, and the error bound."""
    first = lo <= 0 and not job.f(mp.mpf(0))
    m = mp.mpf(0) if first else middle(job, lo, hi)
    # beyond its ends by more than rounding x scale + offset can move them
    slack = 16 * mp.mpf(2) ** -job.bits / job.scale
    lo, hi = max(lo - slack, mp.mpf(0)), min(hi + slack, job.top)

    def rest(x: mp.mpf) -> mp.mpf:
        return (job.f(x) - (x if first and job.plus_x else 0)) / (x if first else 1)

    done, bound = fit(
        Fit(
            job.name,
            job.bits,
            job.degree - first,
            lo - m,
            hi - m,
            lambda d: rest(m + d),
            lambda d: job.weight(m + d) * (d if first else 1),
        ),
        200,
    )
    return m, [mp.mpf(0)] * first + done, bound


def fit_pieces(job: Pieces) -> tuple[list[list[mp.mpf]], mp.mpf]:
    """Rows of LANES: the m, then coefficients from the highest degree down; the bound."""
    parts = 4 if job.bits == 24 else 2  # of an octave
    rows = [[mp.mpf(0)] * 4 * parts for _ in range(job.degree + 2)]
    bounds = []
    for k in range(4 * parts):
        octave, part = divmod(k, parts)
        ends = [mp.mpf(2) ** octave * (1 + mp.mpf(i) / parts) for i in (part, part + 1)]
        lo, hi = ((e - job.offset) / job.scale for e in ends)
        if lo < job.top:
            m, c, bound = fit_piece(job, lo, min(hi, job.top))
            bounds.append(bound)
            at = (k + 3 * parts) % (4 * parts)  # 1.0's exponent ends in two ones
            for row, x in zip(rows, [m, *c[::-1]], strict=True):
                row[at] = x
    return rows, max(bounds)


def literal(x: mp.mpf, bits: int) -> str:
    """The C literal that is exactly x."""
    mantissa, exponent = float(x).hex().split("p")
    return (
        mantissa.rstrip("0").rstrip(".") + "p" + exponent + ("f" if bits == 24 else "")
    )


# ---- what is fitted ------------------------------------------------------------------

LN2 = mp.log(2)
HALF_LN2 = LN2 / 2 * (1 + mp.mpf(2) ** -12)  # rounding may land just outside
ROOT_HALF, ROOT_2 = mp.sqrt(mp.mpf("0.5")), mp.sqrt(2)


def exp_q(r: mp.mpf) -> mp.mpf:
    """(exp(r) - 1 - r) / r^2."""
    return mp.hyp1f1(1, 3, r) / 2


def exp_p(r: mp.mpf) -> mp.mpf:
    """(exp(r) - 1) / r."""
    return mp.hyp1f1(1, 2, r)


def log_p(f: mp.mpf) -> mp.mpf:
    """(log(1 + f) - f + f^2 / 2) / f^3."""
    return mp.hyp2f1(1, 3, 4, -f) / 3


def atanh_r(z: mp.mpf) -> mp.mpf:
    """(2 atanh(s) - 2 s) / s^3, z = s^2."""
    return mp.mpf(2) / 3 * mp.hyp2f1(1, mp.mpf("1.5"), mp.mpf("2.5"), z)


def atanh_q(z: mp.mpf) -> mp.mpf:
    """(atanh_r(z) - 2/3) / z."""
    return mp.mpf(2) / 5 * mp.hyp2f1(1, mp.mpf("2.5"), mp.mpf("3.5"), z)


def tail(k: mp.mpf) -> Function:
    """(a + k) exp(a^2 / 2) Phi(-a) as a function of t = (a - k) / (a + k)."""

    def g(t: mp.mpf) -> mp.mpf:
        a = k * (1 + t) / (1 - t)
        return (a + k) * mp.exp(a * a / 2) * mp.erfc(a / ROOT_2) / 2

    return g


def to_t(a: mp.mpf, k: mp.mpf) -> mp.mpf:
    """(a - k) / (a + k)."""
    return (a - k) / (a + k)


K64, A64 = mp.mpf("6"), mp.mpf("38.8")  # beyond A64, a Phi(-a) rounds to zero


def sin_p(bits: int) -> Function:
    """sin(pi r) / r - P, z = r^2, P being pi rounded to the type."""
    leading = round_to(+mp.pi, bits)

    def p(z: mp.mpf) -> mp.mpf:
        r = mp.sqrt(z)
        return mp.sin(mp.pi * r) / r - leading

    return p


def cos_p(z: mp.mpf) -> mp.mpf:
    """(cos(pi r) - 1) / r^2, z = r^2."""
    r = mp.sqrt(z)
    return -2 * (mp.sin(mp.pi * r / 2) / r) ** 2


def relative(f: Function) -> Function:
    """The weight of relative error."""
    return lambda x: 1 / f(x)


def jobs() -> list[Fit]:
    """Every polynomial of math.inc.h."""
    z_log = to_t(ROOT_2, mp.mpf(1)) ** 2
    zero = mp.mpf(0)
    sixteenth = mp.mpf(1) / 16
    out = []
    for bits, d in ((24, DEGREES_32), (53, DEGREES_64)):
        s = "32" if bits == 24 else "64"
        out += [
            Fit(
                "exp" + s,
                bits,
                d["exp"],
                -HALF_LN2,
                HALF_LN2,
                exp_p,
                lambda r: abs(r) / mp.exp(r),
            ),
            # e^(-u / 2): exp's own, times powers of -1/2
            Fit(
                "gauss" + s,
                bits,
                d["exp"],
                -2 * HALF_LN2,
                2 * HALF_LN2,
                lambda u: -exp_p(-u / 2) / 2,
                lambda u: abs(u) * mp.exp(u / 2),
            ),
            # r + r^2 q(r) relative to exp(r) - 1
            Fit(
                "expm1_" + s,
                bits,
                d["exp"],
                -HALF_LN2,
                HALF_LN2,
                exp_q,
                lambda r: abs(r * r / mp.expm1(r)),
            ),
            Fit(
                "sin" + s,
                bits,
                d["sin"],
                zero,
                sixteenth,
                sin_p(bits),
                lambda z: mp.sqrt(z) / mp.sin(mp.pi * mp.sqrt(z)),
            ),
            Fit(
                "cos" + s,
                bits,
                d["cos"],
                zero,
                sixteenth,
                cos_p,
                lambda z: z / mp.cos(mp.pi * mp.sqrt(z)),
            ),
        ]
    out += [
        Fit(
            "tail64",
            53,
            DEGREES_64["tail"],
            mp.mpf(-1),
            to_t(A64, K64),
            tail(K64),
            relative(tail(K64)),
        ),
        Fit(
            "log32",
            24,
            DEGREES_32["log"],
            ROOT_HALF - 1,
            ROOT_2 - 1,
            log_p,
            lambda f: f**3 / mp.log1p(f),
        ),
        # s^3 R(s^2) relative to 2 atanh(s)
        Fit(
            "log64",
            53,
            DEGREES_64["log"],
            zero,
            z_log,
            atanh_r,
            lambda z: z / (2 + z * atanh_r(z)),
        ),
        # s^5 Q(s^2), the same
        Fit(
            "pow64",
            53,
            DEGREES_64["pow"],
            zero,
            z_log,
            atanh_q,
            lambda z: z * z / (2 + z * atanh_r(z)),
        ),
    ]
    return out


DEGREES_32 = {"exp": 5, "sin": 4, "cos": 3, "log": 8}
DEGREES_64 = {"exp": 10, "tail": 22, "sin": 7, "cos": 7, "log": 6, "pow": 9}


def gaussian_tail(a: mp.mpf) -> mp.mpf:
    """exp(a^2 / 2) Phi(-a)."""
    return mp.exp(a * a / 2) * mp.erfc(a / ROOT_2) / 2


def gelu_tail(a: mp.mpf) -> mp.mpf:
    """exp(a^2 / 2) a Phi(-a)."""
    return a * gaussian_tail(a)


def slope_tail(a: mp.mpf) -> mp.mpf:
    """exp(a^2 / 2) times gelu's derivative at -a."""
    return gaussian_tail(a) - a / mp.sqrt(2 * mp.pi)


def softplus_tail(a: mp.mpf) -> mp.mpf:
    """exp(a) log(1 + exp(-a))."""
    return mp.exp(a) * mp.log1p(mp.exp(-a))


def slope_weight(a: mp.mpf) -> mp.mpf:
    """About -0.75 gelu's derivative is zero: absolute error there."""
    return 1 / max(abs(slope_tail(a)), mp.mpf("0.125"))


def pieces() -> list[Pieces]:
    """Every table of pieces. From top on, f is 1 or what it is a factor of is zero."""
    functions = {
        "tanh": (mp.tanh, relative(mp.tanh)),
        "erf": (mp.erf, relative(mp.erf)),
        "gelu": (gelu_tail, relative(gelu_tail)),
        "slope": (slope_tail, slope_weight),
        "softplus": (softplus_tail, relative(softplus_tail)),
    }
    return [
        Pieces(
            f"{name}_pieces{'32' if bits == 24 else '64'}",
            degree,
            mp.mpf(scale),
            mp.mpf(offset),
            mp.mpf(top),
            *functions[name],
            plus_x=name == "erf",
            bits=bits,
        )
        for bits, table in PIECES.items()
        for name, (degree, scale, offset, top) in table.items()
    ]


# degree; scale, offset and top, all of few bits
PIECES = {
    24: {
        "tanh": (5, "1.66015625", "1", "9.03125"),
        "erf": (5, "3.78125", "1", "3.953125"),
        "gelu": (5, "1", "1.125", "14.5"),
        "slope": (5, "1", "1", "14.5"),
        "softplus": (5, "0.84375", "1", "17.5"),
    },
    53: {
        "erf": (18, "2.5", "1", "5.953125"),
        "gelu": (17, "0.384765625", "1", "38.8125"),
    },
}


def main(names: list[str]) -> None:
    """Prints each table, highest degree first, as Horner's rule reads it."""
    for job in jobs():
        if names and job.name not in names:
            continue
        c, bound = fit(job)
        print(f"{job.name}: degree {job.degree}, error 2^{mp.nstr(bound, 4)}")
        print(
            "    " + ",\n    ".join(literal(x, job.bits) for x in c[::-1]), flush=True
        )
    for table in pieces():
        if names and table.name not in names:
            continue
        rows, bound = fit_pieces(table)
        print(f"{table.name}: degree {table.degree}, error 2^{mp.nstr(bound, 4)}")
        for row in rows:
            print("    {" + ", ".join(literal(x, table.bits) for x in row) + "},")


if __name__ == "__main__":
    main(sys.argv[1:])
