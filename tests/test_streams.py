"""Results that go past the caches: larger than the last one, whatever lies where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn.bench.machine import caches

LAST = max([size for _, size, _ in caches()] + [1 << 20])
TOO_LARGE = LAST > 300 << 20 or not Path("/sys/devices/system/cpu/cpu0/cache").exists()
pytestmark = pytest.mark.skipif(
    TOO_LARGE, reason="the last cache is unknown, or too large to exceed in a test"
)
PIECE = 1000  # elements; results of these are too small to go past anything


def array(n, offset, dtype=np.float32):
    """n numbers, `offset` elements from the start of a line of cache."""
    whole = np.empty(n + 64, dtype)
    start = -whole.ctypes.data % 64 // whole.itemsize + offset
    part = whole[start : start + n]
    part[:] = np.random.default_rng(n + offset).standard_normal(n, dtype)
    return part


def in_pieces(f, *xs, out):
    for i in range(0, len(out), PIECE):
        fastnn.from_numpy(out[i : i + PIECE]).copy_(
            f(*(fastnn.from_numpy(x[i : i + PIECE]) for x in xs))
        )
    return fastnn.from_numpy(out)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", fastnn._core.isas())
@pytest.mark.parametrize(
    ("dtype", "offset"), [(np.float32, 0), (np.float32, 5), (np.float64, 3)]
)
@pytest.mark.usefixtures("as_before")
def test_the_same_bits_as_in_pieces(dtype, offset, isa, threads):
    n = LAST // 2 // np.dtype(dtype).itemsize + 1237
    x, y = array(n, offset, dtype), array(n, 0, dtype)
    out = fastnn.from_numpy(array(n, offset, dtype))
    a, b = fastnn.from_numpy(x), fastnn.from_numpy(y)
    fastnn._core.set_isa(isa)
    fastnn.set_num_threads(threads)
    expected = in_pieces(lambda v, w: v * w, x, y, out=np.empty(n, dtype))
    assert_same_bits(a * b, expected)
    fastnn.mul(a, b, out=out)
    assert_same_bits(out, expected)
    assert_same_bits(fastnn.compile(lambda v, w: v * w)(a, b), expected)
    a *= b  # in place: it stays where it is
    assert_same_bits(a, expected)


def test_constants_and_several_calls_of_a_plan():
    n = LAST // 4 + 77
    x = array(n, 1)
    t = fastnn.from_numpy(x)

    def f(v):
        y = (v * 3 - 1).relu()
        return y, y * v, (v + 2).sum()

    expected = f(t)
    step = fastnn.compile(f)
    for _ in range(4):
        got = step(t)
    for a, b in zip(got, expected, strict=True):
        assert_same_bits(a, b)
    pieces = in_pieces(lambda v: (v * 3 - 1).relu(), x, out=np.empty(n, np.float32))
    assert_same_bits(got[0], pieces)
