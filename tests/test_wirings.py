"""How recurrent networks are wired: decoders against plain loops, pooling against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck
from fastnn.nn import functional as F

RNNS = {
    "rnn": (nn.RNN, nn.RNNCell),
    "gru": (nn.GRU, nn.GRUCell),
    "lstm": (nn.LSTM, nn.LSTMCell),
    "output": (nn.OutputRNN, None),
}
STEPS, BATCH, OUT, EXTRA, UNITS = 5, 3, 2, 1, 4
F64 = {"dtype": fastnn.float64}


def random(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return fastnn.tensor(rng.standard_normal(shape))


def decoder(kind, inputs=0, **options):
    """A decoder over a layer, and the same weights as a cell: (x, state) to (h, state)."""
    fastnn.manual_seed(1)
    layer, cell = RNNS[kind]
    made = nn.Decoder(
        layer(OUT + inputs, UNITS, **F64, **options), nn.Linear(UNITS, OUT, **F64)
    )
    if cell is None:
        w, b = made.rnn.weight, made.rnn.bias

        def step(x, state):
            return (x @ w.t() + b).tanh(), None

        return made, step
    single = cell(OUT + inputs, UNITS, **F64)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(single, name, getattr(made.rnn, name + "_l0"))

    def step(x, state):
        state = single(x, state)
        return (state[0] if kind == "lstm" else state), state

    return made, step


def plain(made, step, state, steps, fed, told=None, inputs=None):
    """The loop that a reader would write; told(t) says what is read after step t."""
    ys = []
    for t in range(steps):
        x = fed if inputs is None else fastnn.cat([fed, inputs[t]], 1)
        h, state = step(x, state)
        ys.append(made.readout(h))
        fed = ys[-1] if told is None else told(t, ys[-1])
    return fastnn.stack(ys, 0)


def gradients(made, y):
    """Of all parameters, of a loss that weighs all outputs differently."""
    made.zero_grad()
    (y * random(*y.shape, seed=9)).sum().backward(retain_graph=True)
    return [p.grad.numpy().copy() for p in made.parameters()]


def agree(made, found, expected):
    """The same outputs and gradients."""
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-13
    )
    for g, e in zip(gradients(made, found), gradients(made, expected), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("extra", [0, EXTRA])
@pytest.mark.parametrize("kind", RNNS)
def test_teacher_forcing_and_free_running(kind, extra):
    made, step = decoder(kind, extra)
    targets, start = random(STEPS, BATCH, OUT), random(BATCH, OUT, seed=1)
    inputs = random(STEPS, BATCH, extra, seed=2) if extra else None
    found, _ = made(None, targets, start=start, inputs=inputs)
    expected = plain(made, step, None, STEPS, start, lambda t, y: targets[t], inputs)
    agree(made, found, expected)
    found, _ = made(steps=STEPS, start=start, inputs=inputs)
    agree(made, found, plain(made, step, None, STEPS, start, None, inputs))
    tokens, _ = made.generate(steps=STEPS, start=start, inputs=inputs)
    assert tokens.tolist() == found.tolist()
    assert not tokens.requires_grad


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_states_go_in_and_out(kind):
    """Where one call ends the next goes on, forced or free, and gradients pass."""
    made, _ = decoder(kind)
    targets, start = random(STEPS, BATCH, OUT), random(BATCH, OUT, seed=1)
    whole, last = made(None, targets, start=start)
    first, state = made(None, targets[:2], start=start)
    second, end = made(state, targets[2:], start=targets[1])
    agree(made, fastnn.cat([first, second], 0), whole)
    for a, b in zip(
        *((s if kind == "lstm" else (s,)) for s in (end, last)), strict=True
    ):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)
    free, _ = made(state, steps=3)
    begun, state = made(state, steps=1)
    rest, _ = made(state, steps=2, start=begun[0])
    agree(made, fastnn.cat([begun, rest], 0), free)


@pytest.mark.parametrize("kind", RNNS)
def test_scheduled_sampling(kind):
    made, step = decoder(kind)
    targets, start = random(STEPS, BATCH, OUT), random(BATCH, OUT, seed=1)
    for epsilon in (0.3, fastnn.tensor(0.3)):
        fastnn.manual_seed(7)
        found, _ = made(None, targets, start=start, teacher_forcing=epsilon)
        fastnn.manual_seed(7)
        coins = fastnn.rand(STEPS - 1, BATCH, 1) < 0.3
        assert 0 < coins.sum().item() < coins.numel()

        def told(t, y, coins=coins):
            return fastnn.where(coins[t], targets[t], y) if t < STEPS - 1 else y

        agree(made, found, plain(made, step, None, STEPS, start, told))
    forced, _ = made(None, targets, start=start)
    free, _ = made(steps=STEPS, start=start)
    for epsilon, expected in ((1.0, forced), (0.0, free)):
        for value in (epsilon, fastnn.tensor(epsilon)):
            found, _ = made(None, targets, start=start, teacher_forcing=value)
            agree(made, found, expected)


def test_scheduled_sampling_compiles():
    """One plan for an epsilon that falls, with the bits and the draws of eager steps."""
    made, _ = decoder("gru")
    targets = random(STEPS, BATCH, OUT)

    def loss(targets, epsilon):
        made.zero_grad()
        y, _ = made(None, targets, teacher_forcing=epsilon)
        value = F.mse_loss(y, targets)
        value.backward()
        return value

    compiled = fastnn.compile(loss)
    seen = []
    for function in (loss, compiled):
        fastnn.manual_seed(3)
        for i in range(8):
            value = function(targets, fastnn.tensor(1 - i / 8))
            seen.append((value.item(), made.rnn.weight_hh_l0.grad.tolist()))
    assert seen[:8] == seen[8:]
    assert len({value for value, _ in seen}) > 4
    assert len(compiled.plans) == 1


@pytest.mark.parametrize("mode", [{"steps": STEPS}, {"forced": True}])
def test_decoder_compiles(mode):
    made, _ = decoder("lstm")
    targets = random(STEPS, BATCH, OUT)
    options = {"targets": targets} if "forced" in mode else mode

    def outputs(start):
        return made(None, start=start, **options)[0]

    compiled = fastnn.compile(outputs)
    for seed in range(4):
        start = random(BATCH, OUT, seed=seed)
        assert compiled(start).tolist() == outputs(start).tolist()
    assert len(compiled.plans) == 1


@pytest.mark.parametrize("kind", RNNS)
def test_batch_first(kind):
    made, _ = decoder(kind, EXTRA)
    other, _ = decoder(kind, EXTRA, batch_first=True)
    targets, start = random(STEPS, BATCH, OUT), random(BATCH, OUT, seed=1)
    inputs = random(STEPS, BATCH, EXTRA, seed=2)
    for epsilon in (1.0, 0.0, 0.5):
        fastnn.manual_seed(0)
        y, _ = made(None, targets, start=start, inputs=inputs, teacher_forcing=epsilon)
        fastnn.manual_seed(0)
        z, _ = other(
            None,
            targets.transpose(0, 1),
            start=start,
            inputs=inputs.transpose(0, 1),
            teacher_forcing=epsilon,
        )
        np.testing.assert_allclose(
            z.transpose(0, 1).detach().numpy(), y.detach().numpy(), rtol=1e-12
        )
    assert other.generate(steps=2, start=start, inputs=inputs.transpose(0, 1)[:, :2])[
        0
    ].shape == (BATCH, 2, OUT)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_cells(kind):
    """A cell does what a layer does; also one that is a function."""
    made, _ = decoder(kind)
    cell = RNNS[kind][1](OUT, UNITS, **F64)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(made.rnn, name + "_l0"))
    other = nn.Decoder(cell, made.readout)
    assert isinstance(nn.Decoder(lambda x, s: x, made.readout).rnn, type(lambda: 0))
    targets, start = random(STEPS, BATCH, OUT), random(BATCH, OUT, seed=1)
    for epsilon in (1.0, 0.0, 0.5):
        options = {"start": start, "teacher_forcing": epsilon}
        fastnn.manual_seed(0)
        expected, state = made(None, targets, **options)
        fastnn.manual_seed(0)
        found, own = other(None, targets, **options)
        np.testing.assert_allclose(
            found.detach().numpy(), expected.detach().numpy(), rtol=1e-12
        )
    h, own = (s[0] if kind == "lstm" else s for s in (state, own))
    np.testing.assert_allclose(h[0].detach().numpy(), own.detach().numpy(), rtol=1e-12)


def test_output_rnn_forgets_all_but_outputs():
    """Its state is None, and forced steps do not depend on one another."""
    made, _ = decoder("output")
    targets = random(STEPS, BATCH, OUT)
    y, state = made(None, targets)
    assert state is None
    targets[0] = 7.0
    z, _ = made(None, targets)
    same = (y == z).all(-1).all(-1).tolist()
    assert same == [True, False, True, True, True]
    y, _ = made(steps=STEPS, start=targets[0])
    z, _ = made(steps=STEPS, start=targets[1])
    assert not (y == z).any().item()  # while outputs carry what was read
    layer = nn.OutputRNN(3, 2, "relu", bias=False)
    assert repr(layer) == "OutputRNN(3, 2, nonlinearity=relu, bias=False)"
    x = fastnn.ones(4, 3)
    assert layer(x)[0].tolist() == F.relu(x @ layer.weight.t()).tolist()


def test_classes_are_sampled_and_embedded():
    """Of classes the choice is fed back, as the embedding of targets is."""
    fastnn.manual_seed(0)
    classes, table = 4, random(4, 3)
    made = nn.Decoder(
        nn.GRU(3, UNITS, **F64),
        nn.Linear(UNITS, classes, **F64),
        sample=lambda y: y.argmax(-1),
        embed=lambda token: F.one_hot(token, classes).double() @ table,
    )
    start = fastnn.tensor([3, 0])
    tokens, _ = made.generate(steps=STEPS, start=start)
    assert tokens.shape == (STEPS, 2)
    assert tokens.dtype is fastnn.int64
    free, _ = made(steps=STEPS, start=start)
    forced, _ = made(None, tokens, start=start)
    assert free.argmax(-1).tolist() == tokens.tolist()
    np.testing.assert_allclose(
        forced.detach().numpy(), free.detach().numpy(), rtol=1e-12
    )
    F.cross_entropy(forced.reshape(-1, classes), tokens.reshape(-1)).backward()
    assert made.rnn.weight_ih_l0.grad.abs().sum().item() > 0


def test_an_embedding_learns_within_a_decoder():
    """It is the decoder's own module; it learns to say a sequence by heart, compiled."""
    fastnn.manual_seed(0)
    made = nn.Decoder(
        nn.GRU(4, 16), nn.Linear(16, 5), lambda y: y.argmax(-1), nn.Embedding(5, 4)
    )
    assert "embed.weight" in made.state_dict()
    adam = fastnn.optim.Adam(made.parameters(), lr=0.03)
    tokens = fastnn.tensor([[1], [3], [3], [0], [2], [4]])
    start = fastnn.tensor([0])

    @fastnn.compile
    def step(epsilon):
        adam.zero_grad()
        y, _ = made(None, tokens, start=start, teacher_forcing=epsilon)
        loss = F.cross_entropy(y.reshape(-1, 5), tokens.reshape(-1))
        loss.backward()
        adam.step()
        return loss

    for i in range(60):
        step(fastnn.tensor(max(0.0, 1 - i / 40)))
    said, _ = made.generate(steps=6, start=start)
    assert said.tolist() == tokens.tolist()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda d: d(), ValueError, "targets, inputs or steps"),
        (lambda d: d(steps=3), ValueError, "a state, start, targets or inputs"),
        (lambda d: d(steps=0), ValueError, "steps of at least 1"),
        (lambda d: d(None, random(3, 1, OUT), 2), ValueError, "one number of steps"),
        (lambda d: d(None, random(0, 1, OUT)), ValueError, "at least one step"),
        (
            lambda d: d(None, random(2, 1, OUT), teacher_forcing=2),
            ValueError,
            "Decoder: expected p from 0 to 1",
        ),
        (
            lambda d: nn.Decoder(nn.GRU(1, 2, bidirectional=True), d),
            ValueError,
            "bidir",
        ),
        (lambda d: nn.OutputRNN(1, 2, "elu"), ValueError, "'tanh' or 'relu'"),
    ],
)
def test_decoder_errors(call, error, match):
    made, _ = decoder("gru")
    with pytest.raises(error, match=match):
        call(made)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_encoder_decoder(bidirectional):
    """Lengths of the input, a bridge where sizes differ, and gradients through both."""
    fastnn.manual_seed(0)
    encoder = nn.GRU(2, 3, bidirectional=bidirectional, **F64)
    made, step = decoder("gru")

    class Bridge(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6 if bidirectional else 3, UNITS, **F64)

        def forward(self, state):
            return self.linear(fastnn.cat(list(state.unbind(0)), 1)).unsqueeze(0)

    model = nn.EncoderDecoder(encoder, made, Bridge())
    x, targets = random(7, BATCH, 2), random(STEPS, BATCH, OUT)
    start = random(BATCH, OUT, seed=4)
    lengths = [7, 2, 4]
    found = model(x, targets, lengths=lengths, start=start)
    state = model.bridge(
        fastnn.cat([encoder(x[:n, i : i + 1])[1] for i, n in enumerate(lengths)], 1)
    )
    agree(
        model,
        found,
        plain(made, step, state[0], STEPS, start, lambda t, y: targets[t]),
    )
    free = model(x, steps=STEPS, lengths=lengths, start=start)
    assert model.generate(x, STEPS, lengths=lengths, start=start).tolist() == (
        free.tolist()
    )
    assert len(list(model.parameters())) == (8 if bidirectional else 4) + 2 + 6


