"""Losses against PyTorch: values and gradients over their options, errors of float32;
extremes; modules; bad input. What one op computes is in tests/samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.nn import functional as F

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(17)
SHAPES = [(), (7,), (4, 5), (2, 3, 4), (0, 3)]


def logits(shape):
    return np.asarray(RNG.standard_normal(shape) * 4)


def unit(shape):
    return np.asarray(RNG.uniform(0.01, 0.99, shape))


def log_unit(shape):
    return np.log(unit(shape))


# name: makers of input and target, options
LOSSES = {
    "mse_loss": (logits, logits, [{}]),
    "l1_loss": (logits, logits, [{}]),
    "smooth_l1_loss": (logits, logits, [{}, {"beta": 0.2}, {"beta": 4.0}, {"beta": 0}]),
    "huber_loss": (logits, logits, [{}, {"delta": 0.2}, {"delta": 4.0}]),
    "binary_cross_entropy": (unit, unit, [{}]),
    "binary_cross_entropy_with_logits": (logits, unit, [{}]),
    "kl_div": (log_unit, unit, [{}]),
}
CASES = [
    pytest.param(
        name, shape, reduction, option, id=f"{name}-{shape}-{reduction}-{option}"
    )
    for name, (_, _, options) in LOSSES.items()
    for shape, reduction, option in itertools.product(
        SHAPES, ["mean", "sum", "none"], options
    )
]
WEIGHTED = ["mse_loss", "l1_loss", "huber_loss"]
WEIGHTED += ["binary_cross_entropy", "binary_cross_entropy_with_logits"]


def compare(torch, name, arrays, options, rtol=1e-11):
    """The loss and the gradient of each float array, here and in PyTorch."""
    results = []
    for library, functions in ((fastnn, F), (torch, torch.nn.functional)):
        given = [
            library.tensor(a, requires_grad=True)
            if a.dtype.kind == "f"
            else library.tensor(a)
            for a in arrays[:2]
        ]
        named = {
            k: library.tensor(v) if isinstance(v, np.ndarray) else v
            for k, v in options.items()
        }
        y = getattr(functions, name)(*given, **named)
        seed = np.cos(np.arange(math.prod(y.shape))).reshape(tuple(y.shape))
        y.backward(library.tensor(seed))
        grads = [x.grad.numpy() for x in given if x.requires_grad]
        results.append([y.detach().numpy(), *grads])
    for mine, peer in zip(*results, strict=True):
        assert mine.shape == peer.shape
        np.testing.assert_allclose(mine, peer, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize(("name", "shape", "reduction", "option"), CASES)
@pytest.mark.filterwarnings("ignore:reduction")
def test_values_and_gradients_are_pytorchs(name, shape, reduction, option):
    torch = pytest.importorskip("torch")
    x, y, _ = LOSSES[name]
    compare(torch, name, [x(shape), y(shape)], {"reduction": reduction, **option})


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_are_pytorchs(name, reduction):
    torch = pytest.importorskip("torch")
    x, y, _ = LOSSES[name]
    shapes = [(4, 5)] if name not in WEIGHTED[3:] else [(4, 5), (5,), (4, 1), (1,), ()]
    for shape in shapes:
        options = {"weight": unit(shape), "reduction": reduction}
        if name == "huber_loss":
            options["delta"] = 0.5
        compare(torch, name, [x((4, 5)), y((4, 5))], options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5,), (4, 1), (4, 5), ()])
@pytest.mark.parametrize("weighted", [False, True])
def test_pos_weights_are_pytorchs(shape, weighted, reduction):
    torch = pytest.importorskip("torch")
    options = {"pos_weight": np.asarray(unit(shape) + 1), "reduction": reduction}
    if weighted:
        options["weight"] = unit((4, 5))
    compare(
        torch,
        "binary_cross_entropy_with_logits",
        [logits((4, 5)), unit((4, 5))],
        options,
    )


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum", "none"])
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.filterwarnings("ignore:reduction")
def test_kl_div_is_pytorchs(log_target, reduction):
    torch = pytest.importorskip("torch")
    target = log_unit((4, 5)) if log_target else unit((4, 5))
    options = {"reduction": reduction, "log_target": log_target}
    compare(torch, "kl_div", [log_unit((4, 5)), target], options)
    zero = fastnn.tensor([0.0, 1.0])
    assert F.kl_div(fastnn.tensor([-1.0, -2.0]), zero, reduction="sum").item() == 2


# ---- classes -----------------------------------------------------------------------------

RANKS = [((6,), ()), ((4, 6), (4,)), ((2, 6, 3), (2, 3)), ((2, 6, 3, 2), (2, 3, 2))]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignore", [-100, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "labels"), RANKS)
@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy", "smoothed"])
def test_class_losses_are_pytorchs(name, shape, labels, weighted, ignore, reduction):
    torch = pytest.importorskip("torch")
    target = RNG.integers(0, 6, labels)
    if target.ndim:
        target.flat[0] = 2
    options = {"ignore_index": ignore, "reduction": reduction}
    if weighted:
        options["weight"] = unit(6)
    if name == "smoothed":
        name, options["label_smoothing"] = "cross_entropy", 0.2
    compare(torch, name, [logits(shape), target], options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 6, 3), (2, 6, 3, 2), (0, 6)])
def test_class_probabilities_are_pytorchs(shape, weighted, smoothing, reduction):
    torch = pytest.importorskip("torch")
    options = {"label_smoothing": smoothing, "reduction": reduction}
    if weighted:
        options["weight"] = unit(6)
    compare(torch, "cross_entropy", [logits(shape), unit(shape)], options)


def test_one_hot_probabilities_are_indices():
    x, labels = fastnn.tensor(logits((5, 4))), RNG.integers(0, 4, 5)
    hot = fastnn.tensor(np.eye(4)[labels])
    np.testing.assert_allclose(
        F.cross_entropy(x, hot, label_smoothing=0.1).item(),
        F.cross_entropy(x, fastnn.tensor(labels), label_smoothing=0.1).item(),
        rtol=1e-13,
    )


def test_cross_entropy_of_four_known_probabilities():
    """True classes of probability 0.70, 0.15, 0.60 and 0.50: -log(0.0315) / 4, which is
    0.86444, and 0.8645 from logarithms rounded to three digits."""
    p = np.array(
        [[0.70, 0.20, 0.10], [0.55, 0.15, 0.30], [0.25, 0.15, 0.60], [0.50, 0.25, 0.25]]
    )
    labels = fastnn.tensor([0, 1, 2, 0])
    by_hand = -math.log(0.70 * 0.15 * 0.60 * 0.50) / 4
    rounded = (0.357 + 1.897 + 0.511 + 0.693) / 4
    for dtype in (fastnn.float32, fastnn.float64):
        logp = fastnn.tensor(np.log(p), dtype=dtype)
        for loss in (
            nn.CrossEntropyLoss()(logp, labels),
            nn.NLLLoss()(logp, labels),
            F.cross_entropy(logp + 3, labels),
            F.cross_entropy(logp, fastnn.tensor(np.eye(3)[[0, 1, 2, 0]], dtype=dtype)),
        ):
            assert loss.item() == pytest.approx(by_hand, rel=1e-6)
            assert loss.item() == pytest.approx(rounded, abs=1e-4)


def test_nll_of_log_softmax_is_cross_entropy():
    x = fastnn.tensor(logits((30, 7)), requires_grad=True)
    y = fastnn.tensor(x.detach().numpy(), requires_grad=True)
    labels = fastnn.tensor(RNG.integers(0, 7, 30))
    a, b = F.nll_loss(F.log_softmax(x, 1), labels), F.cross_entropy(y, labels)
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-13)
    a.backward()
    b.backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_of_class_weights_and_of_gradients(reduction):
    x = fastnn.tensor(-unit((4, 5)), requires_grad=True)
    w = fastnn.tensor(unit(5), requires_grad=True)
    labels = fastnn.tensor([3, 0, 4, 1])
    for loss in (F.nll_loss, F.cross_entropy):

        def call(*_, loss=loss):
            return loss(x, labels, w, ignore_index=4, reduction=reduction)

        assert gradcheck(call, [x, w]) and gradgradcheck(call, [x, w])
    p = fastnn.tensor(unit((4, 5)), requires_grad=True)

    def soft(*_):
        return F.cross_entropy(x, p, w, reduction=reduction, label_smoothing=0.2)

    assert gradcheck(soft, [x, p, w]) and gradgradcheck(soft, [x, p, w])


@pytest.mark.parametrize("name", WEIGHTED)
def test_gradients_of_weights(name):
    x, y, _ = LOSSES[name]
    args = [fastnn.tensor(f((3, 4)), requires_grad=True) for f in (x, y, unit)]

    def call(*_):
        return getattr(F, name)(*args[:2], weight=args[2])

    assert gradcheck(call, args) and gradgradcheck(call, args)


# ---- float32 -----------------------------------------------------------------------------

BIG = (200, 50)
FLOAT32 = {
    **{name: (x, y) for name, (x, y, _) in LOSSES.items()},
    "bce_of_far_logits": (lambda s: logits(s) * 8, lambda s: RNG.integers(0, 2, s)),
    "cross_entropy": (logits, lambda s: RNG.integers(0, 50, 200)),
    "soft_cross_entropy": (logits, unit),
    "nll_loss": (log_unit, lambda s: RNG.integers(0, 50, 200)),
}
ROW = {
    "bce_of_far_logits": "binary_cross_entropy_with_logits",
    "soft_cross_entropy": "cross_entropy",
}


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", FLOAT32)
@pytest.mark.filterwarnings("ignore:reduction")
def test_float32_error_is_at_most_twice_pytorchs(name, reduction):
    torch = pytest.importorskip("torch")
    x, y = (f(BIG) for f in FLOAT32[name])
    if name == "bce_of_far_logits":
        y = y.astype(np.float64)
    x, y = (a.astype(np.float32) if a.dtype.kind == "f" else a for a in (x, y))

    def run(library, functions, dtype):
        a = library.tensor(x.astype(dtype), requires_grad=True)
        b = library.tensor(y.astype(dtype) if y.dtype.kind == "f" else y)
        loss = getattr(functions, ROW.get(name, name))(a, b, reduction=reduction)
        loss.sum().backward()
        return loss.detach().numpy(), a.grad.numpy()

    peers = torch.nn.functional
    mine, peer = run(fastnn, F, np.float32), run(torch, peers, np.float32)
    exact = run(torch, peers, np.float64)
    if name == "bce_of_far_logits":  # PyTorch's cancels to 0
        sign = np.where(y == 1, -1.0, 1.0)
        z = sign * x
        exact = (np.logaddexp(0, z), sign / (1 + np.exp(-z)))
        if reduction == "mean":
            exact = (exact[0].mean(), exact[1] / z.size)
    for a, b, e in zip(mine, peer, exact, strict=True):
        scale = np.maximum(np.abs(e), 1e-30)
        errors = [np.abs(v.astype(np.float64) - e) / scale for v in (a, b)]
        assert errors[0].max() <= max(2 * errors[1].max(), 2.0**-23)
        if e.size > 1:
            assert errors[0].mean() <= max(2 * errors[1].mean(), 2.0**-24)


# ---- extremes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "bce_with_logits"],
)
def test_infinities_nan_and_huge_numbers_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    name = name if name != "bce_with_logits" else "binary_cross_entropy_with_logits"
    x = np.array([INF, -INF, NAN, 0, 1e30, -1e30, 3e38, 500, -500], np.float32)
    for y in (0.0, 1.0, 0.5):
        mine = fastnn.tensor(x, requires_grad=True)
        peer = torch.tensor(x, requires_grad=True)
        target = np.full_like(x, y)
        a = getattr(F, name)(mine, fastnn.tensor(target), reduction="none")
        b = getattr(torch.nn.functional, name)(
            peer, torch.tensor(target), reduction="none"
        )
        a_, b_ = a.detach().numpy(), b.detach().numpy()
        if "logits" in name and y > 0:
            assert a_[1] == INF and np.isnan(b_[1])  # the loss of -inf, against 0 * inf
            b_[1] = INF
        np.testing.assert_allclose(a_, b_, rtol=1e-6)
        a.sum().backward()
        b.sum().backward()
        fine = np.isfinite(x)
        np.testing.assert_allclose(
            mine.grad.numpy()[fine], peer.grad.numpy()[fine], rtol=1e-6
        )


def test_binary_cross_entropy_at_the_ends_is_pytorchs():
    torch = pytest.importorskip("torch")
    p = np.array([0, 1, 0, 1, 0, 1e-30, 1e-45], np.float32)
    t = np.array([0, 1, 1, 0, 0.5, 1, 0.5], np.float32)
    mine, peer = (
        fastnn.tensor(p, requires_grad=True),
        torch.tensor(p, requires_grad=True),
    )
    a = F.binary_cross_entropy(mine, fastnn.tensor(t), reduction="none")
    b = torch.nn.functional.binary_cross_entropy(
        peer, torch.tensor(t), reduction="none"
    )
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)
    a.sum().backward()
    b.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), peer.grad.numpy(), rtol=1e-6)


def test_bce_with_logits_keeps_its_tails():
    x = fastnn.tensor([-80.0, 80.0, -20.0])
    t = fastnn.tensor([0.0, 1.0, 0.0])
    got = F.binary_cross_entropy_with_logits(x, t, reduction="none").numpy()
    np.testing.assert_allclose(got, np.log1p(np.exp([-80.0, -80, -20])), rtol=1e-6)


@pytest.mark.parametrize("name", [*LOSSES, "cross_entropy", "nll_loss"])
def test_the_mean_of_nothing_is_nan(name):
    x = fastnn.zeros(0, 3, requires_grad=True)
    labels = fastnn.zeros(0, dtype=fastnn.int64)
    target = labels if name in ("cross_entropy", "nll_loss") else fastnn.zeros(0, 3)
    loss = getattr(F, name)(x, target)
    assert math.isnan(loss.item())
    assert getattr(F, name)(x, target, reduction="sum").item() == 0
    loss.backward()
    assert x.grad.shape == (0, 3)


def test_ignoring_every_label_gives_nan_and_no_gradient():
    for loss in (F.cross_entropy, F.nll_loss):
        x = fastnn.ones(2, 3, requires_grad=True)
        y = loss(x, fastnn.tensor([-100, -100]))
        assert math.isnan(y.item())
        y.backward()
        assert x.grad.tolist() == [[0.0] * 3] * 2


def test_nll_reads_any_strides():
    x, labels = log_unit((5, 7)), fastnn.tensor([0, 3, 6, 2, 2])
    expected = F.nll_loss(fastnn.tensor(x), labels)
    turned = fastnn.tensor(np.ascontiguousarray(x.T)).T
    assert_same_bits(F.nll_loss(turned, labels), expected)
    assert_same_bits(
        F.nll_loss(fastnn.tensor(x[::-1])[[4, 3, 2, 1, 0]], labels), expected
    )


# ---- modules -----------------------------------------------------------------------------

W3, W45 = np.array([0.5, 1.0, 2.0]), np.linspace(0.1, 2, 20).reshape(4, 5)
INDICES = np.array([0, 2, 1, 1])
MODULES = [
    ("CrossEntropyLoss", {}, INDICES),
    ("CrossEntropyLoss", {"weight": W3, "ignore_index": 1}, INDICES),
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "reduction": "sum"}, INDICES),
    ("CrossEntropyLoss", {"weight": W3, "reduction": "none"}, np.full((4, 3), 0.3)),
    ("NLLLoss", {}, INDICES),
    ("NLLLoss", {"weight": W3, "ignore_index": 2, "reduction": "none"}, INDICES),
    ("MSELoss", {}, None),
    ("MSELoss", {"reduction": "sum"}, None),
    ("L1Loss", {}, None),
    ("L1Loss", {"reduction": "none"}, None),
    ("SmoothL1Loss", {}, None),
    ("SmoothL1Loss", {"beta": 0.5, "reduction": "sum"}, None),
    ("HuberLoss", {}, None),
    ("HuberLoss", {"reduction": "none", "delta": 0.2}, None),
    ("BCELoss", {}, None),
    ("BCELoss", {"weight": W45, "reduction": "sum"}, None),
    ("BCEWithLogitsLoss", {}, None),
    ("BCEWithLogitsLoss", {"weight": W45, "pos_weight": W45[0]}, None),
    ("KLDivLoss", {}, None),
    ("KLDivLoss", {"reduction": "batchmean", "log_target": True}, None),
]


@pytest.mark.parametrize(("name", "options", "target"), MODULES)
@pytest.mark.filterwarnings("ignore:reduction")
def test_modules_do_what_pytorchs_do(name, options, target):
    torch = pytest.importorskip("torch")
    x = unit((4, 3) if target is not None else (4, 5))
    target = unit((4, 5)) if target is None else target

    def made(library, modules):
        named = {
            k: library.tensor(v) if isinstance(v, np.ndarray) else v
            for k, v in options.items()
        }
        module = getattr(modules, name)(**named)
        return module, module(library.tensor(x), library.tensor(target))

    mine, y = made(fastnn, nn)
    peer, z = made(torch, torch.nn)
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-12)
    assert list(mine.state_dict()) == list(peer.state_dict())
    assert name in nn.__all__
    for key, value in options.items():
        shown = not isinstance(value, np.ndarray)
        assert (f"{key}={value!r}" in repr(mine)) == shown


def test_default_options_are_not_shown():
    for name in {name for name, _, _ in MODULES}:
        assert repr(getattr(nn, name)()) == f"{name}()"


def test_weights_are_positional_and_move_with_the_module():
    w = fastnn.ones(3)
    for name in ("CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"):
        module = getattr(nn, name)(w)
        assert module.weight is w and list(module.state_dict()) == ["weight"]
        assert list(module.parameters()) == []


# ---- bad input ---------------------------------------------------------------------------

ONE, LABELS = fastnn.ones(2, 3), fastnn.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: F.cross_entropy(ONE, np.array([0, 1])),
            TypeError,
            "target.*from_numpy",
        ),
        (lambda: F.cross_entropy(ONE, [0, 1]), TypeError, "cross_entropy.*target"),
        (
            lambda: F.cross_entropy(ONE, LABELS, [1, 1, 1]),
            TypeError,
            "weight as a tensor",
        ),
        (
            lambda: F.cross_entropy(ONE, LABELS[:1]),
            ValueError,
            r"target of shape \(2,\)",
        ),
        (
            lambda: F.cross_entropy(ONE, fastnn.ones(2)),
            ValueError,
            "class probabilities",
        ),
        (lambda: F.cross_entropy(ONE, ONE, ignore_index=1), ValueError, "ignore_index"),
        (
            lambda: F.cross_entropy(ONE, ONE, LABELS * 1.0),
            ValueError,
            r"weight.*\(3,\)",
        ),
        (lambda: F.cross_entropy(ONE, ONE, label_smoothing=2), ValueError, "smoothing"),
        (
            lambda: F.cross_entropy(ONE, LABELS, label_smoothing=-0.1),
            ValueError,
            "smooth",
        ),
        (
            lambda: F.cross_entropy(ONE, LABELS, label_smoothing="a"),
            TypeError,
            "smooth",
        ),
        (
            lambda: F.cross_entropy(ONE, fastnn.tensor([0, 3])),
            IndexError,
            "0 to 2.*got 3",
        ),
        (
            lambda: F.cross_entropy(ONE, LABELS, reduction="max"),
            ValueError,
            "reduction",
        ),
        (lambda: F.cross_entropy(fastnn.ones(()), LABELS), ValueError, "cross_entropy"),
        (
            lambda: F.cross_entropy(fastnn.ones(2, 0), fastnn.ones(2, 0)),
            ValueError,
            "one c",
        ),
        (lambda: F.nll_loss(ONE, np.array([0, 1])), TypeError, "nll_loss.*from_numpy"),
        (lambda: F.nll_loss(ONE, ONE), ValueError, r"nll_loss.*\(2,\)"),
        (lambda: F.nll_loss(ONE, fastnn.ones(2)), TypeError, "nll.*target"),
        (lambda: F.nll_loss(ONE, fastnn.tensor([0, -1])), IndexError, "nll.*-1"),
        (lambda: F.nll_loss(ONE, LABELS, fastnn.ones(2)), ValueError, "nll.*weight"),
        (lambda: F.nll_loss(fastnn.ones(2, 3, 4), LABELS), ValueError, r"\(2, 4\)"),
        (lambda: F.mse_loss(ONE, np.ones((2, 3))), TypeError, "mse_loss.*from_numpy"),
        (lambda: F.mse_loss(ONE, ONE, weight=LABELS), ValueError, "mse_loss.*weight"),
        (lambda: F.mse_loss(ONE, ONE, weight=1.0), TypeError, "mse_loss.*weight"),
        (lambda: F.huber_loss(ONE, ONE, "mean", 0), ValueError, "huber_loss.*delta"),
        (lambda: F.smooth_l1_loss(ONE, ONE, beta=NAN), ValueError, "beta from 0"),
        (lambda: F.binary_cross_entropy(ONE * 2, ONE), ValueError, "from 0 to 1.*2"),
        (
            lambda: F.binary_cross_entropy(ONE * NAN, ONE),
            ValueError,
            "from 0 to 1.*nan",
        ),
        (lambda: F.binary_cross_entropy(-ONE, ONE), ValueError, "with_logits"),
        (
            lambda: F.binary_cross_entropy(ONE, ONE, fastnn.ones(4, 2, 3)),
            ValueError,
            "weight of a shape that broadcasts",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(
                ONE, ONE, pos_weight=fastnn.ones(4, 2, 3)
            ),
            ValueError,
            "pos_weight of a shape that broadcasts",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(ONE, ONE, pos_weight=2.0),
            TypeError,
            "pos_weight as a tensor",
        ),
        (lambda: F.kl_div(ONE, ONE, reduction="batch"), ValueError, "'batchmean'"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.1), ValueError, "from 0 to 1"),
        (
            lambda: nn.CrossEntropyLoss(reduction="avg"),
            ValueError,
            "CrossEntropyLoss.*avg",
        ),
        (lambda: nn.MSELoss(reduction="batchmean"), ValueError, "MSELoss.*batchmean"),
        (lambda: nn.KLDivLoss(reduction="avg"), ValueError, "KLDivLoss.*'batchmean'"),
        (lambda: nn.CrossEntropyLoss([1, 2]), TypeError, "weight"),
        (lambda: nn.MSELoss(size_average=True), TypeError, "size_average"),
    ],
)
def test_bad_arguments_raise_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_would_broadcast_raise(name):
    for a, b, hint in (((3, 1), (3,), "reshape"), ((3, 2), (2,), "expand")):
        with pytest.raises(ValueError, match=rf"^{name}: .*equal shapes.*{hint}"):
            getattr(F, name)(fastnn.ones(*a), fastnn.ones(*b))
