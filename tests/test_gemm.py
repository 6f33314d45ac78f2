"""The GEMM against its definition, bit for bit: in blocks of 256 along k, one chain of
fused multiply-adds from zero; block sums added in order; then bias, then activation."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np
import pytest
from helpers import assert_same_bits, laid_out

import fastnn

BLOCK = 256  # along k; part of the bits contract
LIBM = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
FMA = {}
for _name, _type, _dtype in (
    ("fmaf", ctypes.c_float, np.float32),
    ("fma", ctypes.c_double, np.float64),
):
    _f = getattr(LIBM, _name)
    _f.restype, _f.argtypes = _type, [_type] * 3
    FMA[np.dtype(_dtype)] = _f


def chain(a, b):
    """The definition, element by element, with libm's correctly rounded fma."""
    fma = FMA[a.dtype]
    m, k = a.shape
    c = np.zeros((m, b.shape[1]), a.dtype)
    rows, columns = a.tolist(), b.T.tolist()
    for i in range(m):
        for j in range(b.shape[1]):
            total = None
            for start in range(0, k, BLOCK):
                s = 0.0
                for p in range(start, min(k, start + BLOCK)):
                    s = fma(rows[i][p], columns[j][p], s)
                s = a.dtype.type(s)
                total = s if total is None else a.dtype.type(total + s)
            c[i, j] = 0 if total is None else total
    return c


SIZES = [
    (1, 1, 1),
    (1, 5, 300),
    (4, 4, 4),
    (3, 1, 257),
    (7, 33, 64),
    (13, 17, 513),
    (14, 32, 8),
    (15, 31, 100),
    (29, 3, 256),
    (2, 65, 255),
    (1, 1, 600),
    (5, 6, 0),
]
LAYOUTS = ["", "transposed", "strided", "reversed", "misaligned"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_the_chain(m, n, k, dtype):
    rng = np.random.default_rng([m, n, k])
    a = (rng.standard_normal((m, k)) * np.exp(rng.uniform(-8, 8, (m, k)))).astype(dtype)
    b = rng.standard_normal((k, n)).astype(dtype)
    expected = fastnn.from_numpy(chain(a, b))
    for left in LAYOUTS:
        for right in LAYOUTS:
            x, y = (
                fastnn.from_numpy(laid_out(v, how))
                for v, how in ((a, left), (b, right))
            )
            assert_same_bits(x @ y, expected, f"{left or 'plain'} @ {right or 'plain'}")


# (m, n, k) by the way that the driver takes on a large CPU
PATHS = {
    "few rows": (3, 1300, 300),
    "one row, columns a page apart": (1, 70, 1024),
    "few columns": (1100, 3, 300),
    "few columns of many rows": (2500, 1, 40),
    "panels, B in place": (40, 100, 300),
    "panels, B packed by the first tile": (30, 1100, 300),
    "panels, rows of A in several depths": (200, 600, 700),
    "blocked": (500, 600, 600),
    "one step": (30, 600, 1),
}


@pytest.fixture(scope="module", params=PATHS, ids=lambda name: name.replace(" ", "-"))
def product(request):
    """Operands, and their product by generic kernels: small tiles that pack everything."""
    m, n, k = PATHS[request.param]
    rng = np.random.default_rng([m, n, k])
    before = fastnn.isa()
    found = {}
    fastnn._core.set_isa("generic")
    try:
        for dtype in (np.float32, np.float64):
            a = rng.standard_normal((m, k)).astype(dtype)
            b = rng.standard_normal((k, n)).astype(dtype)
            found[dtype] = a, b, fastnn.from_numpy(a) @ fastnn.from_numpy(b)
    finally:
        fastnn._core.set_isa(before)
    return found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("isa", [i for i in fastnn._core.isas() if i != "generic"])
@pytest.mark.usefixtures("as_before")
def test_every_path_gives_the_same_bits(product, dtype, isa, threads):
    a, b, expected = product[dtype]
    n = b.shape[1]
    panels, layer = (
        fastnn._core.op_named(name) for name in ("panels", "linear_panels")
    )
    fastnn._core.set_isa(isa)
    fastnn.set_num_threads(threads)
    for left in LAYOUTS:
        x = fastnn.from_numpy(laid_out(a, left))
        for right in LAYOUTS:
            y = fastnn.from_numpy(laid_out(b, right))
            assert_same_bits(x @ y, expected, f"{left} @ {right}")
        got = layer(x, panels(fastnn.from_numpy(b).T), None, None, 0, n)
        assert_same_bits(got, expected, f"{left} @ panels")


@pytest.mark.parametrize("isa", fastnn._core.isas())
@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
@pytest.mark.usefixtures("as_before")
def test_one_matrix_times_many_vectors(dtype, isa):
    fastnn.manual_seed(3)
    fastnn._core.set_isa(isa)
    for w in (
        fastnn.randn(40, 70),
        fastnn.randn(70, 40).T,
        fastnn.randn(80, 70)[::2],
    ):
        w, x = w.to(dtype), fastnn.randn(33, 70, 1).to(dtype)
        for v in (x, x.transpose(0, 1).contiguous().transpose(0, 1), x[::3]):
            got = w @ v
            assert got.shape == (len(v), 40, 1)
            for i in range(len(v)):
                assert_same_bits(got[i], w @ v[i])


def test_panels_of_more_outputs_than_memory_holds():
    panels, layer = (
        fastnn._core.op_named(name) for name in ("panels", "linear_panels")
    )
    assert panels(fastnn.zeros(2**63 - 1, 0)).shape == (2**57, 0, 64)
    with pytest.raises(ValueError, match="linear_panels: expected"):
        layer(fastnn.zeros(3, 0), fastnn.zeros(2**40 + 2, 0, 64), None, None, 0, 128)


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 10, 128), (33, 65, 300), (150, 70, 20)])
def test_the_epilogue_is_the_ops_one_after_the_other(m, n, k, bias, activation):
    fastnn.manual_seed(m)
    x, w, b = fastnn.randn(m, k), fastnn.randn(n, k), fastnn.randn(n)
    expected = x @ w.T
    expected = expected + b if bias else expected
    if activation:
        expected = getattr(fastnn, activation)(expected)
    got = fastnn.linear(x, w, b if bias else None, activation)
    assert_same_bits(got, expected)


