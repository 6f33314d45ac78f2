"""Copies and elementwise ops whose operands run along different dimensions."""

from __future__ import annotations

from itertools import permutations
from math import prod

import numpy as np
import pytest

import fastnn
from fastnn import _core

pytestmark = pytest.mark.usefixtures("as_before")
DTYPES = [np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64]
EDGES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 257, 300]


@pytest.fixture(params=_core.isas())
def isa(request):
    _core.set_isa(request.param)
    return request.param


def hostile(shape, dtype, seed=0):
    """Any bits: with floats also NaNs, quiet and signalling, with payloads."""
    rng = np.random.default_rng(seed)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    count = prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(rng.bytes(count), dtype).reshape(shape).copy()


def check(got, expected):
    expected = np.ascontiguousarray(expected)
    assert got.shape == expected.shape
    assert np.ascontiguousarray(got.numpy()).tobytes() == expected.tobytes()


def check_copies(x, order):
    """contiguous() of a permuted view, and copy_ into one."""
    t = fastnn.from_numpy(x)
    view = x.transpose(order)
    check(t.permute(order).contiguous(), view)
    back = fastnn.from_numpy(np.zeros_like(x))
    back.permute(order).copy_(fastnn.from_numpy(np.ascontiguousarray(view)))
    check(back, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_around_the_tiles(isa, dtype):
    for m in EDGES:
        for n in EDGES:
            check_copies(hostile((m, n), dtype, m * 1000 + n), (1, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [(5, 17, 33), (2, 16, 3, 20), (1, 18, 1, 40), (3, 4, 5, 6, 7), (2, 0, 3), (0, 0)],
)
def test_every_permutation(isa, dtype, shape):
    x = hostile(shape, dtype)
    for order in permutations(range(len(shape))):
        check_copies(x, order)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_every_thread_count(isa, dtype, threads):
    fastnn.set_num_threads(threads)
    check_copies(hostile((517, 611), dtype), (1, 0))
    check_copies(hostile((3, 20, 37, 41), dtype), (0, 2, 3, 1))
    check_copies(hostile((3, 37, 41, 20), dtype), (0, 3, 1, 2))


def test_larger_than_the_caches(isa):
    x = np.arange(5000 * 4096, dtype=np.float32).reshape(5000, 4096)
    for part in (x, x[1:, 3:]):  # stores past the caches want aligned rows
        t = fastnn.from_numpy(x)[x.shape[0] - part.shape[0] :, -part.shape[1] :]
        assert np.array_equal(t.T.contiguous().numpy(), part.T)
        assert np.array_equal((t.T + 0.0 * t.T).numpy(), part.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_with_gaps_and_repeats(isa, dtype):
    x = hostile((70, 90), dtype)
    t = fastnn.from_numpy(x)
    check(t[3:, ::2].T.contiguous(), x[3:, ::2].T)
    check(t[::3, 5:61].T.contiguous(), x[::3, 5:61].T)
    check(t[::3, 1::4].T.contiguous(), x[::3, 1::4].T)
    check(t[:, None].expand(70, 20, 90).permute(2, 1, 0).contiguous(),
          np.broadcast_to(x[:, None], (70, 20, 90)).transpose(2, 1, 0))  # fmt: skip
    check(t[:, :, None].expand(70, 90, 20).permute(1, 0, 2).contiguous(),
          np.broadcast_to(x[:, :, None], (70, 90, 20)).transpose(1, 0, 2))  # fmt: skip
    y = hostile((90, 140), dtype, 1)
    into, expected = fastnn.from_numpy(y.copy()), y.copy()
    into[:, ::2].copy_(t.T)
    expected[:, ::2] = x.T
    check(into, expected)


def test_memory_that_is_read_backwards(isa):
    x = hostile((70, 90), np.int32)
    for view in (x[::-1].T, x[:, ::-1].T, x[::-1, ::-1].T):
        check(fastnn.from_numpy(view).contiguous(), view)
        check(fastnn.from_numpy(view) + 1, view + np.int32(1))


def test_overlap_of_what_is_read_and_written(isa):
    x = hostile((65, 65), np.float32)
    t = fastnn.from_numpy(x.copy())
    t.copy_(t.T)
    check(t, x.T)
    t = fastnn.from_numpy(x.copy())
    t.T.copy_(t.T)
    check(t, x)
    t = fastnn.from_numpy(x.copy())
    t[1:].copy_(t.T[:-1])
    check(t, np.concatenate([x[:1], x.T[:-1]]))


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_conversion_on_the_way(isa, dtype, to):
    x = np.random.default_rng(0).integers(0, 2, (47, 130)).astype(dtype)
    name = getattr(fastnn, np.dtype(to).name)
    check(fastnn.from_numpy(x).T.to(name), x.T.astype(to))
    y = fastnn.from_numpy(np.zeros((47, 130), to))
    y.T.copy_(fastnn.from_numpy(np.ascontiguousarray(x.T)))
    check(y, x.astype(to))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(17, 33), (100, 300), (5, 257), (257, 5), (3, 1)])
def test_arithmetic_in_every_layout(isa, dtype, shape):
    m, n = shape
    rng = np.random.default_rng(1)
    arrays = [rng.integers(-50, 50, s).astype(dtype) for s in
              [(m, n), (n, m), (1, n), (n, 1), (2 * n, m)]]  # fmt: skip
    a, b, row, column, tall = arrays
    fa, fb, frow, fcolumn, ftall = map(fastnn.from_numpy, arrays)
    check(fa + fb.T, a + b.T)
    check(fb.T + fa, b.T + a)
    check(fb.T - fb.T * 3, b.T - b.T * dtype(3))
    check(fb.T + frow, b.T + row)
    check(fa + fb.T * fcolumn.T, a + b.T * column.T)
    check(fa * ftall[::2].T, a * tall[::2].T)
    check(fa < fb.T, a < b.T)
    check(fastnn.where(fa < fb.T, fb.T, fa), np.where(a < b.T, b.T, a))
    check(fa.double() + fb.T, a.astype(np.float64) + b.T)
    total = b + a.T
    fb.T.add_(fa)  # b too, which is its memory
    check(fb, total)
    fb.T.mul_(fb.T)
    check(fb, total * total)
