"""Convolutions: every algorithm gives what PyTorch gives, and the same bits whatever
surrounds a sample."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
import fastnn.nn.functional as F
from fastnn import _core, nn
from fastnn.ops.convolution import ALGORITHMS

CONV, TRANSPOSE, WEIGHT = (
    _core.op_named(name) for name in ("conv", "conv_transpose", "conv_weight")
)


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def three(x, w, gy, layer, algorithm="auto"):
    """y, gx and gw of a layer (stride, padding, dilation, groups) by one algorithm."""
    x, w, gy = (fastnn.from_numpy(np.ascontiguousarray(a)) for a in (x, w, gy))
    attrs = (*layer, ALGORITHMS[algorithm])
    return [
        CONV(x, w, None, *attrs).numpy(),
        TRANSPOSE(gy, w, None, *attrs, x.shape[2:]).numpy(),
        WEIGHT(x, gy, *attrs, w.shape[2:]).numpy(),
    ]


# ---- against PyTorch ---------------------------------------------------------------------


def layers(count, seed):
    """Random layers (name, batch, sizes, channels, kernel, ...) over the argument range."""
    rng = random.Random(seed)
    while count:
        dims = rng.choice((1, 2, 2))
        groups = rng.choice((1, 1, 1, 2, 3))
        kernel = [rng.choice((1, 2, 3, 3, 4, 5, 7)) for _ in range(dims)]
        stride = [rng.choice((1, 1, 2, 3)) for _ in range(dims)]
        dilation = [rng.choice((1, 1, 2)) for _ in range(dims)]
        padding = [rng.choice((0, 1, 2, 3)) for _ in range(dims)]
        size = [rng.randint(1, 19) for _ in range(dims)]
        ci, co = groups * rng.choice((1, 2, 5, 17)), groups * rng.choice((1, 3, 8, 33))
        if rng.random() < 0.2:
            groups, co = ci, ci * rng.choice((1, 2))
        if all(
            n + 2 * p >= d * (k - 1) + 1
            for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)
        ):
            count -= 1
            yield (
                dims,
                rng.randint(1, 4),
                size,
                ci,
                co,
                groups,
                kernel,
                stride,
                padding,
                dilation,
            )


def name_of(case):
    dims, n, size, ci, co, groups, kernel, stride, padding, dilation = case
    text = "x".join(map(str, size))
    return (
        f"{dims}d-{n}x{ci}x{text}-{co}g{groups}-k{kernel}s{stride}p{padding}d{dilation}"
    )


@pytest.fixture
def precise():
    fastnn.set_precise_convolution(True)
    yield
    fastnn.set_precise_convolution(False)


def worst(value, exact):
    """The largest error, as a share of the largest number."""
    return np.abs(value - exact).max(initial=0) / max(
        np.abs(exact).max(initial=0), 1e-30
    )


def compare(ours, theirs, inputs):
    """Results and gradients: errors against float64, measured by the sums of absolute
    products, at most twice PyTorch's, or two roundings."""
    torch = pytest.importorskip("torch")

    def of(lib, f, dtype, sign=lambda a: a):
        given = [sign(np.asarray(a, dtype)) for a in inputs]
        if lib is torch:
            xs = [torch.from_numpy(a.copy()).requires_grad_() for a in given]
        else:
            xs = [fastnn.tensor(a, requires_grad=True) for a in given]
        y = f(*xs)
        y.backward(lib.from_numpy(sign(normal(*y.shape, seed=9).astype(dtype))))
        return [y.detach().numpy(), *(x.grad.numpy() for x in xs)]

    exact = of(torch, theirs, np.float64)
    sums = of(torch, theirs, np.float64, np.abs)
    expected = of(torch, theirs, np.float32)
    results = of(fastnn, ours, np.float32), of(fastnn, ours, np.float64)
    for a, a64, b, c, scale in zip(*results, expected, exact, sums, strict=True):
        assert a.shape == c.shape
        scale = np.maximum(scale, 1e-30)
        error = np.abs(a - c) / scale
        assert error.max() <= 2 * (np.abs(b - c) / scale).max() + 2.4e-7
        assert (np.abs(a64 - c) / scale).max() <= 1e-15


