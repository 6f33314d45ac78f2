"""Activations against PyTorch: values and gradients over their options, kinks, errors of
float32; in place; modules; bad input. What one op computes is in tests/samples."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.nn import functional as F

NAN, INF = float("nan"), float("inf")

# name: its argument lists
CASES = {
    "relu": [()],
    "relu6": [()],
    "leaky_relu": [(), (0.3,), (-0.5,), (0,), (2.0,)],
    "hardtanh": [(), (-0.25, 0.5), (0.0, 6.0), (-3, -1)],
    "elu": [(), (0.3,), (2.5,), (-1.0,), (0.0,)],
    "selu": [()],
    "celu": [(), (0.3,), (2.5,), (-2.0,)],
    "sigmoid": [()],
    "tanh": [()],
    "gelu": [(), ("tanh",)],
    "silu": [()],
    "softplus": [(), (2.0,), (0.25, 1.0), (3.0, -1.0), (-1.0, 5.0), (1, 50)],
    "logsigmoid": [()],
    "hardsigmoid": [()],
    "hardswish": [()],
    "mish": [()],
}
OPTIONS = [
    pytest.param(name, args, id=f"{name}{args or ''}")
    for name, lists in CASES.items()
    for args in lists
]
# where PyTorch rounds a constant (1 / 6, 1 / alpha) to float32 in its float64 gradient
ROUNDED = ("hardsigmoid", "hardswish", "celu")
IN_PLACE = ["relu", "relu6", "leaky_relu", "hardtanh", "elu", "selu", "celu"]
IN_PLACE += ["silu", "mish", "hardsigmoid", "hardswish"]

RNG = np.random.default_rng(11)
SPREAD = np.concatenate(
    [
        RNG.standard_normal(4000) * 3,
        RNG.standard_normal(1000) * 1e-4,
        RNG.uniform(-90, 90, 1000),
        np.geomspace(1e-30, 1e30, 200),
        -np.geomspace(1e-30, 1e30, 200),
    ]
).astype(np.float32)


def call(module, name, args):
    """A function of x that calls module.name."""
    if name == "gelu" and args:
        return lambda x: module.gelu(x, approximate=args[0])
    return lambda x: getattr(module, name)(x, *args)


def with_gradient(library, f, x):
    x = library.tensor(x, requires_grad=True)
    y = f(x)
    y.sum().backward()
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize(("name", "args"), OPTIONS)
def test_values_and_gradients_are_pytorchs(name, args):
    torch = pytest.importorskip("torch")
    x = SPREAD[np.abs(SPREAD) < 1e6].astype(np.float64)
    x = x[x > -5] if name == "gelu" else x  # below, PyTorch's cancels
    mine = with_gradient(fastnn, call(F, name, args), x)
    peer = with_gradient(torch, call(torch.nn.functional, name, args), x)
    for a, b in zip(mine, peer, strict=True):
        rtol = 1e-6 if name in ROUNDED else 1e-11
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-15)


@pytest.mark.parametrize(("name", "args"), OPTIONS)
def test_kinks_infinities_and_nan_are_pytorchs(name, args):
    torch = pytest.importorskip("torch")
    x = np.array([0.0, -0.0, -3, 3, 6, -1, 1, 20, 20.5, 1e300, -1e300, INF, NAN])
    mine = with_gradient(fastnn, call(F, name, args), x)
    peer = with_gradient(torch, call(torch.nn.functional, name, args), x)
    np.testing.assert_allclose(mine[0], peer[0], rtol=1e-14)
    finite = np.isfinite(x) & np.isfinite(peer[1])  # NaN where gelu's tanh form is 1
    np.testing.assert_allclose(mine[1][finite], peer[1][finite], rtol=1e-6)
    low = np.array([-INF])
    if name in (
        "silu",
        "gelu",
        "hardswish",
    ):  # PyTorch has NaN; the limit is of more use
        expected = np.nan if name == "hardswish" else -0.0
        np.testing.assert_array_equal(call(F, name, args)(fastnn.tensor(low)), expected)
        return
    np.testing.assert_array_equal(
        call(F, name, args)(fastnn.tensor(low)).numpy(),
        call(torch.nn.functional, name, args)(torch.tensor(low)).numpy(),
    )


@pytest.mark.parametrize(("name", "args"), OPTIONS)
def test_float32_error_is_at_most_twice_pytorchs(name, args):
    torch = pytest.importorskip("torch")
    theirs, ours = call(torch.nn.functional, name, args), call(F, name, args)
    x = SPREAD
    if name == "gelu":  # PyTorch's: cancels below, NaN far above
        x = x[(x > -5) & (x < 1e9)]
    exact = with_gradient(torch, theirs, x.astype(np.float64))
    peer = with_gradient(torch, theirs, x)
    mine = with_gradient(fastnn, ours, x)
    for a, b, e in zip(mine, peer, exact, strict=True):
        with np.errstate(all="ignore"):
            fine = np.isfinite(e.astype(np.float32))
            scale = np.maximum(np.abs(e), 2.0**-126)
            ours_, theirs_ = (np.abs(v.astype(np.float64) - e) / scale for v in (a, b))
        rounding = 2.0**-24
        assert ours_[fine].max() <= max(2 * theirs_[fine].max(), rounding)
        assert ours_[fine].mean() <= max(2 * theirs_[fine].mean(), rounding / 2)


@pytest.mark.parametrize(("name", "args"), OPTIONS)
def test_an_empty_batch_stays_empty(name, args):
    x = fastnn.zeros(0, 3, requires_grad=True)
    y = call(F, name, args)(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == (0, 3)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("sigmoid", "tanh")])
def test_integers_and_strangers_raise(name):
    for wrong in ("x", None, [1.0], np.ones(3, object)):
        with pytest.raises(TypeError):
            getattr(F, name)(wrong)
    if name not in ("relu", "hardsigmoid", "hardswish"):
        with pytest.raises(TypeError, match="float32 or float64"):
            getattr(F, name)(fastnn.tensor([1, 2]))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: F.leaky_relu(x, fastnn.tensor(0.1)), TypeError, "negative_slope"),
        (lambda x: F.leaky_relu(x, "0.1"), TypeError, "negative_slope as a number"),
        (lambda x: F.elu(x, None), TypeError, "elu: expected alpha as a number"),
        (lambda x: F.celu(x, 0.0), ValueError, "celu: expected alpha other than 0"),
        (lambda x: F.softplus(x, 0), ValueError, "softplus: expected beta other than"),
        (lambda x: F.softplus(x, 1.0, "20"), TypeError, "threshold as a number"),
        (lambda x: F.hardtanh(x, 2.0, 1.0), ValueError, "hardtanh: expected min_val"),
        (lambda x: F.gelu(x, approximate="erf"), ValueError, "gelu: .*'erf'"),
        (lambda x: F.prelu(x, 0.1), TypeError, "prelu: expected weight as a tensor"),
        (
            lambda x: F.prelu(x, fastnn.ones(3)),
            ValueError,
            r"prelu: .*\(2,\) or \(1,\)",
        ),
        (lambda x: F.softmax(x, 2), IndexError, "softmax"),
        (
            lambda x: F.softmax(x[None]),
            ValueError,
            r"softmax: expected dim.*\(1, 2, 2\)",
        ),
        (lambda x: F.log_softmax(x, "1"), TypeError, "log_softmax|dim|str"),
        (lambda x: nn.Hardtanh(1.0, 1.0), ValueError, "Hardtanh: expected min_val"),
        (lambda x: nn.LeakyReLU("a")(x), TypeError, "leaky_relu"),
    ],
)
def test_bad_arguments_raise_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call(fastnn.ones(2, 2))


# ---- in place ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", IN_PLACE)
def test_inplace_writes_the_input(name):
    values = np.linspace(-7, 7, 61).astype(np.float32)
    expected = getattr(F, name)(fastnn.tensor(values))
    x = fastnn.tensor(values)
    y = getattr(F, name)(x, inplace=True)
    assert y is x
    assert_same_bits(x, expected, name)
    wide = fastnn.zeros(61, 2)
    strided = wide[:, 0]
    strided.copy_(fastnn.tensor(values))
    getattr(F, name)(strided, inplace=True)
    assert_same_bits(strided, expected, name)
    assert not wide[:, 1].numpy().any()


@pytest.mark.parametrize("name", IN_PLACE)
def test_inplace_is_recorded(name):
    values = np.linspace(-7.03, 7, 41)
    leaf = fastnn.tensor(values, requires_grad=True)
    plain = fastnn.tensor(values, requires_grad=True)
    x = leaf * 1
    y = getattr(F, name)(x, inplace=True)
    assert y is x
    (y * y).sum().backward()
    z = getattr(F, name)(plain * 1)
    (z * z).sum().backward()
    assert_same_bits(leaf.grad, plain.grad, name)


@pytest.mark.parametrize("name", IN_PLACE)
def test_inplace_on_a_leaf_raises_and_leaves_it(name):
    x = fastnn.tensor([-1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        getattr(F, name)(x, inplace=True)
    assert x.tolist() == [-1.0, 2.0]


def test_inplace_modules_in_a_network_learn_the_same():
    def gradients(inplace):
        fastnn.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(3, 8),
            nn.LeakyReLU(0.1, inplace),
            nn.Linear(8, 8),
            nn.ReLU(inplace),
            nn.Linear(8, 8),
            nn.ELU(0.5, inplace),
            nn.Linear(8, 2),
            nn.SiLU(inplace),
        )
        net(fastnn.ones(4, 3)).sum().backward()
        return [p.grad for p in net.parameters()]

    assert_same_bits(gradients(True), gradients(False))


# ---- softmax -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("dim", [None, 0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("shape", [(), (4,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (0, 3)])
def test_softmax_along_any_dimension_is_pytorchs(name, dim, shape):
    torch = pytest.importorskip("torch")
    at = -1 if dim is None else dim
    if (dim is None and len(shape) > 2) or not -max(len(shape), 1) <= at < max(
        len(shape), 1
    ):
        return
    x = np.random.default_rng(3).standard_normal(shape) * 4
    mine = fastnn.tensor(x, requires_grad=True)
    peer = torch.tensor(x, requires_grad=True)
    y, z = getattr(F, name)(mine, dim), getattr(torch.nn.functional, name)(peer, at)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), 1e-12, 1e-15)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), peer.grad.numpy(), atol=1e-13)


def test_softmax_converts_first_where_a_dtype_is_given():
    y = F.softmax(fastnn.tensor([1, 2]), 0, dtype=fastnn.float64)
    assert y.dtype == fastnn.float64
    np.testing.assert_allclose(y.numpy(), [0.2689414213699951, 0.7310585786300049])


def test_softmax_of_huge_logits():
    assert F.softmax(fastnn.tensor([1e38, -1e38, 1e38]), 0).tolist() == [0.5, 0, 0.5]
    assert F.softmin(fastnn.tensor([1e38, 0.0]), 0).tolist() == [0, 1]
    assert F.log_softmax(fastnn.tensor([-INF, 0.0]), 0).tolist() == [-INF, 0]
    assert np.isnan(F.softmax(fastnn.tensor([NAN, 0.0]), 0).numpy()).all()


# ---- modules -----------------------------------------------------------------------------

MODULES = [
    ("ReLU", (), {}),
    ("ReLU", (True,), {}),
    ("ReLU6", (), {}),
    ("ReLU6", (), {"inplace": True}),
    ("LeakyReLU", (), {}),
    ("LeakyReLU", (0.2, True), {}),
    ("PReLU", (), {}),
    ("PReLU", (6, 0.1), {}),
    ("PReLU", (), {"num_parameters": 6, "init": -0.5}),
    ("ELU", (), {}),
    ("ELU", (0.5, True), {}),
    ("CELU", (2.0,), {}),
    ("SELU", (), {}),
    ("SELU", (True,), {}),
    ("GELU", (), {}),
    ("GELU", ("tanh",), {}),
    ("SiLU", (), {}),
    ("SiLU", (), {"inplace": True}),
    ("Sigmoid", (), {}),
    ("Tanh", (), {}),
    ("LogSigmoid", (), {}),
    ("Hardsigmoid", (), {}),
    ("Hardswish", (), {}),
    ("Mish", (), {}),
    ("Mish", (True,), {}),
    ("Hardtanh", (-2.0, 0.5), {}),
    ("Hardtanh", (), {"max_val": 3.0, "inplace": True}),
    ("Softplus", (), {}),
    ("Softplus", (2.0, 5.0), {}),
    ("Softplus", (), {"threshold": 1.0}),
    ("Softmax", (1,), {}),
    ("Softmax", (), {"dim": 0}),
    ("LogSoftmax", (-1,), {}),
    ("Softmin", (1,), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), MODULES)
def test_modules_do_what_pytorchs_do(name, args, options):
    torch = pytest.importorskip("torch")
    mine, peer = (
        getattr(nn, name)(*args, **options),
        getattr(torch.nn, name)(*args, **options),
    )
    x = np.random.default_rng(1).standard_normal((4, 6)) * 3
    y, z = mine(fastnn.tensor(x)), peer.double()(torch.tensor(x))
    np.testing.assert_allclose(
        y.detach().numpy(), z.detach().numpy(), rtol=1e-7 if name == "PReLU" else 1e-12
    )
    assert list(mine.state_dict()) == list(peer.state_dict())
    assert name in nn.__all__
    shown = repr(peer)
    if name not in ("Hardsigmoid", "Hardswish"):  # PyTorch's do not show inplace
        assert repr(mine) == shown


def test_prelu_learns_its_slopes():
    x = np.random.default_rng(2).standard_normal((5, 3, 2))
    layer = nn.PReLU(3, 0.1, dtype=fastnn.float64)
    assert [(n, p.shape) for n, p in layer.named_parameters()] == [("weight", (3,))]
    layer(fastnn.tensor(x)).sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), np.minimum(x, 0).sum((0, 2)))
    with fastnn.no_grad():
        layer.weight.zero_()
    layer.reset_parameters()
    assert layer.weight.tolist() == [0.1] * 3
    one = fastnn.tensor([0.3], dtype=fastnn.float64, requires_grad=True)
    inputs = [fastnn.tensor(x[0], requires_grad=True), one]
    assert gradcheck(lambda *_: F.prelu(*inputs), inputs)
    assert gradgradcheck(lambda *_: F.prelu(*inputs), inputs)


def test_softplus_keeps_its_threshold():
    x = fastnn.tensor([0.9, 1.1], dtype=fastnn.float64)
    assert F.softplus(x, 1.0, 1.0).tolist() == [np.log1p(np.exp(0.9)), 1.1]
    assert F.softplus(x, 2.0, 2.0)[1].item() == 1.1
    assert F.softplus(-x, -1.0, 1.0)[1].item() == -1.1
