"""Monitor: its numbers against NumPy, its words on networks sick and healthy."""

import itertools
import math

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.datasets import digits
from fastnn.train import Callback, Monitor, Trainer

F = nn.functional


@pytest.fixture(scope="module")
def data():
    return digits().train


def he(w):
    nn.init.kaiming_normal_(w, nonlinearity="relu")


def network(widths, start, activation=nn.ReLU):
    layers = []
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        linear = nn.Linear(n, m)
        start(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, *([activation()] if i < len(widths) - 2 else [])]
    return nn.Sequential(*layers)


class Functional(nn.Module):
    """Its ReLU is a call, which no hook sees."""

    def __init__(self, start=he):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 128), nn.Linear(128, 10)
        for layer in (self.fc1, self.fc2):
            start(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


DEEP = [64, *[128] * 9, 10]
SMALL = [64, 128, 10]


def watch(model, optimizer, data, *, epochs=1, every=20, loss=None, **options):
    monitor = Monitor(every=every)
    made = Trainer(model, loss or nn.CrossEntropyLoss(), optimizer(model.parameters()))
    made.fit(data, epochs=epochs, callbacks=[monitor], verbose=False, **options)
    return monitor


def adam(parameters):
    return optim.Adam(parameters, lr=1e-3)


def SGD10(parameters):  # noqa: N802
    return optim.SGD(parameters, lr=10.0)


def kinds(monitor):
    return {message.kind for message in monitor.messages}


# ---- words ----

HEALTHY = {
    "64-128-10": (lambda: network(SMALL, he), 5, {}),
    "64-128-64-10": (lambda: network([64, 128, 64, 10], he), 25, {}),
    "ten layers": (lambda: network(DEEP, he), 8, {}),
    "functional": (Functional, 5, {}),
    "tanh": (lambda: network(DEEP, nn.init.xavier_normal_, nn.Tanh), 4, {}),
    "one sigmoid layer": (
        lambda: network(SMALL, nn.init.xavier_normal_, nn.Sigmoid),
        3,
        {},
    ),
    "single samples": (lambda: network([64, 128, 64, 10], he), 1, {"batch_size": 1}),
    "all samples at once": (lambda: network(SMALL, he), 40, {"batch_size": 1437}),
    "no hidden layer": (lambda: network([64, 10], nn.init.zeros_), 3, {}),
}


@pytest.mark.parametrize("name", list(HEALTHY))
@pytest.mark.parametrize("every", [1, 50])
def test_no_false_alarm(name, every, data):
    make, epochs, options = HEALTHY[name]
    fastnn.manual_seed(0)
    # Every batch is measured for a few epochs only: it takes its time.
    epochs = epochs if every > 1 else min(epochs, 3)
    if every == 1 and options.get("batch_size") == 1:
        pytest.skip("1,437 measurements say no more than the others")
    if name == "all samples at once":
        epochs = 40
    monitor = watch(make(), adam, data, epochs=epochs, every=every, **options)
    assert [
        message.text for message in monitor.messages if name != "no hidden layer"
    ] == []
    assert kinds(monitor) == set()


def test_no_false_alarm_with_dropout_and_sgd(data):
    fastnn.manual_seed(0)
    net = network(SMALL, he)
    model = nn.Sequential(net[0], net[1], nn.Dropout(0.5), net[2])
    monitor = watch(model, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), data, epochs=3)
    assert monitor.messages == []


@pytest.mark.parametrize("model", ["modules", "functional"])
def test_zero_weights(model, data):
    zero = nn.init.zeros_
    made = network(SMALL, zero) if model == "modules" else Functional(zero)
    monitor = watch(made, adam, data, epochs=2)
    assert [m.kind for m in monitor.messages] == ["nothing learned"]
    message = monitor.messages[0]
    first, second = ("0", "2") if model == "modules" else ("fc1", "fc2")
    assert f"All weights of {first}, {second} are zero" in message.text
    assert (message.layer, message.epoch, message.batch) == (first, 1, 45)
    assert "2.30" in message.text  # log 10


