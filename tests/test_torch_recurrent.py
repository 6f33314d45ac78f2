"""RNN, LSTM, GRU and their cells against PyTorch, where installed: over their arguments,
results and gradients, and the error in float32."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn.utils import rnn as packing

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

KINDS = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("GRU", {}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 3}),
]
SIZES = [(4, 3, 6, 5), (1, 1, 1, 1), (3, 17, 2, 9), (9, 2, 33, 40)]  # T, B, in, hidden


def pair(kind, features, units, options, dtype):
    torch.manual_seed(1)
    peer = getattr(torch.nn, kind)(features, units, **options).to(getattr(torch, dtype))
    mine = getattr(nn, kind)(features, units, **options, dtype=getattr(fastnn, dtype))
    state = {k: fastnn.tensor(v.numpy()) for k, v in peer.state_dict().items()}
    mine.load_state_dict(state)
    return mine, peer


def results(lib, layer, x, hx, lengths, batch_first):
    """Outputs, states and all gradients, as arrays."""
    tensor = fastnn.tensor if lib is nn else torch.tensor
    x = tensor(x, requires_grad=True)
    given = [tensor(s, requires_grad=True) for s in hx]
    start = None if not given else given[0] if len(given) == 1 else tuple(given)
    if lengths is None:
        y, last = layer(x, start)
    elif lib is nn:
        y, last = layer(x, start, lengths=lengths)
    else:
        utils = torch.nn.utils.rnn
        packed = utils.pack_padded_sequence(x, lengths, batch_first, False)
        y, last = layer(packed, start)
        y, _ = utils.pad_packed_sequence(y, batch_first, total_length=max(lengths))
    last = last if isinstance(last, tuple) else (last,)
    loss = (y * y).sum() + sum((s * s * s).sum() for s in last)
    loss.backward()
    found = [y, *last]
    found += [t.grad for t in (x, *given) if t.grad is not None]
    found += [p.grad for p in layer.parameters()]
    return [t.detach().numpy().astype(np.float64) for t in found]


def check(kind, options, sizes, start, lengths=None):
    steps, batch, features, units = sizes
    rng = np.random.default_rng(sum(sizes))
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    first = options.get("batch_first", False)
    outputs = options.get("proj_size") or units
    x = rng.standard_normal(
        (batch, steps, features) if first else (steps, batch, features)
    )
    hx = []
    if start:
        hx = [rng.standard_normal((rows, batch, outputs))]
        if kind == "LSTM":
            hx.append(rng.standard_normal((rows, batch, units)))
    exact = None
    for dtype in ("float64", "float32"):
        mine, peer = pair(kind, features, units, options, "float32")
        if dtype == "float64":
            mine, peer = mine.to(fastnn.float64), peer.double()
        narrow = [a.astype(np.float32).astype(dtype) for a in (x, *hx)]
        got = results(nn, mine, narrow[0], narrow[1:], lengths, first)
        theirs = results(torch, peer, narrow[0], narrow[1:], lengths, first)
        assert [g.shape for g in got] == [t.shape for t in theirs]
        if exact is None:
            exact = theirs
            for g, t in zip(got, theirs, strict=True):
                limit = 1e-12 * max(1, np.abs(t).max(initial=0))
                np.testing.assert_allclose(g, t, rtol=0, atol=limit)
            continue
        assert error(got, exact) <= max(2 * error(theirs, exact), 2.0**-23)


def error(found, exact):
    """Root mean square over all results, each as a share of its largest number."""
    parts = [
        ((f - e) / max(1, np.abs(e).max(initial=0))).reshape(-1)
        for f, e in zip(found, exact, strict=True)
    ]
    return np.sqrt(np.mean(np.concatenate(parts) ** 2))


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_layers(kind, options, sizes, start):
    if options.get("proj_size", 0) >= sizes[3]:
        pytest.skip("no room for a projection")
    for layers, bias, first, both in itertools.product(
        (1, 2), (True, False), (True, False), (True, False)
    ):
        if sizes[3] > 9 and layers == 2 and not (bias and first):
            continue  # as the small ones show
        more = {
            "num_layers": layers,
            "bias": bias,
            "batch_first": first,
            "bidirectional": both,
        }
        check(kind, {**options, **more}, sizes, start)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("lengths", [[4, 4, 4], [4, 2, 1], [1, 4, 3]], ids=str)
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_lengths(kind, options, lengths, start):
    for layers, first, both in itertools.product((1, 2), (True, False), (True, False)):
        more = {"num_layers": layers, "batch_first": first, "bidirectional": both}
        check(kind, {**options, **more}, SIZES[0], start, lengths)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNNCell", {}),
        ("RNNCell", {"nonlinearity": "relu"}),
        ("GRUCell", {}),
        ("LSTMCell", {}),
    ],
    ids=str,
)
def test_cells(kind, options, bias):
    mine, peer = pair(kind, 3, 4, {**options, "bias": bias}, "float64")
    for shape in ((2, 3), (3,)):
        x = np.random.default_rng(1).standard_normal(shape)
        s = np.random.default_rng(2).standard_normal((*shape[:-1], 4))
        for start in (False, True):
            a, b = fastnn.tensor(s), torch.tensor(s)
            if kind == "LSTMCell":
                a, b = (a, a), (b, b)
            got = mine(fastnn.tensor(x), a if start else None)
            expected = peer(torch.tensor(x), b if start else None)
            if kind != "LSTMCell":
                got, expected = (got,), (expected,)
            for g, e in zip(got, expected, strict=True):
                assert g.shape == tuple(e.shape)
                np.testing.assert_allclose(
                    g.detach().numpy(), e.detach().numpy(), rtol=1e-12, atol=1e-13
                )


def test_packed_sequences_are_laid_out_alike():
    x = np.random.default_rng(0).standard_normal((5, 4, 2))
    for lengths, enforce in (([5, 4, 4, 1], True), ([2, 5, 3, 4], False)):
        got = packing.pack_padded_sequence(
            fastnn.tensor(x), lengths, enforce_sorted=enforce
        )
        expected = torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(x), lengths, enforce_sorted=enforce
        )
        for g, e in zip(got, expected, strict=True):
            assert (g is None) == (e is None)
            if g is not None:
                np.testing.assert_array_equal(g.numpy(), e.numpy())


def test_state_dicts_move_both_ways():
    for kind, options in KINDS:
        more = {**options, "num_layers": 2, "bidirectional": True}
        mine = getattr(nn, kind)(3, 5, **more)
        peer = getattr(torch.nn, kind)(3, 5, **more)
        assert list(mine.state_dict()) == list(peer.state_dict())
        peer.load_state_dict(
            {k: torch.tensor(v.detach().numpy()) for k, v in mine.state_dict().items()}
        )
        assert repr(mine).split("(")[0] == repr(peer).split("(")[0]