ACTIVATIONS = [None, "relu", "sigmoid", "tanh", "gelu"]


@pytest.mark.parametrize("isa", fastnn._core.isas())
@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
@pytest.mark.parametrize(
    "shape",
    [
        *SIZES,
        (14, 64, 256),
        (200, 100, 700),  # A packed, several k-blocks
        (3, 1200, 300),  # few rows of a large B
        (4, 30, 20),
        (70, 1, 300),  # one column
        (1500, 3, 40),  # few columns
        (2000, 40, 30),  # B goes past A in panels
        (300, 900, 600),  # blocked
    ],
)
@pytest.mark.usefixtures("as_before")
def test_a_residual_is_added_after_the_bias(shape, dtype, isa):
    """On every path of the driver, whatever lies where."""
    m, n, k = shape
    if isa == "generic" and m * n * k > 10**7:
        pytest.skip("slow")
    linear, linear_act = (
        fastnn._core.op_named(name) for name in ("linear", "linear_act")
    )
    fastnn.manual_seed(m + n + k)
    x, w, b, r = (fastnn.randn(s).to(dtype) for s in ((m, k), (n, k), (n,), (m, n)))
    fastnn._core.set_isa(isa)
    for bias in (None, b):
        for w_ in (w, w.T.contiguous().T):
            plain = linear(x, w_, bias) + r
            for code, name in enumerate(ACTIVATIONS):
                expected = getattr(fastnn, name)(plain) if name else plain
                got = linear_act(x, w_, bias, r, code)
                assert_same_bits(got, expected, f"{shape} {name} {bias is None}")


@pytest.mark.parametrize("shape", [(3, 40, 50), (2, 5, 1, 70), (7, 1, 30), (6, 20, 1)])
def test_a_residual_under_leading_dimensions(shape):
    """Rows that one stride cannot reach are batches, each with its part of the residual."""
    fastnn.manual_seed(0)
    linear, linear_act = (
        fastnn._core.op_named(name) for name in ("linear", "linear_act")
    )
    *lead, n = shape
    whole = fastnn.randn(*(s + 1 for s in lead), 33)
    x = whole[tuple(slice(s) for s in lead)]
    w, b, r = fastnn.randn(n, 33), fastnn.randn(n), fastnn.randn(*shape)
    for v in (x, x.contiguous(), x.transpose(0, 1).contiguous().transpose(0, 1)):
        for bias in (None, b):
            expected = fastnn.tanh(linear(v, w, bias) + r)
            assert_same_bits(linear_act(v, w, bias, r, 3), expected)


def test_a_residual_that_is_not_contiguous_is_refused():
    linear_act = fastnn._core.op_named("linear_act")
    x, w, r = fastnn.ones(4, 2), fastnn.ones(3, 2), fastnn.ones(3, 4)
    with pytest.raises(ValueError, match="linear_act: expected contiguous residual"):
        linear_act(x, w, None, r.T, 0)


def test_special_values_flow_through():
    a = np.array([[np.inf, 1], [np.nan, 0], [1e-40, 1e-40], [3e38, 3e38]], np.float32)
    b = np.array([[1, -1], [1e-40, 1]], np.float32)
    with np.errstate(all="ignore"):
        expected = fastnn.from_numpy(chain(a, b))
    assert_same_bits(fastnn.from_numpy(a) @ fastnn.from_numpy(b), expected)


@pytest.mark.parametrize("k", [64, 256, 1024, 4096])
def test_error_is_at_most_twice_pytorchs(k):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(k)
    a = rng.standard_normal((40, k)).astype(np.float32)
    b = rng.standard_normal((k, 50)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    ours = np.abs((fastnn.from_numpy(a) @ fastnn.from_numpy(b)).numpy() - exact) / scale
    theirs = np.abs((torch.from_numpy(a) @ torch.from_numpy(b)).numpy() - exact) / scale
    assert ours.max() <= 2 * theirs.max()
    assert ours.mean() <= 2 * theirs.mean()