@pytest.mark.parametrize("model", ["modules", "functional"])
@pytest.mark.parametrize("scale", [1.0, 1 / 0.376])  # as they are, and standardised
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learning_rate_ten(model, scale, seed, data):
    """The loss shoots up, and the layer dies, often within five batches."""
    x = data.images if scale == 1 else (data.images - data.images.mean()) * scale
    fastnn.manual_seed(seed)
    made = network(SMALL, he) if model == "modules" else Functional()
    monitor = watch(made, SGD10, (x, data.labels), epochs=2)
    layer = "1" if model == "modules" else "fc1"
    named = [message[:2] for message in monitor.messages]
    assert ("diverging", layer) in named and ("dead layer", layer) in named
    assert kinds(monitor) <= {"diverging", "dead layer", "nothing learned"}
    text = next(m.text for m in monitor.messages if m.kind == "diverging")
    assert "units give nothing" in text and "learning rate is 10" in text


def test_a_large_loss_for_five_batches(data):
    """A smooth way up: no layer dies, and it is the fifth batch in a row."""
    losses = iter([1.0] * 3 + [11.0] * 4 + [1.0] + [11.0] * 9)

    def scripted(output, target):
        return F.cross_entropy(output, target) * 0.0 + next(losses)

    model, monitor = network(SMALL, he), Monitor()
    made = Trainer(model, scripted, adam(model.parameters()), compile=False)
    part = (data.images[:16], data.labels[:16])
    made.fit(part, batch_size=1, callbacks=[monitor], verbose=False)
    (message,) = monitor.messages
    assert (message.kind, message.layer, message.batch) == ("diverging", "", 13)
    assert "above ten times its first value, 1, for five batches" in message.text


def test_weights_of_deviation_one(data):
    fastnn.manual_seed(0)
    monitor = watch(network(DEEP, nn.init.normal_), adam, data)
    first = monitor.messages[0]
    assert (first.kind, first.layer, first.epoch, first.batch) == (
        "exploding",
        "18",
        1,
        1,
    )
    assert "0 (Linear)" in first.text and "18 (Linear)" in first.text
    assert "vanishing" not in kinds(monitor)


def test_weights_too_small(data):
    fastnn.manual_seed(0)
    small = lambda w: nn.init.normal_(w, 0.0, 0.001)  # noqa: E731
    for optimizer in (adam, lambda p: optim.SGD(p, lr=0.1)):
        monitor = watch(network(DEEP, small), optimizer, data)
        assert kinds(monitor) == {"vanishing", "nothing learned"}


def test_deep_sigmoids(data):
    fastnn.manual_seed(0)
    monitor = watch(network(DEEP, nn.init.xavier_normal_, nn.Sigmoid), adam, data)
    assert monitor.messages[0][:2] == ("vanishing", "0")
    assert "gradients shrink towards the first layer" in monitor.messages[0].text


def test_gradients_that_explode_backwards(data):
    """Activations stay where they are: each layer's gain is its slope's, not its own."""

    class Steep(nn.Module):
        def forward(self, x):
            return (x * 10).sin() if hasattr(x, "sin") else F.tanh(x * 10)

    fastnn.manual_seed(0)
    model = network([64, *[128] * 14, 10], nn.init.xavier_normal_, Steep)
    monitor = watch(model, lambda p: optim.SGD(p, lr=1e-9), data)
    message = next(m for m in monitor.messages if m.kind == "exploding")
    assert message.layer == "0" and "gradients grow towards the first" in message.text


def test_not_a_number_names_the_layer(data):
    class Poison(Callback):
        def on_batch_end(self, trainer):
            if trainer.batch == 7:
                trainer.model[2].weight.detach()[0, 0] = math.nan

    fastnn.manual_seed(0)
    model, monitor = network([64, 32, 32, 10], he), Monitor(every=7)
    made = Trainer(model, nn.CrossEntropyLoss(), adam(model.parameters()))
    made.fit(data, callbacks=[Poison(), monitor], verbose=False)
    message = monitor.messages[0]
    assert (message.kind, message.layer, message.batch) == ("diverging", "2", 8)
    assert "the loss is nan" in message.text and "2 (Linear)" in message.text
    assert kinds(monitor) == {"diverging"}


def test_not_a_number_among_the_inputs(data):
    x = data.images.clone()
    x[700, 3] = math.inf
    fastnn.manual_seed(0)
    monitor = watch(network(SMALL, he), adam, (x, data.labels), every=50)
    message = monitor.messages[0]
    assert (message.kind, message.layer) == ("diverging", "")
    assert "inputs hold values that are not finite" in message.text


