"""Depthwise convolution: borders, strides, tiles, multipliers, epilogues and bits.

The generic tests have small layers; here are the shapes at which the algorithm changes its
path: rows shorter than a vector and longer, planes of several tiles, phases of a stride.
"""

import numpy as np
import pytest

import fastnn
from fastnn import _core
from fastnn.nn import functional as F
from fastnn.ops._registry import REFERENCES, op
from fastnn.ops.convolution import ALGORITHMS

_ops = {
    name: op(name) for name in ("conv", "conv_act", "conv_transpose", "conv_weight")
}

# image, outputs a channel, kernel, stride, padding (before, after), dilation
LAYERS = {
    "same": ((2, 3, 21, 19), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "short rows": ((2, 5, 7, 7), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "one column": ((2, 2, 9, 1), 1, (3, 1), (1, 1), (1, 1, 0, 0), (1, 1)),
    "few rows": ((1, 2, 3, 40), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "valid": ((1, 3, 20, 35), 1, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1)),
    "large kernel": ((1, 2, 15, 14), 1, (7, 9), (1, 1), (3, 3, 4, 4), (1, 1)),
    "two wide": ((1, 2, 9, 20), 1, (4, 2), (1, 1), (2, 1, 1, 0), (1, 1)),
    "stride 2": ((2, 3, 28, 37), 1, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "stride 2, short": ((2, 3, 14, 14), 1, (5, 5), (2, 2), (2, 2, 2, 2), (1, 1)),
    "stride 3 and 4": ((1, 2, 20, 33), 1, (3, 5), (3, 4), (0, 2, 1, 0), (1, 1)),
    "pixels left out": ((1, 2, 12, 12), 1, (1, 1), (3, 2), (0, 0, 0, 0), (1, 1)),
    "dilated": ((1, 3, 19, 22), 1, (3, 3), (1, 1), (2, 2, 3, 3), (2, 3)),
    "dilated, strided": ((1, 2, 19, 22), 1, (3, 2), (2, 3), (2, 1, 0, 3), (3, 2)),
    "multiplier": ((2, 3, 12, 18), 3, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "multiplier, strided": ((2, 2, 9, 11), 2, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "padding beyond": ((1, 2, 3, 2), 1, (3, 3), (1, 1), (5, 4, 6, 3), (1, 1)),
    "causal": ((2, 3, 1, 70), 1, (1, 4), (1, 1), (0, 0, 3, 0), (1, 1)),
    "tiles of rows": ((1, 2, 150, 60), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "tiles of columns": ((1, 2, 6, 1100), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "tiles, strided": ((1, 2, 70, 1300), 1, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
}


def operands(name, dtype):
    """x, weight, gy, the arguments of the rows, and x's and the kernel's size."""
    shape, multiplier, kernel, stride, padding, dilation = LAYERS[name]
    channels = shape[1]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    weight = rng.standard_normal((channels * multiplier, 1, *kernel)).astype(dtype)
    layer = (stride, padding, dilation, channels, ALGORITHMS["depthwise"])
    y = REFERENCES["conv"](x.astype(float), weight.astype(float), None, *layer[:4])
    gy = rng.standard_normal(y.shape).astype(dtype)
    return x, weight, gy, layer


def calls(name, dtype):
    """The three rows of a layer: operands and attributes."""
    x, weight, gy, layer = operands(name, dtype)
    return {
        "conv": ((x, weight, None), layer),
        "conv_transpose": ((gy, weight, None), (*layer, x.shape[2:])),
        "conv_weight": ((x, gy), (*layer, weight.shape[2:])),
    }


def run(row, arrays, attributes):
    inputs = [None if a is None else fastnn.from_numpy(a) for a in arrays]
    return _ops[row](*inputs, *attributes).numpy()


@pytest.fixture
def kernels():
    """Puts kernels and threads back."""
    isa, threads = fastnn.isa(), fastnn.get_num_threads()
    yield
    _core.set_isa(isa)
    fastnn.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_bits(name, dtype, kernels):
    """Each direction against float64, and the same bits on every tier and thread count."""
    for row, (arrays, attributes) in calls(name, dtype).items():
        wide = [None if a is None else a.astype(float) for a in arrays]
        expected = REFERENCES[row](*wide, *attributes)
        size = REFERENCES[row](
            *[None if a is None else np.abs(a) for a in wide], *attributes
        )
        seen = set()
        for isa in _core.isas():
            _core.set_isa(isa)
            for threads in (1, 3):
                fastnn.set_num_threads(threads)
                result = run(row, arrays, attributes)
                seen.add(result.tobytes())
        assert result.shape == expected.shape
        assert len(seen) == 1, f"{row}: bits differ"
        worst = np.abs(result - expected).max()
        assert worst <= 8 * np.finfo(dtype).eps * size.max(), row


@pytest.mark.parametrize(
    "name", ["same", "short rows", "stride 2", "multiplier", "causal"]
)
@pytest.mark.parametrize("activation", range(5))
def test_epilogue(name, activation):
    """Any subset of bias, scale and shift, residual; then each activation."""
    x, weight, gy, layer = operands(name, np.float64)
    rng = np.random.default_rng(1)
    for some in range(8):
        bias, scale, shift = rng.standard_normal((3, len(weight)))
        arrays = [
            x,
            weight,
            bias if some & 1 else None,
            scale if some & 2 else None,
            shift if some & 2 else None,
            rng.standard_normal(gy.shape) if some & 4 else None,
        ]
        attributes = (*layer, activation)
        np.testing.assert_allclose(
            run("conv_act", arrays, attributes),
            REFERENCES["conv_act"](*arrays, *attributes),
            rtol=1e-11,
            atol=1e-12,
        )


@pytest.mark.parametrize("name", ["same", "short rows", "valid", "stride 2"])
def test_neighbours_stay_out(name):
    """An image or channel of NaN, before or behind, changes no bit of another one."""
    x, weight, gy, layer = operands(name, np.float32)
    attributes = {
        "conv": layer,
        "conv_transpose": (*layer, x.shape[2:]),
        "conv_weight": (*layer, weight.shape[2:]),
    }
    a, b = {"conv": x, "conv_transpose": gy, "conv_weight": x}, weight
    for row in attributes:
        clean = run(row, (a[row], gy) if row == "conv_weight" else (a[row], b, None),
                    attributes[row])  # fmt: skip
        bad = a[row].copy()
        bad[:, ::2] = np.nan
        dirty = run(row, (bad, gy) if row == "conv_weight" else (bad, b, None),
                    attributes[row])  # fmt: skip
        part = np.s_[1::2] if row == "conv_weight" else np.s_[:, 1::2]
        assert dirty[part].tobytes() == clean[part].tobytes(), row
        assert np.isnan(dirty).any()


def test_large_layers():
    """What is large enough for the next plane to be fetched meanwhile: images one by one."""
    rng = np.random.default_rng(0)
    shape, channels = (5, 8, 160, 164), 8
    for multiplier, stride in ((1, 1), (2, 1), (1, 2)):
        x = rng.standard_normal(shape, np.float32)
        weight = rng.standard_normal((channels * multiplier, 1, 3, 3), np.float32)
        layer = ((stride, stride), (1,) * 4, (1, 1), channels, ALGORITHMS["depthwise"])
        y = run("conv", (x, weight, None), layer)
        gx = run("conv_transpose", (y, weight, None), (*layer, shape[2:]))
        gw = run("conv_weight", (x, y), (*layer, (3, 3)))
        apart = np.zeros(gw.shape)
        for i in range(shape[0]):
            one = slice(i, i + 1)
            assert (
                run("conv", (x[one], weight, None), layer).tobytes() == y[one].tobytes()
            )
            back = run("conv_transpose", (y[one], weight, None), (*layer, shape[2:]))
            assert back.tobytes() == gx[one].tobytes()
            apart += run("conv_weight", (x[one], y[one]), (*layer, (3, 3)))
        np.testing.assert_allclose(gw, apart, rtol=1e-4, atol=0.05)


def test_infinite_pixels_stay_where_they_are():
    """What lies past the end of a row in scratch does not reach a weight gradient."""
    x = np.ones((1, 2, 5, 7), np.float32)
    x[..., -1] = np.inf
    gy = np.ones((1, 2, 5, 5), np.float32)
    layer = ((1, 1), (0, 0, 0, 0), (1, 1), 2, ALGORITHMS["depthwise"], (1, 3))
    gw = run("conv_weight", (x, gy), layer)
    assert gw[..., :2].tolist() == [[[[25.0, 25.0]]]] * 2
    assert np.isinf(gw[..., 2]).all()


def test_function_and_gradients():
    """conv2d takes this algorithm, forward and backward."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 4, 9, 8), (8, 1, 3, 3), (8,))]
    x, weight, bias = (fastnn.tensor(a, requires_grad=True) for a in arrays)
    y = F.conv2d(x, weight, bias, stride=2, padding=1, groups=4)
    layer = ((2, 2), (1, 1, 1, 1), (1, 1), 4)
    np.testing.assert_allclose(
        y.detach().numpy(), REFERENCES["conv"](*arrays, *layer), rtol=1e-12, atol=1e-13
    )
    gy = rng.standard_normal(tuple(y.shape))
    y.backward(fastnn.tensor(gy))
    forced = (*layer, ALGORITHMS["depthwise"])
    gx = run("conv_transpose", (gy, arrays[1], None), (*forced, (9, 8)))
    gw = run("conv_weight", (arrays[0], gy), (*forced, (3, 3)))
    assert x.grad.numpy().tobytes() == gx.tobytes()
    assert weight.grad.numpy().tobytes() == gw.tobytes()
    np.testing.assert_allclose(bias.grad.numpy(), gy.sum((0, 2, 3)), rtol=1e-12)


def test_refused_elsewhere():
    """Asked for where a group has several channels."""
    x, weight = fastnn.ones(1, 4, 3, 3), fastnn.ones(4, 2, 1, 1)
    with pytest.raises(ValueError, match="algorithm depthwise can compute"):
        _ops["conv"](
            x, weight, None, (1, 1), (0, 0, 0, 0), (1, 1), 2, ALGORITHMS["depthwise"]
        )