def test_one_to_many():
    """A vector, the same at each step, and many outputs (a caption, say)."""
    made, step = decoder("lstm", UNITS)
    vector, start = random(BATCH, UNITS), fastnn.zeros(BATCH, OUT, **F64)
    found, _ = made(steps=STEPS, inputs=vector.expand(STEPS, -1, -1))
    expected = plain(made, step, None, STEPS, start, None, [vector] * STEPS)
    agree(made, found, expected)


# ---- from a sequence to a vector ----------------------------------------------------------

LENGTHS = [6, 1, 0, 3]


def by_hand(mode, x, lengths, bidirectional=False):
    """Sequence by sequence, in NumPy."""
    rows = []
    for i, n in enumerate(lengths):
        part = x[:n, i]
        if n == 0:
            rows.append(np.zeros(x.shape[2]))
        elif mode == "last":
            half = x.shape[2] // 2 if bidirectional else x.shape[2]
            rows.append(np.concatenate([part[-1, :half], part[0, half:]]))
        else:
            rows.append(getattr(part, mode)(0))
    return np.stack(rows)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("mode", ["last", "mean", "max"])
def test_sequence_pooling(mode, bidirectional, batch_first):
    pool = nn.SequencePooling(mode, batch_first, bidirectional)
    x = random(6, 4, 2)
    given = x.transpose(0, 1) if batch_first else x
    for lengths in (LENGTHS, fastnn.tensor(LENGTHS)):
        found = pool(given, lengths).numpy()
        np.testing.assert_allclose(
            found, by_hand(mode, x.numpy(), LENGTHS, bidirectional), rtol=1e-13
        )
    np.testing.assert_allclose(
        pool(given).numpy(),
        by_hand(mode, x.numpy(), [6] * 4, bidirectional),
        rtol=1e-13,
    )
    given = given.contiguous().requires_grad_()
    assert gradcheck(lambda x: pool(x, LENGTHS), [given])


