"""exp, log, tanh, sigmoid within 2 units in the last place, over all float32 values (slow),
and over a spread of them (always), erf, gelu, silu and softplus too; float64 against
mpmath's digits where installed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastnn
from fastnn.nn import functional

ULP = 2.0
CHUNK = 1 << 24


def sigmoid64(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


FUNCTIONS = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid64,
}


erf64 = np.vectorize(math.erf, otypes=[np.float64])
erfc64 = np.vectorize(math.erfc, otypes=[np.float64])


def silu64(x):
    return np.where(np.isneginf(x), -0.0, x * sigmoid64(x))


def gelu64(x):
    return np.where(np.isneginf(x), -0.0, x * erfc64(x * -math.sqrt(0.5)) / 2)


def gelu_tanh64(x):
    x = np.maximum(x, -100)
    v = math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)
    return x * sigmoid64(v)


def softplus64(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# name: the function, the same in float64, and its largest error
ACTIVATIONS = {
    "tanh": (fastnn.tanh, np.tanh, 1.1),
    "erf": (fastnn.erf, erf64, 1.1),
    "sigmoid": (fastnn.sigmoid, sigmoid64, ULP),
    "gelu": (fastnn.gelu, gelu64, 3),
    "gelu_tanh": (lambda x: functional.gelu(x, approximate="tanh"), gelu_tanh64, 2.2),
    "silu": (fastnn.silu, silu64, 2.1),
    "softplus": (lambda x: functional.softplus(x, threshold=np.inf), softplus64, 2.1),
}


def units(got, exact):
    """|got - exact| in float32 units in the last place of exact; NaN and inf must match."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        assert (np.isnan(rounded) == np.isnan(got)).all(), "NaN in the wrong place"
        finite = np.isfinite(rounded) & np.isfinite(got)
        # where only one of both overflowed, the other must be the last number before
        early = (np.isinf(rounded) != np.isinf(got)) & (np.abs(exact) < 3.4028e38)
        assert not early.any(), "overflow in the wrong place"
        unit = np.spacing(np.abs(rounded)).astype(np.float64)
        return np.where(finite, np.abs(got - exact) / unit, 0.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_spread_of_float32(name):
    bits = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.float64))
    got = getattr(fastnn, name)(fastnn.from_numpy(x)).numpy()
    assert units(got, exact).max() <= ULP


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_a_spread_of_float32(name):
    f, f64, bound = ACTIVATIONS[name]
    x = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([x, np.linspace(-20, 20, 200001, dtype=np.float32)])
    with np.errstate(all="ignore"):
        exact = f64(x.astype(np.float64))
    assert units(f(fastnn.from_numpy(x)).numpy(), exact).max() <= bound


# x scale + offset chooses the piece of float32's polynomial: tools/polynomials.py
PIECES = {
    "tanh": (1.66015625, 1),
    "erf": (3.78125, 1),
    "gelu": (1, 1.125),
    "softplus": (0.84375, 1),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_meet(name):
    """Around each end, where rounding decides which of two polynomials serves."""
    scale, offset = PIECES[name]
    ends = [2.0**e * (1 + q / 4) for e in range(4) for q in range(4)] + [16.0]
    ends = np.array([(e - offset) / scale for e in ends if e > offset], np.float32)
    near = (ends.view(np.uint32)[:, None] + np.arange(-40, 41)).astype(np.uint32)
    x = near.ravel().view(np.float32)
    x = np.concatenate([x, -x])
    f, f64, bound = ACTIVATIONS[name]
    got = f(fastnn.from_numpy(x)).numpy()
    assert units(got, f64(x.astype(np.float64))).max() <= bound


@pytest.mark.parametrize(("name", "one"), [("tanh", 9.02), ("erf", 3.93)])
def test_saturation_is_monotone(name, one):
    """Up to 1, never above, and there it stays."""
    bits = np.arange(0x3F800000, 0x7F800001, 301, dtype=np.uint32)  # from 1
    x = bits.view(np.float32)
    y = getattr(fastnn, name)(fastnn.from_numpy(x)).numpy()
    assert (np.diff(y) >= 0).all()
    assert (y[x >= one] == 1).all()
    assert y.max() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_float32(name):
    worst = 0.0
    for start in range(0, 2**32, CHUNK):
        x = np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32)
        x = x.view(np.float32)
        with np.errstate(all="ignore"):
            exact = FUNCTIONS[name](x.astype(np.float64))
        got = getattr(fastnn, name)(fastnn.from_numpy(x)).numpy()
        worst = max(worst, float(units(got, exact).max()))
    print(f"{name}: {worst:.3f} ulp at most over all float32 values")
    assert worst <= ULP


@pytest.mark.parametrize(
    ("name", "bound"),
    [(name, ULP) for name in (*FUNCTIONS, "erf", "silu")] + [("gelu", 3.5)],
)
def test_float64(name, bound):
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.prec = 120
    one = mpmath.mpf(1)
    exact = {
        "exp": mpmath.exp,
        "expm1": mpmath.expm1,
        "log": mpmath.log,
        "log1p": mpmath.log1p,
        "tanh": mpmath.tanh,
        "sigmoid": lambda v: one / (one + mpmath.exp(-v)),
        "erf": mpmath.erf,
        "silu": lambda v: v / (one + mpmath.exp(-v)),
        "gelu": lambda v: v * mpmath.erfc(-v / mpmath.sqrt(2)) / 2,
    }[name]
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.uniform(-30, 30, 300),
            rng.uniform(-1, 1, 300),
            10.0 ** rng.uniform(-300, 2, 100),
            [-700, 700, -740, 5e-324],
        ]
    )
    x = np.abs(x) if name.startswith("log") else x
    got = getattr(fastnn, name)(fastnn.from_numpy(x)).numpy()
    for v, g in zip(x, got, strict=True):
        true = exact(mpmath.mpf(float(v)))
        unit = math.ulp(float(true)) if true != 0 else 5e-324
        assert abs(mpmath.mpf(float(g)) - true) <= bound * unit, (v, g)


