"""Truncated backpropagation through time: states carried from batch to batch."""

import copy
import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.data import ContiguousBatches
from fastnn.nn import functional as F
from fastnn.nn.utils import carried_states, load_carried_states, reset_states
from fastnn.train import Callback, ModelCheckpoint, TerminateOnNaN, Trainer
from fastnn.train.callbacks.replay import again

LAYERS = {
    "rnn": lambda **o: nn.RNN(5, 6, 2, **o),
    "gru": lambda **o: nn.GRU(5, 6, **o),
    "lstm": lambda **o: nn.LSTM(5, 6, 2, **o),
    "projected": lambda **o: nn.LSTM(5, 6, 2, proj_size=3, **o),
}


class Net(nn.Module):
    """Tokens in, scores of the next ones out."""

    def __init__(self, kind="lstm", tokens=5, **options):
        super().__init__()
        self.rnn = LAYERS[kind](**options)
        self.out = nn.Linear(self.rnn.output_size, tokens)

    def forward(self, x, hx=None):
        y, self_state = self.rnn(F.one_hot(x, 5).to(self.out.weight.dtype), hx)
        return self.out(y) if hx is None else (self.out(y), self_state)


def loss_of(output, target):
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def bits(model):
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def tokens(n=210, seed=0):
    return np.random.default_rng(seed).integers(0, 5, n)


def network(kind="lstm", dtype=fastnn.float32, **options):
    fastnn.manual_seed(3)
    return Net(kind, **options).to(dtype)