def test_a_dead_layer_of_its_own(data):
    fastnn.manual_seed(0)
    model = network([64, 32, 32, 10], he)
    model[2].bias.detach().fill_(-100.0)
    monitor = watch(model, adam, data)
    assert ("dead layer", "3") in [m[:2] for m in monitor.messages]
    assert "all 32 units" in next(m.text for m in monitor.messages if m.layer == "3")
    assert "vanishing" not in kinds(monitor)


def test_regression_on_a_large_scale(data):
    """Large targets want large outputs, and some time: that is no explosion."""
    fastnn.manual_seed(0)
    y = data.images.sum(dim=1, keepdim=True) * 1e4
    model = network([64, 64, 1], he)
    monitor = watch(
        model,
        lambda p: optim.Adam(p, lr=0.1),
        (data.images, y),
        epochs=20,
        loss=nn.MSELoss(),
    )
    assert kinds(monitor) <= {"nothing learned"}


def test_nothing_to_learn():
    """Labels that have nothing to do with the inputs."""
    random = np.random.default_rng(0)
    x = random.standard_normal((2000, 4)).astype(np.float32)
    y = random.integers(0, 2, 2000)
    fastnn.manual_seed(0)
    model = network([4, 8, 2], he)
    monitor = watch(model, adam, (x, y), every=10)
    assert kinds(monitor) == {"nothing learned"}


def test_messages_are_printed_where_verbose(capsys, data):
    monitor = Monitor()
    model = network(SMALL, nn.init.zeros_)
    made = Trainer(model, nn.CrossEntropyLoss(), adam(model.parameters()))
    made.fit(data, callbacks=[monitor])
    out = capsys.readouterr().out
    assert out.count("Monitor, epoch 1, batch 45: nothing learned") == 1


# ---- numbers ----


class Keep(Callback):
    """Copies of everything around a step."""

    order = -1

    def on_batch_begin(self, trainer):
        named = trainer.model.named_parameters()
        self.before = {name: p.detach().numpy().copy() for name, p in named}

    def on_batch_end(self, trainer):
        named = list(trainer.model.named_parameters())
        self.after = {name: p.detach().numpy().copy() for name, p in named}
        self.grads = {name: p.grad.numpy().copy() for name, p in named}
        self.x = trainer.inputs[0].numpy()


@pytest.mark.parametrize("make", [lambda: network([64, 32, 10], he), Functional])
def test_records_against_numpy(make, data):
    fastnn.manual_seed(0)
    model, keep, monitor = make(), Keep(), Monitor(every=1)
    made = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    part = (data.images[:16], data.labels[:16])
    made.fit(part, batch_size=16, callbacks=[keep, monitor], verbose=False)
    (record,) = monitor.records
    assert (record["step"], record["epoch"], record["batch"]) == (1, 1, 1)
    assert record["loss"] == made.history.batch_losses[0]
    for name, g in keep.grads.items():
        assert record["gradients"][name] == pytest.approx(np.linalg.norm(g), rel=1e-5)
        change = np.linalg.norm(keep.after[name] - keep.before[name])
        size = np.linalg.norm(keep.before[name])
        found = record["updates"][name]
        assert found == pytest.approx(change / size if size else math.inf, rel=1e-5)
    w1, b1, w2, b2 = keep.before.values()
    hidden = keep.x @ w1.T + b1
    output = np.maximum(hidden, 0) @ w2.T + b2
    rms = {"first": hidden, "relu": np.maximum(hidden, 0), "last": output}
    rms = {name: np.sqrt((a.astype(float) ** 2).mean()) for name, a in rms.items()}
    if isinstance(model, Functional):
        named, dead = {"fc1": "first", "fc2": "last"}, "fc1"
    else:
        named, dead = {"0": "first", "1": "relu", "2": "last"}, "1"
    assert list(record["activations"]) == list(named)
    for layer, name in named.items():
        assert record["activations"][layer] == pytest.approx(rms[name], rel=1e-5)
    silent = (hidden <= 0).all(axis=0).mean()
    assert silent > 0 and record["dead"] == {dead: silent}


class Always(nn.Module):
    """Draws random numbers in evaluation mode as well."""

    def forward(self, x):
        return F.dropout(x, 0.2)


