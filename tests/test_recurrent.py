"""RNN, LSTM and GRU as modules: lengths, packing, cells, starts, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.nn.utils import rnn as packing

KINDS = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("GRU", {}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 3}),
]
LAYERS = [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}]


@pytest.fixture(autouse=True)
def threads_as_before():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def states(layer, last):
    return last if isinstance(layer, nn.LSTM) else (last,)


def made(kind, options, features=4, units=5, **more):
    fastnn.manual_seed(3)
    return getattr(nn, kind)(features, units, **options, **more)


def first(layer, batch, dtype=fastnn.float32):
    """First states, normal numbers."""
    fastnn.manual_seed(4)
    rows = layer.num_layers * layer.directions
    h = fastnn.randn(rows, batch, layer.output_size, dtype=dtype)
    c = fastnn.randn(rows, batch, layer.hidden_size, dtype=dtype)
    return (h, c) if isinstance(layer, nn.LSTM) else h


def chosen(hx, i):
    """The states of one sequence."""
    return (
        tuple(s[:, i : i + 1] for s in hx)
        if isinstance(hx, tuple)
        else hx[:, i : i + 1]
    )


# ---- lengths ----------------------------------------------------------------------------


@pytest.mark.parametrize("more", LAYERS, ids=str)
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_lengths_give_the_bits_of_each_sequence_alone(kind, options, more):
    layer = made(kind, options, **more)
    lengths, steps = [3, 7, 1, 7, 5, 2], 7
    batch = len(lengths)
    x = fastnn.randn(steps, batch, 4)
    for i, n in enumerate(lengths):
        x[n:, i] = float("nan")  # padding is not read
    x.requires_grad_()
    hx = first(layer, batch)
    y, last = layer(x, hx, lengths=lengths)
    seed = fastnn.randn(*y.shape)
    (y * seed).sum().backward()
    for i, n in enumerate(lengths):
        alone = x.detach()[:n, i : i + 1].clone().requires_grad_()
        one, end = layer(alone, chosen(hx, i))
        (one * seed[:n, i : i + 1]).sum().backward()
        assert_same_bits(y[:n, i : i + 1].detach(), one.detach())
        assert (y[n:, i].detach() == 0).all().item()
        for a, b in zip(states(layer, last), states(layer, end), strict=True):
            assert_same_bits(a[:, i : i + 1].detach(), b.detach())
        assert_same_bits(x.grad[:n, i : i + 1], alone.grad)
        assert (x.grad[n:, i] == 0).all().item()


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_lengths_and_their_gradients_against_differences(kind, options):
    layer = made(kind, options, 1, 4, dtype=fastnn.float64, bidirectional=True)
    x = fastnn.randn(3, 2, 1, dtype=fastnn.float64, requires_grad=True)
    hx = first(layer, 2, fastnn.float64)
    for state in states(layer, hx):
        state.requires_grad_()
    weights = list(layer.parameters())

    def results(*_inputs):
        y, last = layer(x, hx, lengths=fastnn.tensor([2, 3]))
        return (y, *states(layer, last))

    inputs = [x, *states(layer, hx), *weights]
    assert gradcheck(results, inputs)
    assert gradgradcheck(results, inputs[:3], atol=2e-5)


def test_lengths_may_be_zero_and_of_any_integer_dtype():
    layer = made("LSTM", {})
    x, hx = fastnn.randn(4, 2, 4), first(made("LSTM", {}), 2)
    y, (h, c) = layer(x, hx, lengths=fastnn.tensor([0, 4], dtype=fastnn.int32))
    assert (y[:, 0] == 0).all().item()
    assert_same_bits(h[0, 0].detach(), hx[0][0, 0])
    assert_same_bits(c[0, 0].detach(), hx[1][0, 0])
    again, _ = layer(x, hx)
    assert_same_bits(y[:, 1].detach(), again[:, 1].detach())


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_the_batch_may_come_first_and_be_absent(kind, options):
    layer = made(kind, options, bidirectional=True)
    x = fastnn.randn(6, 3, 4)
    y, last = layer(x)
    turned = made(kind, options, bidirectional=True, batch_first=True)
    y2, last2 = turned(x.transpose(0, 1))
    assert_same_bits(y.detach(), y2.transpose(0, 1).contiguous().detach())
    for a, b in zip(states(layer, last), states(layer, last2), strict=True):
        assert_same_bits(a.detach(), b.detach())
    y3, last3 = layer(x[:, 1])
    assert_same_bits(y[:, 1].contiguous().detach(), y3.detach())
    for a, b in zip(states(layer, last), states(layer, last3), strict=True):
        assert_same_bits(a[:, 1].contiguous().detach(), b.detach())


def test_lengths_of_all_kinds_and_every_number_of_threads():
    """Few rows of many steps: products then take other paths than the padded ones would."""
    rng = np.random.default_rng(0)
    for case in range(60):
        kind, options = KINDS[case % len(KINDS)]
        steps, batch = int(rng.integers(1, 8)), int(rng.integers(1, 40))
        features, units = (int(rng.choice([4, 33, 100, 300])) for _ in range(2))
        most = int(rng.choice([1, 1, 2, steps]))
        lengths = rng.integers(0, min(most, steps) + 1, batch)
        if case % 3 == 0:
            lengths = [int(n) for n in np.where(np.arange(batch) % 4 < 2, 1, 0)]
        layer = made(kind, options, features, units)
        for p in layer.parameters():
            p.requires_grad = bool(rng.integers(0, 2))
        x = fastnn.randn(steps, batch, features)
        found = []
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            x.grad = None
            x.requires_grad_()
            for p in layer.parameters():
                p.grad = None
            y, last = layer(x, lengths=lengths)
            (y.sum() + sum(s.sum() for s in states(layer, last))).backward()
            grads = [p.grad for p in layer.parameters() if p.grad is not None]
            found.append([y.detach(), x.grad, *grads])
        for others in found[1:]:
            for a, b in zip(found[0], others, strict=True):
                assert_same_bits(a, b)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_inference_by_chunks_of_steps_has_the_bits_of_training(kind):
    """8 MB of products at a time, here 16 steps of 33."""
    layer = getattr(nn, kind)(3, 512, bidirectional=True)
    x = fastnn.randn(33 if kind == "LSTM" else 43, 64, 3)
    lengths = fastnn.randint(0, len(x) + 1, (64,))
    for n in (None, lengths):
        with fastnn.no_grad():
            y, last = layer(x, lengths=n)
        expected, end = layer(x, lengths=n)
        assert_same_bits(y, expected.detach())
        for a, b in zip(states(layer, last), states(layer, end), strict=True):
            assert_same_bits(a, b.detach())


def test_a_plan_checks_lengths_too():
    layer = made("GRU", {})
    run = fastnn.compile(lambda x, n: (layer(x, lengths=n), x * 2)[1])
    x = fastnn.ones(3, 2, 4)
    for _ in range(4):
        run(x, fastnn.tensor([3, 1]))
    with pytest.raises(ValueError, match="lengths from 0 to 3, got 9"):
        run(x, fastnn.tensor([9, 1]))


def test_no_steps_have_gradients_of_any_order():
    layer = made("LSTM", {})
    x = fastnn.zeros(0, 2, 4)
    h, c = first(layer, 2)
    h.requires_grad_()
    y, (hn, _) = layer(x, (h, c))
    (g,) = fastnn.autograd.grad(y.sum() + (hn * hn).sum(), [h], create_graph=True)
    assert_same_bits(g.detach(), (2 * h).detach())


# ---- packed sequences ---------------------------------------------------------------------


@pytest.mark.parametrize("enforce", [True, False])
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_packed_sequences_give_what_lengths_give(kind, options, enforce):
    layer = made(kind, options, bidirectional=True, num_layers=2)
    lengths = [6, 5, 5, 2] if enforce else [5, 2, 6, 5]
    x, hx = fastnn.randn(6, 4, 4), first(layer, 4)
    packed = packing.pack_padded_sequence(x, lengths, enforce_sorted=enforce)
    assert packed.data.shape == (sum(lengths), 4)
    out, last = layer(packed, hx)
    y, n = packing.pad_packed_sequence(out)
    assert n.tolist() == lengths
    expected, end = layer(x, hx, lengths=lengths)
    assert_same_bits(y.detach(), expected.detach())
    for a, b in zip(states(layer, last), states(layer, end), strict=True):
        assert_same_bits(a.detach(), b.detach())


def test_padding_there_and_back():
    rng = np.random.default_rng(0)
    parts = [fastnn.tensor(rng.standard_normal((n, 2))) for n in (3, 1, 4)]
    x = packing.pad_sequence(parts, batch_first=True, padding_value=7.0)
    assert x.shape == (3, 4, 2) and x[1, 2, 0].item() == 7.0
    for a, b in zip(packing.unpad_sequence(x, [3, 1, 4], True), parts, strict=True):
        assert_same_bits(a.contiguous(), b)
    left = packing.pad_sequence(parts, padding_side="left")
    assert_same_bits(left[3, 1].contiguous(), parts[1][0].contiguous())
    packed = packing.pack_sequence(parts, enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [3, 2, 2, 1]
    back, lengths = packing.pad_packed_sequence(packed, True, 7.0, total_length=5)
    assert lengths.tolist() == [3, 1, 4] and back.shape == (3, 5, 2)
    assert_same_bits(back[:, :4].contiguous(), x)
    for bad, match in (
        (lambda: packing.pack_sequence(parts), "longest sequence first"),
        (lambda: packing.pack_padded_sequence(x, [1, 2]), "4 integers"),
        (lambda: packing.pack_padded_sequence(x, [9, 1, 1, 1]), "from 1 to 3"),
        (lambda: packing.pad_packed_sequence(packed, total_length=2), "at least 4"),
        (lambda: packing.pad_sequence([]), "at least one"),
    ):
        with pytest.raises(ValueError, match=match):
            bad()


# ---- cells ------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "options"), KINDS[:4], ids=str)
def test_cells_take_the_layer_step_by_step(kind, options, bias):
    layer = made(kind, options, bias=bias)
    cell = getattr(nn, f"{kind}Cell")(4, 5, bias=bias, **options)
    cell.load_state_dict({k[:-3]: v for k, v in layer.state_dict().items()})
    x, hx = fastnn.randn(3, 2, 4), first(layer, 2)
    y, _ = layer(x, hx)
    state = tuple(s[0] for s in hx) if kind == "LSTM" else hx[0]
    for t in range(3):
        state = cell(x[t], state)
        h = state[0] if kind == "LSTM" else state
        assert_same_bits(h.detach(), y[t].detach())
    one = cell(x[0, 0])
    two = cell(x[0, :1])
    if kind == "LSTM":
        one, two = one[0], two[0]
    assert_same_bits(one.detach(), two[0].detach())


# ---- beginnings ---------------------------------------------------------------------------


def test_forget_bias_and_orthogonal_weights():
    layer = nn.LSTM(3, 8, num_layers=2, forget_bias=1.0, recurrent_init="orthogonal")
    for w_ih, w_hh, b_ih, b_hh in layer.all_weights:
        sums = (b_ih + b_hh).detach().numpy()
        assert (sums[8:16] == 1).all() and np.abs(sums[:8]).max() < 2 / np.sqrt(8)
        assert np.abs(w_ih.detach().numpy()).max() <= 1 / np.sqrt(8)
        for gate in np.split(w_hh.detach().numpy().astype(float), 4):
            np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-6)
    plain = nn.GRU(3, 8)
    bound = 1 / np.sqrt(8)
    for p in plain.parameters():
        assert 0.5 * bound < np.abs(p.detach().numpy()).max() <= bound


def test_dropout_is_between_layers_and_in_training_alone():
    layer = made("GRU", {}, num_layers=2, dropout=0.5)
    one = made("GRU", {}, num_layers=1, dropout=0.5)
    x = fastnn.randn(3, 2, 4)
    assert_same_bits(one(x)[0].detach(), one(x)[0].detach())
    assert (layer(x)[0] != layer(x)[0]).any().item()
    layer.eval()
    assert_same_bits(layer(x)[0].detach(), layer(x)[0].detach())


def test_names_and_words():
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    assert list(layer.state_dict()) == [
        f"{name}_l{k}{end}"
        for k in (0, 1)
        for end in ("", "_reverse")
        for name in names
    ]
    assert repr(layer) == "LSTM(3, 5, proj_size=2, num_layers=2, bidirectional=True)"
    assert repr(nn.RNNCell(3, 5, nonlinearity="relu")) == (
        "RNNCell(3, 5, nonlinearity=relu)"
    )
    layer.flatten_parameters()


@pytest.mark.parametrize(
    ("kind", "options"), [*KINDS, ("GRU", {"num_layers": 2, "dropout": 0.3})], ids=str
)
def test_a_training_step_compiled_has_the_bits_of_eager(kind, options):
    def trained(compiled):
        layer = made(kind, options, bidirectional=True)
        readout = nn.Linear(layer.output_size * 2, 3)
        parameters = [*layer.parameters(), *readout.parameters()]
        optimizer = fastnn.optim.Adam(parameters, lr=1e-2)

        def step(x, lengths, target):
            optimizer.zero_grad()
            y, _ = layer(x, lengths=lengths)
            loss = nn.functional.cross_entropy(readout(y.mean(0)), target)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
            return loss

        run = fastnn.compile(step) if compiled else step
        fastnn.manual_seed(9)
        losses = []
        for k in range(7):
            x = fastnn.randn(5, 4, 4)
            lengths = fastnn.tensor([5, 1 + k % 5, 3, 4])
            losses.append(run(x, lengths, fastnn.tensor([0, 1, 2, 1])).item())
        return losses, parameters

    eager, a = trained(False)
    plan, b = trained(True)
    assert eager == plan
    for p, q in zip(a, b, strict=True):
        assert_same_bits(p.detach(), q.detach())


# ---- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: nn.RNN(3, 0), ValueError, "hidden_size of at least 1"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), ValueError, "'tanh' or 'relu'"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "proj_size below"),
        (lambda: nn.LSTM(3, 4, dropout=2), ValueError, "from 0 to 1"),
        (lambda: nn.GRU(3, 4, recurrent_init="x"), ValueError, "recurrent_init out of"),
        (lambda: nn.LSTM(3, 4, bias=False, forget_bias=1.0), ValueError, "needs bias"),
        (
            lambda: nn.GRU(3, 4, bidirectional=True, stateful=True),
            ValueError,
            "carries no state",
        ),
        (lambda: nn.GRU(3, 4)(fastnn.ones(3)), ValueError, "2 or 3 dimensions"),
        (lambda: nn.GRU(3, 4)(fastnn.ones(2, 2, 4)), ValueError, "3 features"),
        (
            lambda: nn.GRU(3, 4)(fastnn.ones(2, 2, 3), fastnn.ones(1, 3, 4)),
            ValueError,
            r"h_0 of shape \(1, 2, 4\)",
        ),
        (
            lambda: nn.LSTM(3, 4)(fastnn.ones(2, 2, 3), fastnn.ones(1, 2, 4)),
            TypeError,
            r"hx as \(h_0, c_0\)",
        ),
        (
            lambda: nn.GRU(3, 4)(fastnn.ones(2, 2, 3), lengths=[1, 3]),
            ValueError,
            "lengths from 0 to 2, got 3 at position 1",
        ),
        (
            lambda: nn.GRU(3, 4)(fastnn.ones(2, 2, 3), lengths=[1.5, 2]),
            TypeError,
            "lengths as integers",
        ),
        (
            lambda: nn.GRU(3, 4)(packing.pack_sequence([fastnn.ones(2, 7)])),
            ValueError,
            "GRU: expected input with 3 features",
        ),
        (
            lambda: nn.GRU(3, 4, bidirectional=True).step(fastnn.ones(3)),
            RuntimeError,
            "whole sequences",
        ),
        (lambda: nn.GRUCell(3, 4)(fastnn.ones(2, 4)), ValueError, "3 features"),
        (
            lambda: nn.GRUCell(3, 4)(fastnn.ones(2, 3), fastnn.ones(1, 4)),
            ValueError,
            r"hx of shape \(2, 4\)",
        ),
        (lambda: nn.LSTMCell(3, 4)(fastnn.ones(3), 1), TypeError, r"hx as \(h, c\)"),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()