def detached(state):
    return (
        tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_it_is_detach_and_pass_by_hand(kind, first, compiled):
    dtype = fastnn.float64 if kind == "gru" else fastnn.float32
    batches = list(ContiguousBatches(tokens(), 4, 7, batch_first=first))
    assert len({x.shape for x, _ in batches}) == 2  # the last one is shorter

    def learn(stateful):
        model = network(kind, dtype, batch_first=first, stateful=stateful)
        adam = optim.Adam(model.parameters(), 0.01)
        state = None

        def step(x, y):
            nonlocal state
            adam.zero_grad()
            if stateful:
                output = model(x)
            else:
                if state is None:
                    state = zeros(model.rnn, 4, dtype)
                output, state = model(x, detached(state))
            loss = loss_of(output, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            adam.step()
            return loss

        if compiled and stateful:
            step = fastnn.compile(step)
        losses = []
        for _ in range(2):
            for x, y in batches:
                losses.append(step(x, y).item())
            state = None
            reset_states(model)
        if compiled and stateful:
            assert 1 <= len(step.plans) <= 2
        return losses, bits(model)

    assert learn(True) == learn(False)


def zeros(rnn, batch, dtype):
    sizes = [rnn.output_size, rnn.hidden_size][: 1 + (rnn.mode == "LSTM")]
    made = tuple(fastnn.zeros(rnn.num_layers, batch, n, dtype=dtype) for n in sizes)
    return made if len(made) > 1 else made[0]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_another_batch_size_begins_anew(compiled, first):
    layer = LAYERS["lstm"](stateful=True, batch_first=first)
    plain = LAYERS["lstm"](batch_first=first)
    plain.load_state_dict(layer.state_dict())
    call = fastnn.compile(layer) if compiled else layer
    rng = np.random.default_rng(0)
    state, before = None, 0
    for batch in [3, 3, 3, 3, 2, 2, 1, 3, 3, 2, 2, 2, 3, 1, 1, 1] * 2:
        shape = (batch, 4, 5) if first else (4, batch, 5)
        x = fastnn.from_numpy(rng.standard_normal(shape).astype(np.float32))
        with fastnn.no_grad():
            y, _ = call(x)
            expected, state = plain(x, state if batch == before else None)
        assert (y == expected).all().item()
        before = batch
    if compiled:
        recorded = len(call.plans)
        assert not call.eager and 3 <= recorded <= 5


def test_many_batch_sizes_keep_few_states():
    layer = nn.GRU(2, 3, stateful=True)
    for batch in range(1, 30):
        layer(fastnn.ones(2, batch, 2))
    assert len(layer.carried) == 8


def test_of_other_calls_it_takes_no_notice():
    layer, x = nn.GRU(2, 3, stateful=True), fastnn.ones(4, 1, 2)
    first, _ = layer(x)
    reset_states(layer)
    given, _ = layer(x, fastnn.ones(1, 1, 3))
    assert not (given == first).all().item()
    assert (layer(x)[0] == first).all().item()  # hx is not carried
    layer.reset_state()
    assert (layer(x.squeeze(1))[0] == first.squeeze(1)).all().item()
    layer.double()
    assert layer(x.double())[0].dtype is fastnn.float64


def test_lengths_carry_each_sequences_end():
    layer = nn.GRU(2, 3, stateful=True)
    x = fastnn.from_numpy(np.random.default_rng(0).random((4, 2, 2), np.float32))
    layer(x, lengths=[4, 2])
    y, _ = layer(x)
    plain = nn.GRU(2, 3)
    plain.load_state_dict(layer.state_dict())
    _, h = plain(x, lengths=[4, 2])
    assert (y == plain(x, h)[0]).all().item()


def test_no_graph_is_carried():
    layer = nn.LSTM(2, 3, stateful=True)
    x = fastnn.ones(4, 1, 2)
    layer(x)
    y, _ = layer(x)
    y.sum().backward()
    layer(x)[0].sum().backward()
    for states in layer.carried.values():
        assert all(not s.requires_grad for s in states)


def test_refusals():
    with pytest.raises(ValueError, match="LSTM: a bidirectional layer begins at both"):
        nn.LSTM(2, 3, bidirectional=True, stateful=True)
    packed = nn.utils.rnn.pack_padded_sequence(fastnn.ones(3, 2, 2), [3, 2])
    with pytest.raises(
        ValueError, match="GRU: a stateful layer takes Tensors, got a P"
    ):
        nn.GRU(2, 3, stateful=True)(packed)


def test_states_are_no_part_of_the_model_but_can_be_saved(tmp_path):
    model = network(stateful=True)
    assert list(model.state_dict()) == list(network().state_dict())
    x = fastnn.from_numpy(tokens(12).reshape(4, 3))
    model(x)
    assert list(model.state_dict()) == list(network().state_dict())
    fastnn.save(carried_states(model), tmp_path / "states.st")
    expected = model(x)
    for other in (network(stateful=True), copy.deepcopy(model), model):
        load_carried_states(other, fastnn.load(tmp_path / "states.st"))
        assert (other(x) == expected).all().item()
    with pytest.raises(ValueError, match=r"expected states of no layer, got \['rnn'\]"):
        load_carried_states(network(), carried_states(model))


# ---- Trainer ----


def fit(compile=True, validation=None, callbacks=(), epochs=3, model=None, **options):
    model = network(stateful=True) if model is None else model
    adam = optim.Adam(model.parameters(), 0.01)
    trainer = Trainer(model, loss_of, adam, clip_grad_norm=0.5, compile=compile)
    trainer.fit(
        ContiguousBatches(tokens(), 4, 7),
        validation=validation,
        epochs=epochs,
        callbacks=list(callbacks),
        verbose=False,
        **options,
    )
    return trainer


class Disturb(Callback):
    """Evaluates and predicts in the middle of an epoch."""

    def on_batch_end(self, trainer):
        if trainer.batch % 2:
            x = tokens(31, seed=2)
            trainer.evaluate(ContiguousBatches(x, 5, 3))
            trainer.predict(x[:12].reshape(4, 3), batch_size=2)


@pytest.mark.parametrize("compile", [False, True])
def test_validation_disturbs_nothing(compile):
    model = network(stateful=True)
    adam = optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(3):
        reset_states(model)
        for x, y in ContiguousBatches(tokens(), 4, 7):
            adam.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            adam.step()
            losses.append(loss.item())
    held_out = ContiguousBatches(tokens(80, seed=1), 4, 7)
    alone = fit(compile)
    disturbed = fit(compile, held_out, [Disturb()])
    for trainer in (alone, disturbed):
        assert list(trainer.history.batch_losses) == losses
        assert bits(trainer.model) == bits(model)
    # Each pass begins anew: the last one, by hand.
    reset_states(model)
    with fastnn.no_grad():
        sums = [(loss_of(model(x), y).item() * len(x), len(x)) for x, y in held_out]
    expected = sum(s for s, _ in sums) / sum(n for _, n in sums)
    assert disturbed.history["val_loss"][-1] == expected
    assert disturbed.evaluate(held_out)["loss"] == expected
    assert disturbed.evaluate(held_out)["loss"] == expected
    reset_states(model)
    x = tokens(12).reshape(4, 3)
    with fastnn.no_grad():
        expected = model(fastnn.from_numpy(x))
    for _ in range(2):
        assert (disturbed.predict(x, batch_size=4) == expected).all().item()


def test_plans_outlast_validation(monkeypatch):
    made = []
    record = fastnn.plan.compiled.CompiledFunction._record
    monkeypatch.setattr(
        fastnn.plan.compiled.CompiledFunction,
        "_record",
        lambda self, *a: made.append(self) or record(self, *a),
    )
    held_out = ContiguousBatches(tokens(80, seed=1), 2, 7)
    counts = []

    class Count(Callback):
        def on_epoch_end(self, trainer):
            counts.append(len(made))

    trainer = fit(True, held_out, [Count()], epochs=6)
    assert counts[2] == counts[-1] < 16
    assert not any(made.eager for _, made in trainer._plans._made.values())


@pytest.mark.parametrize("compile", [False, True])
def test_resumed_after_every_batch(compile, tmp_path):
    held_out = ContiguousBatches(tokens(80, seed=1), 4, 7)
    whole = fit(
        compile, held_out, [ModelCheckpoint(tmp_path / "{epoch}-{batch}.st", every=1)]
    )
    files = sorted(tmp_path.glob("*.st"))
    assert len(files) == 24
    for file in files[:: 1 if compile else 5]:
        again = fit(compile, held_out, resume=file)
        assert bits(again.model) == bits(whole.model), file.name
        assert list(again.history.batch_losses) == list(whole.history.batch_losses)
        assert again.history["val_loss"] == whole.history["val_loss"]
    with pytest.raises(ValueError, match=r"expected layers that carry \['rnn'\]"):
        fit(compile, held_out, resume=files[0], model=network())


class Poison(Callback):
    """Makes one batch's embedding useless, by a weight that is put back."""

    def on_batch_begin(self, trainer):
        weight = trainer.model.out.weight
        if trainer.batch == 3 and trainer.epoch == 2:
            self.kept = weight.detach().clone()
            self.states = carried_states(trainer.model)
            with fastnn.no_grad():
                weight.fill_(float("nan"))
                trainer.model.rnn.weight_ih_l0.copy_(
                    trainer.model.rnn.weight_ih_l0 + float("inf")
                )


@pytest.mark.parametrize("compile", [False, True])
def test_a_step_that_is_not_finite_carries_nothing(compile):
    poison = Poison()
    trainer = fit(compile, callbacks=[poison, TerminateOnNaN()])
    assert trainer.history.stop_reason
    after = carried_states(trainer.model)
    for key, states in poison.states["rnn"].items():
        for a, b in zip(states, after["rnn"][key], strict=True):
            assert (a == b).all().item()


def test_looking_at_a_batch_again_leaves_no_trace():
    trainer = fit()
    before = carried_states(trainer.model)
    with again(trainer), trainer.inference():
        trainer.model(fastnn.from_numpy(tokens(12).reshape(3, 4)))
    with again(trainer):
        trainer.model(fastnn.from_numpy(tokens(12).reshape(3, 4)))
        trainer.model(fastnn.from_numpy(tokens(12).reshape(4, 3)))
    after = carried_states(trainer.model)
    assert before["rnn"].keys() == after["rnn"].keys()
    for key, states in before["rnn"].items():
        for a, b in zip(states, after["rnn"][key], strict=True):
            assert (a == b).all().item()


def test_a_module_of_ones_own_carries():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.carried = {"mean": (fastnn.zeros(3),)}

        def forward(self, x):
            (mean,) = self.carried["mean"]
            new = mean * 0.5 + x.mean(0) * 0.5
            mean.copy_(new.detach())
            return new

    model = Mean()
    call = fastnn.compile(model)
    with fastnn.no_grad():
        ys = [call(fastnn.ones(2, 3))[0].item() for _ in range(4)]
        assert ys == [0.5, 0.75, 0.875, 0.9375]
        reset_states(model)
        assert call(fastnn.ones(2, 3))[0].item() == 0.5


# ---- ContiguousBatches ----


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_streams_go_on(first, drop_last):
    n, size, steps = 103, 4, 7  # 25 steps of 4 streams, 2 tokens too many
    loader = ContiguousBatches(
        np.arange(n), size, steps, batch_first=first, drop_last=drop_last
    )
    assert len(loader) == (3 if drop_last else 4)
    for _ in range(2):
        xs, ys = zip(*loader, strict=True)
        assert len(xs) == len(loader)
        assert xs[0].shape == ((size, steps) if first else (steps, size))
        x, y = (fastnn.cat(list(part), int(first)).numpy() for part in (xs, ys))
        if not first:
            x, y = x.T, y.T
        length = 21 if drop_last else 25
        expected = np.arange(100).reshape(size, 25)[:, :length]
        assert (x == expected).all() and (y == expected + 1).all()


def test_batches_are_copies_and_keep_features():
    series = fastnn.from_numpy(np.random.default_rng(0).random((50, 3), np.float32))
    before = series.clone()
    for x, y in ContiguousBatches(series, 2, 5, batch_first=True):
        assert x.shape[0] == 2 and x.shape[2] == 3 and x.is_contiguous()
        x.zero_(), y.zero_()
    assert (series == before).all().item()


def test_a_loader_goes_on_in_the_middle():
    for workers in (0, 1):
        loader = ContiguousBatches(tokens(), 4, 7, num_workers=workers)
        whole = [x.tolist() for x, _ in loader]
        for at in range(len(loader) + 1):
            state_of = ContiguousBatches(tokens(), 4, 7, num_workers=workers)
            batches = iter(state_of)
            list(itertools.islice(batches, at))
            other = ContiguousBatches(tokens(), 4, 7)
            other.load_state_dict(state_of.state_dict())
            assert [x.tolist() for x, _ in other] == whole[at:]


@pytest.mark.parametrize(
    ("given", "options", "error", "words"),
    [
        (3, (1, 1), ValueError, "expected a sequence of tokens, got a scalar"),
        (
            [1, 2, 3],
            (3, 1),
            ValueError,
            "expected more than 3 tokens for batch_size=3, g",
        ),
        ([], (1, 1), ValueError, "expected more than 1 tokens"),
        ([1, 2], (0, 1), ValueError, "expected batch_size of at least 1"),
        ([1, 2], (1, 0), ValueError, "expected steps of at least 1"),
        ([1, 2], (1, 1.0), TypeError, "expected steps as an integer"),
        ([1, 2, 3, 4], (1, 4, True), ValueError, "less than one batch of steps=4"),
    ],
)
def test_contiguous_batches_refuses(given, options, error, words):
    size, steps, *last = options
    with pytest.raises(error, match=f"ContiguousBatches: .*{words}"):
        ContiguousBatches(given, size, steps, drop_last=bool(last))