class Watcher(Callback):
    watches_finite = True


@pytest.mark.parametrize("sick", ["diverging", "infinite"])
def test_measuring_changes_no_bit_and_leaves_no_hook(sick, data):
    """Not even where it looks at a batch again, for the reason of a loss."""

    def run(*callbacks):
        fastnn.manual_seed(0)
        net = network(SMALL, he)
        model = nn.Sequential(net[0], net[1], Always(), net[2])
        sgd = optim.SGD(model.parameters(), lr=10.0 if sick == "diverging" else 0.1)
        wild = iter([0.0] * 3 + [math.inf] + [0.0] * 200)

        def loss(output, target):
            extra = next(wild) if sick == "infinite" and output.requires_grad else 0.0
            return F.cross_entropy(output, target) + extra

        made = Trainer(model, loss, sgd, compile=False)  # the loss draws from a list
        x = (data.images - data.images.mean()) / 0.376
        history = made.fit(
            (x, data.labels), epochs=2, callbacks=callbacks, verbose=False
        )
        assert not any(module._hooks for module in model.modules())
        return history.batch_losses, fastnn.get_rng_state().tolist()

    monitor = Monitor(every=7)
    assert run(monitor) == run(Watcher())
    assert "diverging" in kinds(monitor)
    steps = [record["step"] for record in monitor.records]
    assert set(range(1, 91, 7)) <= set(steps) and len(steps) < 30


def test_between_measurements_there_are_no_hooks(data, monkeypatch):
    seen = []
    original = nn.Module.register_forward_hook

    def counted(self, *args, **options):
        seen.append(self)
        return original(self, *args, **options)

    monkeypatch.setattr(nn.Module, "register_forward_hook", counted)
    fastnn.manual_seed(0)
    monitor = watch(network(SMALL, he), adam, data, epochs=3, every=50)
    # Batches 1, 51, 101, and the last of the first epoch; three layers each.
    assert [r["step"] for r in monitor.records] == [1, 45, 51, 101]
    assert len(seen) == 12


def test_an_error_in_the_step_takes_the_hooks_off(data):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    model = nn.Sequential(nn.Linear(64, 10), Broken())
    monitor, calls = Monitor(), []
    made = Trainer(model, nn.CrossEntropyLoss(), adam(model.parameters()))
    with pytest.raises(RuntimeError, match="broken"):
        made.fit(data, callbacks=[monitor], verbose=False)
    assert monitor._probe is None and not calls


def test_state(data):
    fastnn.manual_seed(0)
    monitor = watch(network(DEEP, nn.init.normal_), adam, data)
    again = Monitor()
    again.load_state_dict(monitor.state_dict())
    assert again.messages == monitor.messages and again.records == monitor.records


def test_plot(tmp_path, data):
    pytest.importorskip("matplotlib")
    fastnn.manual_seed(0)
    monitor = watch(network(SMALL, he), adam, data)
    figure = monitor.plot(tmp_path / "inside.png")
    assert len(figure.axes) == 4
    drawn = figure.axes[0].lines[0]
    assert list(drawn.get_ydata()) == [r["activations"]["0"] for r in monitor.records]
    assert (tmp_path / "inside.png").read_bytes()[:4] == b"\x89PNG"
    Monitor().plot()


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_refusals(every):
    with pytest.raises(ValueError, match="every of at least 1"):
        Monitor(every)


@pytest.mark.parametrize("dead", [False, True])
def test_one_sample_a_batch(dead):
    """Of a healthy layer most units are silent for one sample, but not for sixteen."""
    fastnn.manual_seed(3)
    layers = []
    for n in (64, 32):
        layers += [nn.Linear(n, 32), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    if dead:
        nn.init.constant_(model[2].bias, -100.0)
    adam = optim.Adam(model.parameters(), lr=1e-2)
    train, monitor = digits().train, Monitor(every=10)
    Trainer(model, nn.CrossEntropyLoss(), adam).fit(
        (train.images[:400], train.labels[:400]),
        batch_size=1,
        epochs=1,
        callbacks=[monitor],
        verbose=False,
    )
    found = [m.layer for m in monitor.messages if m.kind == "dead layer"]
    assert found == (["3"] if dead else [])
