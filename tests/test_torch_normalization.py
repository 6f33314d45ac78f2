"""Normalisation against PyTorch, where installed, over the range of its arguments: float32
errors against float64 at most twice PyTorch's, the same statistics, state and refusals.
PyTorch runs on one thread: its sums are cut by threads, and their errors with them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


RNG = np.random.default_rng(8)
SHAPES_1D = [(2, 3), (64, 33), (300, 5), (4, 3, 1), (5, 3, 7), (3, 17, 64), (2, 1, 501)]
SHAPES_2D = [(1, 3, 2, 2), (2, 5, 1, 9), (8, 16, 7, 7), (3, 2, 33, 31), (2, 64, 8, 8)]
KINDS = {
    "normal": lambda x: x,
    "shifted": lambda x: x + 3,
    "far": lambda x: x + 500,
    "flat": lambda x: x * 1e-2 + 10,
    "tiny": lambda x: x * 1e-6,
}


def worst(got, exact, terms=0):
    """Error beside the largest number, or what a sum of so many terms comes to."""
    got = got.detach().numpy().astype(np.float64)
    largest = np.abs(exact).max(initial=max(1e-300, terms**0.5))
    return np.abs(got - exact).max(initial=0) / largest


def compare(ours, theirs, x, rounding=2.0**-23):
    """Outputs, gradients and buffers of a layer in float32 against PyTorch's in float64,
    with PyTorch's own error in float32 as the measure."""
    gy = RNG.standard_normal(x.shape).astype(np.float32)
    wide = theirs(torch.float64)
    narrow = theirs(torch.float32)
    state = {k: v.numpy() for k, v in narrow.state_dict().items()}
    layer = ours()
    assert list(state) == list(layer.state_dict())
    layer.load_state_dict(state)
    results = []
    for module, tensor, double in (
        (wide, torch.tensor, True),
        (narrow, torch.tensor, False),
        (layer, fastnn.tensor, False),
    ):
        dtype = np.float64 if double else np.float32
        a = tensor(x.astype(dtype), requires_grad=True)
        y = module(a)
        y.backward(tensor(gy.astype(dtype)))
        found = [y, a.grad, *[p.grad for p in module.parameters()]]
        found += [v for v in module.state_dict().values() if "int" not in str(v.dtype)]
        results.append(found)
    for k, (exact, peer, mine) in enumerate(zip(*results, strict=True)):
        exact = exact.detach().numpy()
        terms = (
            x.size // exact.size if 2 <= k < 2 + len(list(layer.parameters())) else 0
        )
        error, limit = worst(mine, exact, terms), worst(peer, exact, terms)
        once = rounding * 2 if terms else rounding  # of x - mean, and of its product
        assert error <= max(2 * limit, once), (k, error, limit)