def test_the_last_state_of_layers():
    """Pooling "last" is what the layer itself returns."""
    layer = nn.GRU(2, 3, bidirectional=True)
    x = random(6, 4, 2).float()
    y, h = layer(x, lengths=LENGTHS)
    found = nn.SequencePooling("last", bidirectional=True)(y, LENGTHS)
    assert found.tolist() == fastnn.cat(list(h.unbind(0)), 1).tolist()


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_pooling(batch_first):
    fastnn.manual_seed(0)
    pool = nn.AttentionPooling(2, 5, batch_first, **F64)
    x = random(6, 4, 2)
    given = x.transpose(0, 1) if batch_first else x
    found, a = pool(given, LENGTHS), pool.weights(given, LENGTHS)
    a = (a.transpose(0, 1) if batch_first else a).detach().numpy()
    w, b = pool.hidden.weight.detach().numpy(), pool.hidden.bias.detach().numpy()
    scores = np.tanh(x.numpy() @ w.T + b) @ pool.score.weight.detach().numpy()[0]
    for i, n in enumerate(LENGTHS):
        e = np.exp(scores[:n, i])
        weights = np.concatenate([e / e.sum() if n else e, np.zeros(6 - n)])
        np.testing.assert_allclose(a[:, i], weights, rtol=1e-12)
        np.testing.assert_allclose(
            found.detach().numpy()[i], weights @ x.numpy()[:, i], rtol=1e-12, atol=1e-15
        )
    whole = pool.weights(given).sum(1 if batch_first else 0).detach().numpy()
    np.testing.assert_allclose(whole, 1)
    assert gradcheck(
        lambda x, *_: pool(x, LENGTHS),
        [given.detach().contiguous().requires_grad_(), *pool.parameters()],
    )


