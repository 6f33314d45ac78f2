"""Winograd convolution, forward and both gradients, against direct sums in float64; and its
bits over ISAs, threads, batches and alignment."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits, laid_out

import fastnn
from fastnn import _core
from fastnn.ops._registry import REFERENCES, op
from fastnn.ops.convolution import ALGORITHMS
from fastnn.ops.products import ACTIVATIONS

WINOGRAD = ALGORITHMS["winograd"]
LIMIT = 2e-5  # error, of the largest result

# n, ci, h, w, co, padding (top, bottom, left, right)
LAYERS = [
    (1, 1, 1, 1, 1, (1, 1, 1, 1)),
    (2, 3, 5, 7, 5, (1, 1, 1, 1)),
    (1, 16, 4, 4, 32, (1, 1, 1, 1)),
    (3, 17, 9, 11, 33, (0, 1, 2, 0)),  # lanes and panels begun
    (2, 5, 3, 70, 7, (2, 2, 3, 4)),  # wider than the scratch, more zeros than a kernel
    (2, 2, 1, 1, 3, (6, 7, 5, 5)),  # tiles of zeros alone
    (2, 70, 7, 7, 40, (1, 1, 1, 1)),  # two blocks of inputs
    (12, 16, 14, 13, 20, (1, 1, 1, 1)),  # blocks of tiles across images; two chains
    (1, 300, 8, 7, 130, (1, 1, 1, 1)),  # panels of filters outside
    (10, 200, 6, 6, 180, (1, 1, 1, 1)),
    (0, 4, 6, 6, 4, (1, 1, 1, 1)),
    (2, 0, 6, 6, 4, (1, 1, 1, 1)),
    (2, 4, 6, 6, 0, (1, 1, 1, 1)),
]
# more tiles than are transformed together, of results and of the weight gradient
MANY = (18, 200, 14, 13, 160, (1, 1, 1, 1))
DIRECTIONS = ["forward", "input", "weight"]
NAMES = {"forward": "conv", "input": "conv_transpose", "weight": "conv_weight"}


@pytest.fixture(params=[1, 2], ids=["stride1", "stride2"])
def stride(request):
    return request.param


def operands(layer, stride, relu=False):
    """x, weight and gy of a layer, as training has them; and what all calls end with."""
    n, ci, h, w, co, (top, bottom, left, right) = layer
    rng = np.random.default_rng(n + 10 * ci + 100 * co + h)
    draw = rng.standard_normal
    x = np.maximum(draw((n, ci, h, w)), 0) if relu else draw((n, ci, h, w))
    weight = draw((co, ci, 3, 3)) * np.sqrt(2 / (9 * max(ci, 1)))
    oh, ow = ((size - 3) // stride + 1 for size in (h + top + bottom, w + left + right))
    gy = draw((n, co, oh, ow))
    attrs = ([stride, stride], [top, bottom, left, right], [1, 1], 1)
    return [a.astype(np.float32) for a in (x, weight, gy)], attrs


def arguments(direction, layer, stride, relu=False, layout=""):
    """What a direction reads, and its attributes with the algorithm left out."""
    (x, weight, gy), attrs = operands(layer, stride, relu)
    x, weight, gy = (laid_out(a, layout) for a in (x, weight, gy))
    if direction == "forward":
        return [x, weight, None], attrs, ()
    if direction == "input":
        return [gy, weight, None], attrs, (list(x.shape[2:]),)
    return [x, gy], attrs, ([3, 3],)


def run(direction, args, attrs, size):
    given = [a if a is None else fastnn.from_numpy(a) for a in args]
    return op(NAMES[direction])(*given, *attrs, WINOGRAD, *size).numpy()


def reference(direction, args, attrs, size):
    exact = [a if a is None else a.astype(np.float64) for a in args]
    return REFERENCES[NAMES[direction]](*exact, *attrs, WINOGRAD, *size)


def assert_near(got, expected):
    assert got.shape == expected.shape and got.dtype == np.float32
    if got.size:
        assert np.abs(got - expected).max() <= LIMIT * np.abs(expected).max()


@pytest.mark.parametrize("relu", [False, True], ids=["normal", "relu"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layer", [*LAYERS, MANY], ids=str)
def test_against_direct_sums(layer, direction, relu, stride):
    call = arguments(direction, layer, stride, relu)
    assert_near(run(direction, *call), reference(direction, *call))


@pytest.mark.bits
@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_bits(layer, direction, stride):
    fastnn.set_num_threads(1)
    expected = run(direction, *arguments(direction, layer, stride))
    for isa in _core.isas():
        _core.set_isa(isa)
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            for layout in ("", "misaligned"):
                call = arguments(direction, layer, stride, layout=layout)
                got = run(direction, *call)
                what = f"{isa}, {threads} threads, {layout}"
                assert_same_bits(
                    fastnn.from_numpy(got), fastnn.from_numpy(expected), what
                )


@pytest.mark.bits
@pytest.mark.parametrize("direction", ["forward", "input"])
@pytest.mark.parametrize("layer", [s for s in [*LAYERS, MANY] if s[0] > 1], ids=str)
def test_neighbours_do_not_matter(layer, direction, stride):
    args, *rest = arguments(direction, layer, stride)
    together = run(direction, args, *rest)
    for i in range(layer[0]):
        alone = run(direction, [args[0][i : i + 1].copy(), *args[1:]], *rest)
        assert_same_bits(
            fastnn.from_numpy(together[i : i + 1]), fastnn.from_numpy(alone)
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("given", ["bias", "scale", "residual", "all"])
def test_what_follows_the_sum(given, activation, stride):
    layer = (2, 18, 9, 8, 21, (1, 1, 1, 1))
    (x, weight, gy), attrs = operands(layer, stride)
    rng = np.random.default_rng(5)
    bias, scale, shift = rng.standard_normal((3, 21)).astype(np.float32)
    residual = rng.standard_normal(gy.shape).astype(np.float32)
    follows = [
        bias if given in ("bias", "all") else None,
        scale if given in ("scale", "all") else None,
        shift if given in ("scale", "all") else None,
        residual if given in ("residual", "all") else None,
    ]
    call = [*attrs, WINOGRAD, ACTIVATIONS[activation]]
    tensors = [a if a is None else fastnn.from_numpy(a) for a in (x, weight, *follows)]
    got = op("conv_act")(*tensors, *call).numpy()
    exact = [a if a is None else a.astype(np.float64) for a in (x, weight, *follows)]
    assert_near(got, REFERENCES["conv_act"](*exact, *call))
    if given == "bias" and activation is None:
        plain = op("conv")(*tensors[:3], *attrs, WINOGRAD)
        assert_same_bits(fastnn.from_numpy(got), plain)


def test_every_input_reaches_its_outputs_alone(stride):
    """One pixel at a time: its neighbours, and no other image."""
    x = np.zeros((2, 16, 9, 10), np.float32)
    weight = np.ones((16, 16, 3, 3), np.float32)
    attrs = ([stride, stride], [1, 1, 1, 1], [1, 1], 1)
    for i, j in ((0, 0), (3, 4), (4, 3), (8, 9)):
        x[...] = 0
        x[0, 3, i, j] = 1
        y = run("forward", [x, weight, None], attrs, ())
        near = np.zeros((9, 10), bool)
        near[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = True
        near = near[::stride, ::stride]
        assert np.abs(y[0, :, near] - 1).max() < 1e-5
        assert np.abs(y[0, :, ~near]).max() < 1e-5
        assert not y[1].any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_image(value):
    x = np.ones((3, 16, 8, 8), np.float32)
    x[1, 0, 4, 4] = value
    weight = np.ones((16, 16, 3, 3), np.float32)
    y = run("forward", [x, weight, None], ([1, 1], [1, 1, 1, 1], [1, 1], 1), ())
    assert np.isfinite(y[[0, 2]]).all()
    assert not np.isfinite(y[1, :, 3:6, 3:6]).any()


def test_it_is_chosen_by_the_sample_alone():
    weight = fastnn.ones(64, 64, 3, 3)
    layer = ([1, 1], [1, 1, 1, 1], [1, 1], 1)
    rng = np.random.default_rng(1)
    x = fastnn.from_numpy(rng.standard_normal((3, 64, 8, 8)).astype(np.float32))
    chosen = op("conv")(x, weight, None, *layer, ALGORITHMS["auto"])
    assert_same_bits(chosen, op("conv")(x, weight, None, *layer, WINOGRAD))
    alone = op("conv")(x[:1], weight, None, *layer, ALGORITHMS["auto"])
    assert_same_bits(chosen[:1], alone)
    with pytest.raises(ValueError, match="winograd"):
        op("conv")(x, weight, None, [3, 3], *layer[1:], WINOGRAD)
    with pytest.raises(ValueError, match="winograd"):
        op("conv")(x, weight, None, [2, 1], *layer[1:], WINOGRAD)