@pytest.mark.parametrize("case", [*layers(130, 1)], ids=name_of)
def test_convolution_is_pytorchs(case, precise):
    torch = pytest.importorskip("torch")
    dims, n, size, ci, co, groups, kernel, stride, padding, dilation = case
    inputs = [normal(n, ci, *size), normal(co, ci // groups, *kernel), normal(co)]
    ours = getattr(F, f"conv{dims}d")
    theirs = getattr(torch.nn.functional, f"conv{dims}d")
    args = tuple(stride), tuple(padding), tuple(dilation), groups
    compare(lambda *x: ours(*x, *args), lambda *x: theirs(*x, *args), inputs)


@pytest.mark.parametrize("case", [*layers(90, 2)], ids=name_of)
def test_transposed_convolution_is_pytorchs(case, precise):
    torch = pytest.importorskip("torch")
    dims, n, size, ci, co, groups, kernel, stride, padding, dilation = case
    extra = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
    result = [
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, s, p, d, k, e in zip(
            size, stride, padding, dilation, kernel, extra, strict=True
        )
    ]
    if min(result) < 1:
        pytest.skip("nothing would be left")
    inputs = [normal(n, ci, *size), normal(ci, co // groups, *kernel), normal(co)]
    ours = getattr(F, f"conv_transpose{dims}d")
    theirs = getattr(torch.nn.functional, f"conv_transpose{dims}d")
    args = tuple(stride), tuple(padding), tuple(extra), groups, tuple(dilation)
    compare(lambda *x: ours(*x, *args), lambda *x: theirs(*x, *args), inputs)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_and_valid(kernel, dilation):
    torch = pytest.importorskip("torch")
    inputs = [normal(2, 3, 9, 8), normal(4, 3, kernel, kernel), normal(4)]
    for padding in ("same", "valid"):
        if padding == "valid" and dilation * (kernel - 1) + 1 > 8:
            continue
        args = 1, padding, dilation
        compare(
            lambda *x, a=args: F.conv2d(*x, *a),
            lambda *x, a=args: torch.nn.functional.conv2d(*x, *a),
            inputs,
        )
    with pytest.raises(
        ValueError, match="conv2d: expected stride 1 with padding='same'"
    ):
        F.conv2d(*map(fastnn.from_numpy, inputs), 2, "same")


# ---- Winograd ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [(2, 64, 28, 28, 64), (1, 256, 14, 14, 96), (3, 512, 7, 7, 64), (2, 17, 9, 31, 33)],
)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_winograd_stays_within_its_bound(shape, padding, stride):
    n, ci, h, w, co = shape
    x = np.maximum(normal(n, ci, h, w), 0)  # as a ReLU leaves them
    weight = normal(co, ci, 3, 3) * np.float32((2 / (9 * ci)) ** 0.5)
    layer = (stride, stride), (padding,) * 4, (1, 1), 1
    gy = normal(n, co, *((size + 2 * padding - 3) // stride + 1 for size in (h, w)))
    got = three(x, weight, gy, layer, "winograd")
    exact = three(*(a.astype(np.float64) for a in (x, weight, gy)), layer, "gemm")
    assert all(worst(a, b) <= 2e-5 for a, b in zip(got, exact, strict=True))


def test_precise_convolution_is_a_choice():
    x, w = (fastnn.from_numpy(normal(*s)) for s in ((2, 32, 12, 12), (32, 32, 3, 3)))
    layer = (1, 1), (1, 1, 1, 1), (1, 1), 1

    def by(algorithm):
        return CONV(x, w, None, *layer, ALGORITHMS[algorithm]).numpy()

    assert (by("auto") == by("winograd")).all() and (by("auto") != by("gemm")).any()
    assert_same_bits(by("precise"), by("gemm"))
    conv = fastnn.compile(lambda x: F.conv2d(x, w, padding=1))
    for _ in range(4):
        assert_same_bits(conv(x).numpy(), by("winograd"))
    try:
        fastnn.set_precise_convolution(True)
        assert_same_bits(F.conv2d(x, w, padding=1).numpy(), by("gemm"))
        for _ in range(4):  # a plan of its own
            assert_same_bits(conv(x).numpy(), by("gemm"))
    finally:
        fastnn.set_precise_convolution(False)
    assert_same_bits(conv(x).numpy(), by("winograd"))
    with pytest.raises(
        TypeError, match="set_precise_convolution: expected mode as a bool"
    ):
        fastnn.set_precise_convolution(1)


def test_the_choice_depends_on_a_sample_alone():
    def chosen(n, ci=64, co=64, size=28, stride=1, groups=1, kernel=3, dtype=4):
        layer = (stride,) * 2, (1,) * 4, (1, 1), groups, 0
        shapes = (n, ci, size, size), (co, ci // groups, kernel, kernel)
        code = _core.convolution_algorithm(CONV, dtype, shapes, layer)
        return next(name for name, c in ALGORITHMS.items() if c == code)

    assert {chosen(n) for n in (1, 2, 64, 1000)} == {"winograd"}
    assert chosen(8, stride=2) == "winograd"
    assert chosen(8, stride=3) == chosen(8, kernel=5) == "gemm"
    assert chosen(8, dtype=5) == "gemm"  # float64
    assert chosen(8, groups=64) == "depthwise"
    line = ((1,), (1, 1), (1,), 1, 0)
    code = _core.convolution_algorithm(CONV, 4, ((8, 64, 99), (64, 64, 3)), line)
    assert code == ALGORITHMS["gemm"]  # never for sequences, which may be streamed
    chosen_layer = (3, 3), (1,) * 4, (1, 1), 1, ALGORITHMS["winograd"]
    with pytest.raises(ValueError, match="a layer that algorithm winograd can compute"):
        CONV(fastnn.ones(1, 1, 5, 5), fastnn.ones(1, 1, 3, 3), None, *chosen_layer)


def test_explain_names_the_algorithm():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    deep = nn.Conv2d(16, 16, 3, groups=16)
    f = fastnn.compile(lambda x: deep(conv(x)[..., :7]))
    for _ in range(4):
        f(fastnn.ones(2, 16, 8, 8))
    text = f.plans[0].explain()
    assert "algorithm=winograd" in text and "algorithm=depthwise" in text


# ---- bits --------------------------------------------------------------------------------

LAYERS = {
    "gemm": ((5, 20, 13, 11), (37, 20, 3, 3), ((1, 1), (1, 1, 1, 1), (1, 1), 1)),
    "gemm, stride 2": ((3, 33, 15, 18), (40, 33, 3, 4), ((2, 2), (1, 1, 1, 1), (1, 1), 1)),
    "gemm, groups": ((3, 12, 15, 18), (40, 3, 5, 3), ((1, 2), (2, 1, 0, 1), (2, 1), 4)),
    "gemm, a point": ((9, 70, 7, 7), (50, 70, 1, 1), ((1, 1), (0,) * 4, (1, 1), 1)),
    "gemm, deep": ((2, 130, 6, 5), (470, 130, 3, 3), ((1, 1), (1,) * 4, (1, 1), 1)),
    "gemm, few results": ((3, 40, 17, 21), (5, 40, 3, 3), ((1, 1), (0,) * 4, (1, 1), 1)),
    "gemm, a stem": ((2, 3, 33, 38), (40, 3, 7, 7), ((2, 2), (3,) * 4, (1, 1), 1)),
    "gemm, patches": ((2, 3, 90, 93), (8, 3, 15, 15), ((15, 15), (0,) * 4, (1, 1), 1)),
    "gemm, holes": ((3, 5, 13, 90), (7, 5, 2, 3), ((3, 5), (0, 0, 2, 2), (1, 2), 1)),
    "gemm, a column": ((2, 3, 9, 1), (8, 3, 3, 1), ((2, 2), (1, 1, 0, 0), (1, 1), 1)),
    "gemm, wide points": ((2, 300, 9, 27), (330, 300, 1, 1), ((1, 1), (0,) * 4, (1, 1), 1)),
    "winograd": ((5, 40, 13, 11), (37, 40, 3, 3), ((1, 1), (1, 1, 1, 1), (1, 1), 1)),
    "winograd, stride 2": ((5, 40, 13, 11), (37, 40, 3, 3), ((2, 2), (1,) * 4, (1, 1), 1)),
    "depthwise": ((3, 20, 13, 19), (40, 1, 3, 3), ((1, 1), (1, 1, 1, 1), (1, 1), 20)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_bits(name, as_before):
    shape, kernel, layer = LAYERS[name]
    algorithm = name.split(",")[0]
    x, w = normal(*shape), normal(*kernel)
    y = CONV(*map(fastnn.from_numpy, (x, w)), None, *layer, ALGORITHMS[algorithm])
    gy = normal(*y.shape, seed=1)
    fastnn.set_num_threads(1)
    first = three(x, w, gy, layer, algorithm)
    for isa, threads in itertools.product(_core.isas(), (1, 2, 5)):
        _core.set_isa(isa)
        fastnn.set_num_threads(threads)
        assert_same_bits(three(x, w, gy, layer, algorithm), first, f"{isa} {threads}")
    for part in (slice(0, 1), slice(1, 3), slice(-1, None)):  # other neighbours
        some = three(x[part], w, gy[part], layer, algorithm)
        assert_same_bits(some[:2], [r[part] for r in first[:2]])


@pytest.mark.parametrize("algorithm", ["gemm", "winograd", "depthwise"])
@pytest.mark.parametrize("act", [0, 1, 2, 3, 4])
def test_epilogue_is_what_ops_give(algorithm, act):
    groups = 18 if algorithm == "depthwise" else 1
    x, w = normal(3, 18, 9, 10), normal(18, 18 // groups, 3, 3)
    bias, scale, shift = (fastnn.from_numpy(normal(18, seed=s)) for s in (1, 2, 3))
    residual = fastnn.from_numpy(normal(3, 18, 9, 10, seed=4))
    attrs = (1, 1), (1, 1, 1, 1), (1, 1), groups, ALGORITHMS[algorithm]
    x, w = map(fastnn.from_numpy, (x, w))
    y = CONV(x, w, bias, *attrs)
    y = _core.op_named("scale_shift")(y, scale, shift, residual, 0)
    name = (None, "relu", "sigmoid", "tanh", "gelu")[act]
    y = y if name is None else _core.op_named(name)(y)
    fused = _core.op_named("conv_act")(x, w, bias, scale, shift, residual, *attrs, act)
    assert_same_bits(fused.numpy(), y.numpy())


# ---- layers ------------------------------------------------------------------------------

MODULES = [
    ("Conv1d", (4, 6, 3), {}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}, (4, 9)),
    ("Conv2d", (4, 6, 3), {}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, (3, 2)), {"bias": False, "padding": "same"}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"stride": (2, 1), "padding": (0, 2)}, (4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"padding": 1, "padding_mode": "reflect"}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"padding": 2, "padding_mode": "circular"}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 2), {"padding": "same", "padding_mode": "replicate"}, (2, 4, 9, 8)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 3, "output_padding": 2}, (2, 4, 9)),
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 5, 6)),
    (
        "ConvTranspose2d",
        (4, 6, 3),
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 2},
        (2, 4, 5, 6),
    ),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_are_pytorchs(module, precise):
    torch = pytest.importorskip("torch")
    name, args, options, shape = module
    ours, theirs = (getattr(lib, name)(*args, **options) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: v.numpy() for k, v in state.items()})
    x = normal(*shape)
    y = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(
        ours(fastnn.from_numpy(x)).detach().numpy(), y, rtol=1e-5, atol=1e-5
    )


