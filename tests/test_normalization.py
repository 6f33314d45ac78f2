"""Layers and functions of normalisation: values, options, state, text, and what they
refuse."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
import fastnn.nn.functional as F
from fastnn import _core, nn
from fastnn.autograd import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float64):
    return RNG.standard_normal(shape).astype(dtype)


def normed(x, dims, eps=1e-5):
    mean = x.mean(dims, keepdims=True)
    return (x - mean) / np.sqrt(x.var(dims, keepdims=True) + eps)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.BatchNorm1d, (6, 3)),
        (nn.BatchNorm1d, (4, 3, 5)),
        (nn.BatchNorm2d, (2, 3, 4, 5)),
        (nn.BatchNorm2d, (1, 3, 4, 5)),
    ],
)
def test_batch_norm(kind, shape):
    layer = kind(3, eps=1e-3, momentum=0.25, dtype=fastnn.float64)
    w, b = normal(3), normal(3)
    layer.load_state_dict({**layer.state_dict(), "weight": w, "bias": b})
    dims = (0, *range(2, len(shape)))
    along = (3,) + (1,) * (len(shape) - 2)
    mean, variance = np.zeros(3), np.ones(3)
    for k in range(1, 4):
        x = normal(*shape) * 3 + 5
        y = layer(fastnn.tensor(x)).detach().numpy()
        wanted = normed(x, dims, 1e-3) * w.reshape(along) + b.reshape(along)
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
        mean = 0.75 * mean + 0.25 * x.mean(dims)
        variance = 0.75 * variance + 0.25 * x.var(dims, ddof=1)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-13)
        np.testing.assert_allclose(layer.running_var.numpy(), variance, rtol=1e-13)
        assert int(layer.num_batches_tracked) == k
    layer.eval()
    y = layer(fastnn.tensor(x)).detach().numpy()
    scale = w / np.sqrt(variance + 1e-3)
    wanted = x * scale.reshape(along) + (b - mean * scale).reshape(along)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
    assert int(layer.num_batches_tracked) == 3


def test_momentum_none_is_the_mean_over_all_batches():
    layer = nn.BatchNorm1d(2, momentum=None, dtype=fastnn.float64)
    xs = [normal(5, 2) for _ in range(4)]
    for x in xs:
        layer(fastnn.tensor(x))
    np.testing.assert_allclose(
        layer.running_mean.numpy(), np.mean([x.mean(0) for x in xs], 0), rtol=1e-13
    )
    np.testing.assert_allclose(
        layer.running_var.numpy(),
        np.mean([x.var(0, ddof=1) for x in xs], 0),
        rtol=1e-13,
    )
    layer.reset_running_stats()
    assert int(layer.num_batches_tracked) == 0
    assert layer.running_mean.tolist() == [0, 0] and layer.running_var.tolist() == [
        1,
        1,
    ]


def test_without_running_statistics_evaluation_normalises_the_batch():
    layer = nn.BatchNorm1d(2, affine=False, track_running_stats=False).eval()
    assert list(layer.state_dict()) == [] and list(layer.parameters()) == []
    x = normal(5, 2)
    y = layer(fastnn.tensor(x, dtype=fastnn.float32)).numpy()
    np.testing.assert_allclose(y, normed(x, 0), rtol=1e-5, atol=1e-6)
    layer.reset_running_stats()


def test_state_names_and_text():
    layer = nn.BatchNorm2d(4)
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(layer.state_dict()) == names
    assert layer.num_batches_tracked.dtype is fastnn.int64
    assert layer.num_batches_tracked.shape == ()
    assert repr(layer) == (
        "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, "
        "track_running_stats=True)"
    )
    assert list(nn.BatchNorm1d(4, affine=False).state_dict()) == names[2:]
    layer = nn.LayerNorm((2, 3))
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert (
        repr(layer)
        == "LayerNorm((2, 3), eps=1e-05, elementwise_affine=True, bias=True)"
    )
    assert nn.LayerNorm(3, bias=False).bias is None
    assert nn.LayerNorm(3, elementwise_affine=False).weight is None
    layer = nn.GroupNorm(2, 4)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert repr(layer) == "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"
    assert list(nn.GroupNorm(2, 4, affine=False).state_dict()) == []
    assert list(nn.GroupNorm(2, 4, bias=False).state_dict()) == ["weight"]
    (weight,) = nn.BatchNorm1d(4, bias=False).parameters()
    assert weight.tolist() == [1] * 4


def test_what_layers_refuse():
    one = fastnn.ones
    for layer, x, match in (
        (nn.BatchNorm1d(3), one(1, 3), "more than 1 value per channel"),
        (nn.BatchNorm2d(3), one(1, 3, 1, 1), "more than 1 value per channel"),
        (nn.BatchNorm1d(3), one(3), "BatchNorm1d: expected input of 2 dimensions or 3"),
        (nn.BatchNorm1d(3), one(2, 3, 4, 5), "BatchNorm1d: expected input of 2"),
        (nn.BatchNorm2d(3), one(2, 3, 4), "BatchNorm2d: expected input of 4 dim"),
        (nn.BatchNorm2d(3), one(2, 4, 4, 4), "3 channels"),
        (nn.LayerNorm(3), one(2, 4), r"layer_norm: expected input of shape \(..., 3\)"),
        (nn.LayerNorm((2, 3)), one(3), r"\(..., 2, 3\)"),
        (nn.GroupNorm(2, 4), one(2, 6), "GroupNorm: expected input of shape"),
    ):
        with pytest.raises(ValueError, match=match):
            layer(x)
    nn.BatchNorm1d(3).eval()(one(1, 3))
    for make, error in (
        (lambda: nn.BatchNorm1d(-1), ValueError),
        (lambda: nn.BatchNorm1d(3.0), TypeError),
        (lambda: nn.BatchNorm2d(3, dtype=fastnn.int64), TypeError),
        (lambda: nn.LayerNorm(()), ValueError),
        (lambda: nn.LayerNorm(2.0), TypeError),
        (lambda: nn.GroupNorm(3, 4), ValueError),
        (lambda: nn.GroupNorm(0, 4), ValueError),
    ):
        with pytest.raises(error, match="Norm"):
            make()
    with pytest.raises(ValueError, match="running_mean and running_var in evaluation"):
        F.batch_norm(one(2, 3), None, None)
    with pytest.raises(ValueError, match="momentum from 0 to 1"):
        F.batch_norm(one(2, 3), None, None, training=True, momentum=1.5)
    with pytest.raises(TypeError, match="eps"):
        F.layer_norm(one(2, 3), 3, eps="small")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2)])
def test_batch_norm_gradients(shape, training):
    x = fastnn.tensor(normal(*shape), requires_grad=True)
    w = fastnn.tensor(normal(3), requires_grad=True)
    b = fastnn.tensor(normal(3), requires_grad=True)
    mean, variance = fastnn.tensor(normal(3)), fastnn.tensor(normal(3) ** 2 + 0.5)

    def f(x, w, b):
        return F.batch_norm(x, mean, variance, w, b, training, 0.0)

    assert gradcheck(f, [x, w, b])
    assert gradgradcheck(f, [x, w, b])
    assert gradcheck(lambda x: f(x, None, None), [x])


def test_layer_group_and_instance_norm_gradients():
    x = fastnn.tensor(normal(3, 4, 5), requires_grad=True)
    w = fastnn.tensor(normal(4, 5), requires_grad=True)
    b = fastnn.tensor(normal(4, 5), requires_grad=True)
    c = fastnn.tensor(normal(4), requires_grad=True)
    d = fastnn.tensor(normal(4), requires_grad=True)
    for f, args in (
        (lambda x, w, b: F.layer_norm(x, (4, 5), w, b), [x, w, b]),
        (lambda x, b: F.layer_norm(x, (4, 5), None, b), [x, b]),
        (lambda x, c, d: F.group_norm(x, 2, c, d), [x, c, d]),
        (lambda x, c, d: F.instance_norm(x, None, None, c, d), [x, c, d]),
    ):
        assert gradcheck(f, args) and gradgradcheck(f, args)


def test_instance_norm_running_statistics():
    x = normal(4, 3, 5)
    mean, variance = fastnn.zeros(3), fastnn.ones(3)
    F.instance_norm(fastnn.tensor(x), mean.double(), None)
    F.instance_norm(fastnn.tensor(x).float(), mean, variance, momentum=0.5)
    np.testing.assert_allclose(mean.numpy(), 0.5 * x.mean((0, 2)), atol=1e-6)
    wanted = 0.5 + 0.5 * x.var(2, ddof=1).mean(0)
    np.testing.assert_allclose(variance.numpy(), wanted, rtol=1e-5)
    y = F.instance_norm(fastnn.tensor(x).float(), mean, variance, use_input_stats=False)
    assert_same_bits(y, F.batch_norm(fastnn.tensor(x).float(), mean, variance), "same")


@pytest.mark.parametrize("mean", [0.0, 1e4, -1e6])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
@pytest.mark.parametrize("shape", [(64, 3), (8, 3, 40), (2, 3, 100, 7)])
def test_a_large_mean_costs_nothing(mean, spread, shape):
    """x - mean is exact where it is small beside x: what is left is float32's own."""
    x = (normal(*shape) * spread * max(1, abs(mean)) ** 0.5 + mean).astype(np.float32)
    dims = (0, *range(2, len(shape)))
    wanted = normed(x.astype(np.float64), dims, 0.0)
    y = F.batch_norm(fastnn.tensor(x), None, None, training=True, eps=0.0).numpy()
    assert np.abs(y - wanted).max() < 1e-6 * np.abs(wanted).max()
    rows = x.reshape(len(x), -1)
    y = F.layer_norm(fastnn.tensor(rows), rows.shape[1:], eps=0.0).numpy()
    wanted = normed(rows.astype(np.float64), 1, 0.0)
    assert np.abs(y - wanted).max() < 2e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("n", [40, 1000, 5003])
