"""Attention and the layers on it against PyTorch, where installed, over the range of their
arguments: shapes, states and masks, and float32 errors against float64 at most twice
PyTorch's, but for a rounding or two of the largest number involved."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def thin(share, *axes):
    """So much of the product, and always the same."""
    every = list(itertools.product(*axes))
    picked = np.random.default_rng(5).random(len(every)) < share
    return [case for case, is_in in zip(every, picked, strict=True) if is_in]


def given(library, mask, wide=False):
    """A mask as a tensor of that library."""
    if mask is None:
        return None
    made = library.tensor(mask)
    return made.double() if wide and mask.dtype != bool else made


def measure(runs):
    """What each of run(library, wide) gives, ours beside theirs: everywhere the same shapes
    and errors of some roundings of the largest number, on average at most twice PyTorch's.
    """
    errors = []
    for run in runs:
        ours, theirs, exact = run(fastnn, False), run(torch, False), run(torch, True)
        assert len(ours) == len(theirs)
        arrays = [[t.detach().numpy() for t in r] for r in (ours, theirs, exact)]
        largest = max(np.abs(e).max(initial=1e-3) for e in arrays[2])
        for o, t, e in zip(*arrays, strict=True):
            assert o.shape == t.shape
            error, other = (np.abs(x - e).max(initial=0) / largest for x in (o, t))
            assert error <= 2 * other + 2.0**-18
            errors.append((error, other))
    mean, other = np.mean(errors, 0)
    assert mean <= 2 * other


KINDS = (None, "causal", "bool", "float", "padding", "scale", "grouped")
DOT = thin(0.3, (1, 2), (1, 3), (1, 7, 70), (1, 9, 300), (1, 8, 33), (1, 16), KINDS)


def dot(n, heads, length, size, e, f, kind):
    few = 1 if kind == "grouped" else heads
    arrays = (
        normal(n, heads, length, e),
        normal(n, few, size, e),
        normal(n, few, size, f),
    )
    gy = normal(n, heads, length, f)
    mask = {
        "bool": RNG.random((length, size)) < 0.6,
        "float": normal(n, 1, length, size),
        "padding": RNG.random((n, 1, 1, size)) < 0.6,
    }.get(kind)
    options = {
        "causal": {"is_causal": True},
        "scale": {"scale": 0.7},
        "grouped": {"enable_gqa": True},
    }.get(kind, {})

    def run(library, wide):
        xs = [library.tensor(a) for a in arrays]
        xs = [(x.double() if wide else x).requires_grad_() for x in xs]
        y = library.nn.functional.scaled_dot_product_attention(
            *xs, attn_mask=given(library, mask, wide), **options
        )
        y.backward(given(library, gy, wide))
        return y, *(x.grad for x in xs)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_scaled_dot_product_attention(kind):
    measure(dot(*case) for case in DOT if case[-1] == kind)


def test_a_query_that_sees_nothing():
    x, mask = normal(1, 2, 3, 4), np.array([[True] * 3, [False] * 3, [True] * 3])
    for m in (mask, np.where(mask, 0, -np.inf).astype(np.float32)):
        ours, theirs = (
            library.nn.functional.scaled_dot_product_attention(
                *[library.tensor(x)] * 3, attn_mask=library.tensor(m)
            ).numpy()
            for library in (fastnn, torch)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert (ours[:, :, 1] == 0).all()


def alike(ours, theirs):
    """Both with the same state, there and back; theirs in float64 too."""
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.4)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    back = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(back)
    return {
        (fastnn, False): ours,
        (torch, False): theirs,
        (torch, True): copy.deepcopy(theirs).double(),
    }


LAYERS = thin(
    0.03, (False, True), (True, False), (False, True), (False, True), (None, (5, 6)),
    (1, 4), (None, "bool", "float", "each", "causal"), (None, "bool", "float"),
    (False, True), (True, False), (True, True, False),
)  # fmt: skip


def multihead(
    first, bias, extra, zero, other, heads, how, padding, weights, mean, batched
):
    n, length, e = 2, 5, 8
    size = length if how == "causal" else 7
    kdim, vdim = other or (e, e)
    options = {
        "bias": bias, "add_bias_kv": extra, "add_zero_attn": zero,
        "batch_first": first, "kdim": other and kdim, "vdim": other and vdim,
    }  # fmt: skip
    nets = alike(
        nn.MultiheadAttention(e, heads, **options),
        torch.nn.MultiheadAttention(e, heads, **options),
    )
    batch = n if batched else 1
    arrays = [normal(batch, t, w) for t, w in ((length, e), (size, kdim), (size, vdim))]
    if not batched:
        arrays = [a[0] for a in arrays]
    elif not first:
        arrays = [a.swapaxes(0, 1) for a in arrays]
    mask = {
        "bool": RNG.random((length, size)) < 0.3,
        "float": normal(length, size),
        "each": RNG.random((batch * heads, length, size)) < 0.3,
        "causal": np.triu(np.ones((length, size), bool), 1),
    }.get(how)
    pad = {
        "bool": RNG.random((batch, size)) < 0.3,
        "float": normal(batch, size),
    }.get(padding)
    for m in (mask, pad):
        if m is not None and m.dtype == bool:
            m[..., 0] = False  # no query is left with nothing
    pad = pad[0] if pad is not None and not batched else pad
    causal = how == "causal" and not extra and not zero

    def run(library, wide):
        net = nets[library, wide]
        xs = [library.tensor(np.ascontiguousarray(a)) for a in arrays]
        xs = [(x.double() if wide else x).requires_grad_() for x in xs]
        y, w = net(
            *xs,
            key_padding_mask=given(library, pad, wide),
            need_weights=weights,
            attn_mask=given(library, mask, wide),
            average_attn_weights=mean,
            is_causal=causal,
        )
        (y * y).sum().backward()
        assert (w is None) == (not weights)
        own = [y] if w is None else [y, w]
        return [*own, *(x.grad for x in (*xs, *net.parameters()))]

    return run


@pytest.mark.filterwarnings("ignore")
def test_multihead_attention():
    measure(multihead(*case) for case in LAYERS)


ENCODERS = thin(
    0.25, (False, True), (False, True), ("relu", "gelu"), (True, False),
    (None, "bool", "float", "causal"), (False, True), (1, 2), (False, True),
)  # fmt: skip


def encoder(first, norm_first, activation, bias, how, padded, depth, norm):
    n, length, e = 3, 6, 12
    options = {
        "batch_first": first, "norm_first": norm_first, "activation": activation,
        "bias": bias,
    }  # fmt: skip

    def made(library):
        layer = library.nn.TransformerEncoderLayer(e, 3, 20, 0.0, **options)
        last = library.nn.LayerNorm(e) if norm else None
        return library.nn.TransformerEncoder(
            layer, depth, last, enable_nested_tensor=False
        )

    nets = alike(made(fastnn), made(torch))
    x = normal(*((n, length, e) if first else (length, n, e)))
    mask = {
        "bool": RNG.random((length, length)) < 0.3,
        "float": normal(length, length),
        "causal": np.triu(np.ones((length, length), bool), 1),
    }.get(how)
    pad = RNG.random((n, length)) < 0.3 if padded else None
    for m in (mask, pad):
        if m is not None and m.dtype == bool:
            m[:, 0] = False

    def run(library, wide):
        net = nets[library, wide]
        xs = library.tensor(x)
        xs = (xs.double() if wide else xs).requires_grad_()
        keep = given(library, pad)
        if pad is not None and how == "float" and library is torch:
            keep = torch.zeros(pad.shape, dtype=xs.dtype).masked_fill(keep, -np.inf)
        y = net(xs, given(library, mask, wide), keep, is_causal=how == "causal")
        (y * y).sum().backward()
        return [y, xs.grad, *(p.grad for p in net.parameters())]

    return run


@pytest.mark.filterwarnings("ignore")
def test_encoder():
    measure(encoder(*case) for case in ENCODERS)