LIMITS = {
    "exp": {np.inf: np.inf, -np.inf: 0.0, 0.0: 1.0, 89.0: np.inf, -104.0: 0.0},
    "log": {np.inf: np.inf, 0.0: -np.inf, -1.0: np.nan, 1.0: 0.0},
    "expm1": {np.inf: np.inf, -np.inf: -1.0, -1e-45: -1e-45, 89.0: np.inf, -50.0: -1.0},
    "log1p": {np.inf: np.inf, -1.0: -np.inf, -2.0: np.nan, 1e-45: 1e-45, 0.0: 0.0},
    "tanh": {np.inf: 1.0, -np.inf: -1.0, 0.0: 0.0, 1e-45: 1e-45, 20.0: 1.0},
    "sigmoid": {np.inf: 1.0, -np.inf: 0.0, 0.0: 0.5, -104.0: 0.0},
    "erf": {np.inf: 1.0, -np.inf: -1.0, 0.0: 0.0},
    "gelu": {np.inf: np.inf, -np.inf: 0.0, 0.0: 0.0},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LIMITS)
def test_limits_and_nan(name, dtype):
    table = dict(LIMITS[name])
    if dtype is np.float64:
        table = {k: v for k, v in table.items() if abs(k) not in (89.0, 104.0, 1e-45)}
    x = np.array([*table, np.nan], dtype)
    got = getattr(fastnn, name)(fastnn.from_numpy(x)).numpy()
    np.testing.assert_array_equal(got, np.array([*table.values(), np.nan], dtype))


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_are_odd_to_the_bit(name):
    x = np.concatenate([np.linspace(0, 10, 999), [0.0, 1e-40]]).astype(np.float32)
    f = getattr(fastnn, name)
    plus, minus = f(fastnn.from_numpy(x)).numpy(), f(fastnn.from_numpy(-x)).numpy()
    assert (plus.view(np.uint32) ^ minus.view(np.uint32) == 0x80000000).all()


def test_pow_has_c99s_special_values():
    special = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, np.inf, -np.inf, np.nan]
    a, b = (v.reshape(-1) for v in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        expected = np.power(a, b)
    got = fastnn.pow(fastnn.from_numpy(a), fastnn.from_numpy(b)).numpy()
    np.testing.assert_allclose(got, expected, rtol=5e-16)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("name", ["tanh", "expm1", "log1p"])
def test_tiny_numbers_stay_as_they_are(name):
    x = np.geomspace(1e-45, 1e-8, 5000).astype(np.float32)
    x = np.concatenate([x, -x])
    y = getattr(fastnn, name)(fastnn.from_numpy(x)).numpy()
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf"])
def test_minus_zero_stays(name):
    y = getattr(fastnn, name)(fastnn.tensor([-0.0, 0.0])).numpy()
    assert np.signbit(y).tolist() == [True, False]


def awkward_divisions(dtype):
    """Any bits; and numbers beside multiples of their divisor, where a quotient rounds up."""
    rng, n = np.random.default_rng(3), 20000
    word = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    top = np.iinfo(word).max
    a, b = (rng.integers(0, top, n, word, True).view(dtype) for _ in range(2))
    d = rng.standard_normal(n).astype(dtype)
    near = (d * rng.integers(-5000, 5000, n)).astype(dtype)
    near = np.nextafter(near, rng.choice([-np.inf, np.inf], n).astype(dtype))
    a, b = np.concatenate([a, near]), np.concatenate([b, d])
    fine = np.isfinite(a) & np.isfinite(b) & (b != 0)
    return a[fine], b[fine]


def test_remainders_are_exact():
    """Against Python's own %, for every kind of quotient, however large."""
    a, b = awkward_divisions(np.float64)
    got = fastnn.remainder(fastnn.from_numpy(a), fastnn.from_numpy(b)).numpy()
    expected = [x % y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    np.testing.assert_array_equal(got, expected)
    got = fastnn.floor_divide(fastnn.from_numpy(a), fastnn.from_numpy(b)).numpy()
    with np.errstate(all="ignore"):
        expected = np.array(
            [x // y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        )
    small = np.abs(expected) < 2.0**52
    np.testing.assert_array_equal(got[small], expected[small])


def test_remainders_of_float32_are_those_of_float64_rounded():
    a, b = awkward_divisions(np.float32)
    wide = a.astype(np.float64) % b.astype(np.float64)
    exact = np.fmod(a, b) == np.fmod(a.astype(np.float64), b.astype(np.float64))
    got = fastnn.remainder(fastnn.from_numpy(a), fastnn.from_numpy(b)).numpy()
    assert exact.all()
    np.testing.assert_array_equal(got, wide.astype(np.float32))