def test_first_values():
    fastnn.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3)
    bound = (16 * 9) ** -0.5
    w = layer.weight.detach().numpy()
    assert np.abs(w).max() <= bound and np.abs(w).max() > 0.99 * bound
    assert np.abs(layer.bias.detach().numpy()).max() <= bound


def test_output_size():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = fastnn.ones(1, 2, 5, 5)
    for size in (9, 10):
        assert layer(x, output_size=(size, size)).shape == (1, 3, size, size)
    with pytest.raises(
        ValueError, match=r"output_size from \(9, 9\) to \(10, 10\), got"
    ):
        layer(x, output_size=(11, 9))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: expected kernel_size"),
        (lambda: nn.Conv2d(3, 4, "3"), TypeError, "Conv2d: expected kernel_size as an int"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "kernel_size of 2 numbers, got 3"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels that groups=2"),
        (lambda: nn.Conv2d(2, 3, 3, groups=2), ValueError, "out_channels that groups=2"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, "padding of at least 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ValueError, "'same' or 'valid'"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="wrap"), ValueError, "padding_mode out of"),
        (lambda: nn.Conv2d(3, 4, 3, dtype=fastnn.int64), TypeError, "float32 or float64"),
        (
            lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"),
            ValueError,
            "padding_mode out of",
        ),
        (
            lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1)(fastnn.ones(1, 3, 4, 4)),
            ValueError,
            "output_padding below stride or dilation",
        ),
        (
            lambda: nn.Conv2d(3, 4, 3)(fastnn.ones(1, 2, 8, 8)),
            ValueError,
            r"conv: expected x with 3 channels .*got shape \(1, 2, 8, 8\)",
        ),
        (
            lambda: nn.Conv2d(3, 4, 5)(fastnn.ones(1, 3, 4, 8)),
            ValueError,
            "padded input of at least 5",
        ),
        (
            lambda: nn.Conv2d(3, 4, 3)(fastnn.ones(3, 8)),
            ValueError,
            r"conv2d: expected input of shape \(n, channels, height, width\)",
        ),
        (
            lambda: nn.Conv2d(3, 4, 3)(fastnn.ones(1, 3, 8, 8, dtype=fastnn.float64)),
            TypeError,
            "one dtype",
        ),
    ],
)  # fmt: skip
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_special_values():
    x = np.zeros((1, 2, 6, 6), np.float32)
    x[0, 0, 2, 2], x[0, 1, 4, 4] = np.nan, np.inf
    w = np.ones((3, 2, 3, 3), np.float32)
    y = F.conv2d(*map(fastnn.from_numpy, (x, w)), padding=1).numpy()
    assert np.isnan(y[0, :, 1:4, 1:4]).all() and np.isinf(y[0, :, 5, 5]).all()
    assert (y[0, :, 0, :] == 0).all()
