"""PyTorch as a second oracle, where installed: the float32 error of every op against a
float64 reference is at most twice PyTorch's, and gradients agree."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn.ops._registry import REFERENCES

torch = pytest.importorskip("torch")
functional = torch.nn.functional

RNG = np.random.default_rng(5)
X = RNG.standard_normal((300, 170)).astype(np.float32) * 3
Y = RNG.standard_normal((300, 170)).astype(np.float32) * 2
P = np.abs(X) + 0.01
W = RNG.standard_normal((90, 170)).astype(np.float32)
B = RNG.standard_normal(90).astype(np.float32)
LABELS = RNG.integers(0, 170, 300)
CLASS_WEIGHTS = RNG.uniform(0.1, 2, 170).astype(np.float32)

# name: (fastnn's, torch's, arguments, scale of the error or None for the result's own)
CASES = {
    "add": (fastnn.add, torch.add, (X, Y), None),
    "mul": (fastnn.mul, torch.mul, (X, Y), None),
    "div": (fastnn.div, torch.div, (X, Y), None),
    "pow": (fastnn.pow, torch.pow, (P, Y), None),
    "exp": (fastnn.exp, torch.exp, (X * 10,), None),
    "log": (fastnn.log, torch.log, (P,), None),
    "sqrt": (fastnn.sqrt, torch.sqrt, (P,), None),
    "erf": (fastnn.erf, torch.erf, (X / 2,), None),
    "relu": (fastnn.relu, torch.relu, (X,), None),
    "sigmoid": (fastnn.sigmoid, torch.sigmoid, (X * 5,), None),
    "tanh": (fastnn.tanh, torch.tanh, (X,), None),
    "gelu": (fastnn.gelu, functional.gelu, (X,), None),
    "gelu_tanh": (
        lambda x: fastnn.gelu(x, approximate="tanh"),
        lambda x: functional.gelu(x, approximate="tanh"),
        (X,),
        None,
    ),
    "sum": (lambda x: x.sum(1), lambda x: x.sum(1), (X,), lambda x: np.abs(x).sum(1)),
    "sum_0": (lambda x: x.sum(0), lambda x: x.sum(0), (X,), lambda x: np.abs(x).sum(0)),
    "sum_all": (lambda x: x.sum(), lambda x: x.sum(), (X,), lambda x: np.abs(x).sum()),
    "mean": (lambda x: x.mean(), lambda x: x.mean(), (X,), lambda x: np.abs(x).mean()),
    "matmul": (
        fastnn.matmul,
        torch.matmul,
        (X, W.T),
        lambda x, w: np.abs(x) @ np.abs(w),
    ),
    "linear": (
        fastnn.linear,
        functional.linear,
        (X, W, B),
        lambda x, w, b: np.abs(x) @ np.abs(w).T + np.abs(b),
    ),
    "softmax": (
        lambda x: fastnn.softmax(x, 1),
        lambda x: torch.softmax(x, 1),
        (X,),
        None,
    ),
    "log_softmax": (
        lambda x: fastnn.log_softmax(x, 1),
        lambda x: torch.log_softmax(x, 1),
        (X,),
        None,
    ),
    "mse": (fastnn.mse_loss, functional.mse_loss, (X, Y), None),
    "cross_entropy_rows": (
        lambda x: fastnn.cross_entropy(x, fastnn.from_numpy(LABELS), reduction="none"),
        lambda x: functional.cross_entropy(
            x, torch.from_numpy(LABELS), reduction="none"
        ),
        (X,),
        None,
    ),
}


def error(got, exact, scale):
    return np.abs(got.astype(np.float64) - exact) / np.maximum(scale, 1e-300)


@pytest.mark.parametrize("name", CASES)
def test_error_is_at_most_twice_pytorchs(name):
    ours, theirs, args, scale = CASES[name]
    wide = [a.astype(np.float64) for a in args]
    exact = (
        REFERENCES[name](*wide)
        if name in REFERENCES and name != "sum"
        else theirs(*[torch.from_numpy(a) for a in wide]).numpy()
    )
    scale = np.abs(exact) if scale is None else scale(*wide)
    mine = error(ours(*[fastnn.from_numpy(a) for a in args]).numpy(), exact, scale)
    peer = error(theirs(*[torch.from_numpy(a) for a in args]).numpy(), exact, scale)
    rounding = 2.0**-24  # one correct rounding is no error of ours
    assert mine.max() <= max(2 * peer.max(), rounding), (mine.max(), peer.max())
    assert mine.mean() <= max(2 * peer.mean(), rounding / 2), (mine.mean(), peer.mean())


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree(name):
    ours, theirs, args, _ = CASES[name]
    wide = [
        a[:20].astype(np.float64) if a.shape[:1] == (300,) else a.astype(np.float64)
        for a in args
    ]
    if name == "cross_entropy_rows":
        wide = [args[0].astype(np.float64)]
    if name == "exp":
        wide[0] = wide[0] / 10
    mine = [fastnn.tensor(a, requires_grad=True) for a in wide]
    peer = [torch.tensor(a, requires_grad=True) for a in wide]
    y, z = ours(*mine), theirs(*peer)
    seed = np.random.default_rng(1).standard_normal(tuple(z.shape))
    y.backward(fastnn.tensor(seed).reshape(y.shape))
    z.backward(torch.tensor(seed).reshape(z.shape))
    for a, b in zip(mine, peer, strict=True):
        np.testing.assert_allclose(
            a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11
        )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [-100, 3])
def test_cross_entropy_options(reduction, smoothing, weighted, ignore):
    labels = LABELS.copy()
    labels[::7] = 3
    w = CLASS_WEIGHTS.astype(np.float64) if weighted else None
    x = fastnn.tensor(X.astype(np.float64), requires_grad=True)
    z = torch.tensor(X.astype(np.float64), requires_grad=True)
    options = {
        "ignore_index": ignore,
        "reduction": reduction,
        "label_smoothing": smoothing,
    }
    ours = fastnn.cross_entropy(
        x, fastnn.from_numpy(labels), None if w is None else fastnn.tensor(w), **options
    )
    theirs = functional.cross_entropy(
        z, torch.from_numpy(labels), None if w is None else torch.tensor(w), **options
    )
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12
    )
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [(3, 7), (2, 7, 4), (2, 7, 3, 2), (7,)])
def test_cross_entropy_of_any_rank(shape):
    rng = np.random.default_rng(2)
    x = rng.standard_normal(shape)
    target = rng.integers(0, 7, shape[:1] + shape[2:] if len(shape) > 1 else ())
    for reduction in ("mean", "none"):
        ours = fastnn.cross_entropy(
            fastnn.tensor(x), fastnn.tensor(target), reduction=reduction
        )
        theirs = functional.cross_entropy(
            torch.tensor(x), torch.tensor(target), reduction=reduction
        )
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)