@pytest.mark.parametrize(
    "pool",
    [
        nn.SequencePooling("last"),
        nn.SequencePooling("mean"),
        nn.SequencePooling("max"),
        nn.AttentionPooling(2, **F64),
    ],
    ids=["last", "mean", "max", "attention"],
)
def test_padding_is_not_looked_at(pool):
    """Not even where it is NaN, and no gradient goes there; compiled with the same bits."""
    clean = random(6, 4, 2)
    dirty = clean.clone()
    for i, n in enumerate(LENGTHS):
        dirty[n:, i] = float("nan")
    lengths = fastnn.tensor(LENGTHS)
    seen = []
    compiled = fastnn.compile(pool)
    for x in (clean, dirty):
        x.requires_grad_()
        y = pool(x, lengths)
        y.sum().backward()
        seen.append((y.tolist(), x.grad.tolist()))
        assert compiled(x.detach(), lengths).tolist() == y.tolist()
    assert seen[0] == seen[1]
    for i, n in enumerate(LENGTHS):
        assert not clean.grad[n:, i].any().item()


@pytest.mark.parametrize("kind", [nn.SequencePooling, lambda: nn.AttentionPooling(2)])
def test_pooling_errors(kind):
    pool = kind()
    x = fastnn.ones(3, 4, 2)
    for arguments, match in (
        ((x[0],), "expected input of 3 dimensions"),
        ((x[:0],), "at least one step"),
        ((x, [1, 2]), r"lengths of shape \(4,\)"),
        ((x, fastnn.ones(4)), "integers"),
    ):
        with pytest.raises((ValueError, TypeError), match=match):
            pool(*arguments)
    with pytest.raises(ValueError, match="expected mode out of"):
        nn.SequencePooling("sum")
    assert repr(nn.SequencePooling("max", batch_first=True)) == (
        "SequencePooling('max', batch_first=True)"
    )