def filled(module, seed=3):
    """The same parameters in either dtype."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            drawn = torch.rand(p.shape, generator=generator, dtype=torch.float32) + 0.5
            p.copy_(drawn)
    return module


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES_1D + SHAPES_2D)
def test_batch_norm(shape, kind):
    x = KINDS[kind](RNG.standard_normal(shape)).astype(np.float32)
    name = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    for affine, track, momentum, eps in itertools.product(
        (True, False), (True, False), (0.1, None), (1e-5, 1e-3)
    ):
        args = (shape[1], eps, momentum, affine, track)
        compare(
            lambda a=args: getattr(nn, name)(*a),
            lambda d, a=args: filled(getattr(torch.nn, name)(*a).to(d)),
            x,
        )


@pytest.mark.parametrize("shape", [(64, 33), (5, 3, 7), (8, 16, 7, 7)])
@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0, None])
def test_batch_norm_over_batches_then_in_evaluation(shape, momentum):
    name = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    mine = getattr(nn, name)(shape[1], momentum=momentum)
    peer = getattr(torch.nn, name)(shape[1], momentum=momentum)
    for k in range(5):
        x = (RNG.standard_normal(shape) * (k + 1) + k).astype(np.float32)
        if k == 4:
            mine.eval(), peer.eval()
        a = fastnn.tensor(x, requires_grad=True)
        b = torch.tensor(x, requires_grad=True)
        y, z = mine(a), peer(b)
        (y * y).sum().backward(), (z * z).sum().backward()
        np.testing.assert_allclose(y.detach(), z.detach(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4)
        for n, v in peer.state_dict().items():
            got = mine.state_dict()[n].numpy()
            np.testing.assert_allclose(got, v.numpy(), rtol=1e-5, atol=1e-6)
    for p, q in zip(mine.parameters(), peer.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((4, 3), 1),
        ((300, 129), 1),
        ((2, 3, 40), 1),
        ((2, 3, 40), 2),
        ((70, 2, 3, 5), 3),
        ((1000,), 1),
        ((9, 2048), 1),
    ],
)
def test_layer_norm(shape, dims, kind):
    x = KINDS[kind](RNG.standard_normal(shape)).astype(np.float32)
    for affine, bias, eps in itertools.product(
        (True, False), (True, False), (1e-5, 1e-3)
    ):
        args = (shape[-dims:], eps, affine, bias)
        compare(
            lambda a=args: nn.LayerNorm(*a),
            lambda d, a=args: filled(torch.nn.LayerNorm(*a).to(d)),
            x,
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(3, 6), (4, 6, 5), (2, 12, 7, 7), (70, 6, 3)])
def test_group_norm(shape, groups, kind):
    if shape[1] // groups * int(np.prod(shape[2:])) == 1:
        pytest.skip("one value per group is its bias")
    x = KINDS[kind](RNG.standard_normal(shape)).astype(np.float32)
    for affine, eps in itertools.product((True, False), (1e-5, 1e-3)):
        args = (groups, shape[1], eps, affine)
        compare(
            lambda a=args: nn.GroupNorm(*a),
            lambda d, a=args: filled(torch.nn.GroupNorm(*a).to(d)),
            x,
        )


def test_state_goes_both_ways():
    for mine, peer in (
        (nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4)),
        (
            nn.BatchNorm1d(4, track_running_stats=False),
            torch.nn.BatchNorm1d(4, track_running_stats=False),
        ),
        (nn.LayerNorm((2, 3)), torch.nn.LayerNorm((2, 3))),
        (nn.GroupNorm(2, 4), torch.nn.GroupNorm(2, 4)),
    ):
        ours, theirs = mine.state_dict(), peer.state_dict()
        assert list(ours) == list(theirs)
        for a, b in zip(ours.values(), theirs.values(), strict=True):
            assert a.shape == tuple(b.shape)
            assert a.dtype.name == str(b.dtype).removeprefix("torch.")
        mine.load_state_dict({k: v.numpy() for k, v in theirs.items()})
        assert repr(mine) == repr(peer)


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("BatchNorm1d", (3,), (1, 3)),
        ("BatchNorm1d", (3,), (3,)),
        ("BatchNorm1d", (3,), (2, 3, 4, 5)),
        ("BatchNorm1d", (3,), (2, 4)),
        ("BatchNorm2d", (3,), (1, 3, 1, 1)),
        ("BatchNorm2d", (3,), (2, 3, 4)),
        ("LayerNorm", (3,), (2, 4)),
        ("GroupNorm", (2, 4), (2, 6, 3)),
        ("GroupNorm", (4, 4), (1, 4)),
    ],
)
def test_both_refuse(name, args, shape):
    with pytest.raises((ValueError, RuntimeError)):
        getattr(torch.nn, name)(*args)(torch.ones(shape))
    with pytest.raises(ValueError, match="expected"):
        getattr(nn, name)(*args)(fastnn.ones(*shape))


@pytest.mark.parametrize("shape", [(4, 2), (3, 2, 5)])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_spreads_as_in_pytorch(shape, bad):
    x = RNG.standard_normal(shape).astype(np.float32)
    for at in (0, -1):
        x[:, 0].flat[at] = bad
        y = fastnn.nn.functional.batch_norm(fastnn.tensor(x), None, None, training=True)
        z = torch.nn.functional.batch_norm(torch.tensor(x), None, None, training=True)
        np.testing.assert_array_equal(np.isnan(y.numpy()), np.isnan(z.numpy()))
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-5, atol=1e-6)