def test_what_comes_first_may_lie_far_from_the_rest(n):
    """Where sums start from is a guess, and a bad one costs nothing."""
    for first, rest in ((1e4, 1.0), (-300.0, 0.0), (1.0, 1e4)):
        x = (rest + normal(3, n) * 0.1).astype(np.float32)
        x[:, :16] = first
        wanted = normed(x.astype(np.float64), 1)
        y = F.layer_norm(fastnn.tensor(x), n).numpy()
        assert np.abs(y - wanted).max() < 1e-6 * np.abs(wanted).max()
        y = F.batch_norm(fastnn.tensor(x.reshape(1, 3, n)), None, None, training=True)
        assert np.abs(y.numpy()[0] - wanted).max() < 1e-6 * np.abs(wanted).max()
        y = F.batch_norm(fastnn.tensor(x.T.copy()), None, None, training=True).numpy()
        assert np.abs(y.T - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_no_variance_is_bias():
    x = fastnn.full((4, 2, 3), 1234.5)
    b = fastnn.tensor([3.0, -1.0])
    y = F.batch_norm(x, None, None, None, b, training=True)
    assert_same_bits(y, b.reshape(1, 2, 1).expand(4, 2, 3).contiguous(), "bias")


def test_infinite_input_as_in_pytorch():
    x = normal(4, 2, dtype=np.float32)
    x[1, 0] = np.inf
    mean, variance = fastnn.zeros(2), fastnn.ones(2)
    y = F.batch_norm(fastnn.tensor(x), mean, variance, training=True).numpy()
    assert np.isnan(y[:, 0]).all() and np.isfinite(y[:, 1]).all()
    assert mean.numpy()[0] == np.inf and np.isnan(variance.numpy()[0])


def test_evaluation_is_one_fma_for_each_element():
    """What lets it move into the last pass of a product, to the bit."""
    x, w, b = (normal(3, 5, 9), normal(5), normal(5))
    x, w, b = (fastnn.tensor(a, dtype=fastnn.float32) for a in (x, w, b))
    y = _core.op_named("scale_shift")(x, w, b).numpy()
    exact = x.numpy().astype(np.float64) * w.numpy()[:, None] + b.numpy()[:, None]
    ulp = np.spacing(np.abs(y))
    assert (np.abs(y - exact) <= ulp * 0.5000001).all()


@pytest.mark.parametrize("act", [0, 1])
@pytest.mark.parametrize("shape", [(9, 21), (5, 3, 37)])
def test_fused_is_one_op_after_the_other(shape, act):
    norm, scale = _core.op_named("batch_norm"), _core.op_named("scale_shift")
    backward = _core.op_named("batch_norm_backward")
    c = shape[1]
    x, r, gy = (fastnn.tensor(normal(*shape, dtype=np.float32)) for _ in range(3))
    w, b = (fastnn.tensor(normal(c, dtype=np.float32)) for _ in range(2))
    act_of = fastnn.relu if act else lambda y: y
    y, mean, rstd = norm(x, w, b)
    stats = (None, None, None, 1e-5, 0.1, act)
    for residual in (None, r):
        z = y if residual is None else y + residual
        fused = norm(x, w, b, residual, *stats)[0]
        assert_same_bits(fused, act_of(z), "batch_norm")
        z = scale(x, w, b)
        z = z if residual is None else z + residual
        assert_same_bits(scale(x, w, b, residual, act), act_of(z), "scale_shift")
    masked = _core.op_named("relu_backward")(gy, act_of(y)) if act else gy
    plain = backward(masked, x, w, None, mean, rstd)
    for given in (None, act_of(y)):
        made = backward(gy, x, w, b, mean, rstd, given, act, True)
        assert_same_bits(made[:3], plain[:3], "gradients")
        assert_same_bits(made[3], masked, "masked gradient")


def test_running_statistics_move_in_place_and_say_so():
    layer = nn.BatchNorm1d(3)
    mean, before = layer.running_mean, layer.running_mean._version
    y = layer(fastnn.tensor(normal(4, 3, dtype=np.float32)))
    assert layer.running_mean is mean and mean._version > before
    layer(fastnn.tensor(normal(4, 3, dtype=np.float32)))
    y.sum().backward()  # nothing that the gradient reads has changed
    with fastnn.no_grad():
        layer.weight.mul_(2)
