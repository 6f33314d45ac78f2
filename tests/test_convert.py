"""Conversions between dtypes: what every value becomes, on every ISA."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import _core

DTYPES = [np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64]
LENGTHS = [1, 3, 8, 16, 31, 255, 256, 257, 511, 513, 1000]


@pytest.fixture(autouse=True)
def _restore():
    isa = fastnn.isa()
    yield
    _core.set_isa(isa)


@pytest.fixture(params=_core.isas())
def isa(request):
    _core.set_isa(request.param)
    return request.param


def special(dtype):
    """Zeros, halves, and what lies on both sides of every bound."""
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return np.array([False, True])
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        values = [bounds.min, bounds.max, 0, 1, 255, 256, -1]
        values += [s * (2**b + i) for b in (31, 32, 53) for i in (-1, 0, 1)
                   for s in (-1, 1)]  # fmt: skip
        return np.array([v for v in values if bounds.min <= v <= bounds.max], dtype)
    values = [0.0, 0.5, 1.5, 255.5, 256.0, np.inf, np.nan, np.finfo(dtype).tiny / 4]
    values += [np.finfo(dtype).max, 1e-300]
    with np.errstate(over="ignore"):
        for b in (31, 32, 53, 63, 64):
            at = dtype.type(2.0**b)
            values += [at, np.nextafter(at, 0), np.nextafter(at, at * 2)]
        values = np.array(values, dtype)
    return np.concatenate([values, -values])


def one(x, to):
    """By Python's integers."""
    to = np.dtype(to)
    if to == np.bool_:
        return x != 0
    if to.kind == "f":
        with np.errstate(over="ignore"):
            return to.type(x)
    fits = np.isfinite(x) and -(2**63) <= int(x) < 2**63
    whole = int(x) if fits else -(2**63)
    whole %= 2 ** (8 * to.itemsize)
    if to.kind == "i" and whole >= 2 ** (8 * to.itemsize - 1):
        whole -= 2 ** (8 * to.itemsize)
    return whole


def check(x, to):
    got = fastnn.from_numpy(x).to(getattr(fastnn, np.dtype(to).name)).numpy()
    expected = np.array([one(v, to) for v in x], to)
    if np.dtype(to).kind == "f":
        assert np.array_equal(got, expected, equal_nan=True)
        assert np.array_equal(np.signbit(got)[got == 0], np.signbit(expected)[got == 0])
    else:
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_the_bounds(isa, dtype, to):
    values = special(dtype)
    check(values, to)
    check(np.repeat(values, 2)[::2], to)  # strided
    for value in values:  # one among many that are small
        x = np.arange(300).astype(dtype)
        x[::7], x[271] = 0, value
        check(x, to)


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_around_the_blocks(isa, dtype, to):
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        check((rng.integers(-100, 100, n) + 0.25).astype(dtype), to)
        check(rng.integers(-(2**62), 2**62, n).astype(dtype), to)
