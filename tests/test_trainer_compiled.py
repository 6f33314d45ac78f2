"""Trainer with plans: the bits of training op by op, hooks, steps that are not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.datasets import mnist
from fastnn.train import Callback, EarlyStopping, Monitor, TerminateOnNaN, Trainer

N = 70


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, 6)).astype(np.float32)
    return x, (x @ rng.standard_normal((6, 3))).argmax(1)


def network():
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 3))


def fit(compile, *, callbacks=(), optimizer=None, model=None, loss=None, **options):
    """A fit with a ragged last batch, validation and a schedule; what it left behind."""
    fastnn.manual_seed(0)
    model = network() if model is None else model()
    make = (lambda p: optim.Adam(p, lr=0.01)) if optimizer is None else optimizer
    made = make(model.parameters())
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss() if loss is None else loss,
        made,
        ["accuracy"],
        scheduler=optim.lr_scheduler.StepLR(made, 2, 0.5),
        compile=compile,
        **options,
    )
    x, y = data()
    history = trainer.fit(
        (x, y),
        validation=(x[:33], y[:33]),
        epochs=4,
        batch_size=16,
        callbacks=[c() for c in callbacks],
        verbose=False,
    )
    values = history.to_dict()
    return trainer, [
        values["values"],
        history.batch_losses.tolist()
        if hasattr(history.batch_losses, "tolist")
        else list(history.batch_losses),
        [p.tolist() for p in model.parameters()],
        [p.grad.tolist() for p in model.parameters()],
        [
            {k: v.tolist() for k, v in s.items() if isinstance(v, fastnn.Tensor)}
            for s in made.state.values()
        ],
        fastnn.get_rng_state().tolist(),
        trainer.predict(x).tolist(),
    ]


OPTIONS = {
    "Adam": {},
    "SGD": {"optimizer": lambda p: optim.SGD(p, lr=0.1, momentum=0.9)},
    "clipped": {"clip_grad_norm": 0.5},
    "watched": {"callbacks": [TerminateOnNaN]},
    "measured": {"callbacks": [lambda: Monitor(every=3)], "clip_grad_norm": 0.1},
    "stopped early": {"callbacks": [lambda: EarlyStopping("val_loss", 0)]},
    "summed": {"loss": nn.CrossEntropyLoss(reduction="sum")},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_plans_change_no_bit(name):
    trainer, compiled = fit(True, **OPTIONS[name])
    _, eager = fit(False, **OPTIONS[name])
    assert compiled == eager
    made = trainer._plans._made
    assert set(made) == {"step", "evaluate", "predict"}
    assert all(not c.eager and c.plans for _, c in made.values())


class Positive(nn.Module):
    """Sees only what is above 0: a shape that depends on values."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(x) + x[x > 0].sum() * 1e-3


def test_what_cannot_be_a_plan_is_said_once_and_runs(capsys):
    assert fit(True, model=Positive)[1] == fit(False, model=Positive)[1]
    fastnn.manual_seed(0)
    model = Positive()
    loud = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x, y = data()
    loud.fit((x, y), validation=0.2, epochs=2)
    out = capsys.readouterr()
    said = (out.out + out.err).count("runs op by op instead of as a plan")
    assert said == 1, out


def test_a_users_hook_is_called_for_every_batch():
    seen = []

    def model():
        made = network()
        made[0].register_forward_hook(lambda *args: seen.append(1))
        return made

    _, compiled = fit(True, model=model)
    count, seen[:] = len(seen), []
    _, eager = fit(False, model=model)
    assert compiled == eager and count == len(seen) > 0


class Poison(Callback):
    """Spoils one weight before the fifth batch, and mends it after."""

    watches_finite = True

    def __init__(self, value=math.nan):
        self.value = value
        self.finite, self.before, self.after = [], None, None

    def on_batch_begin(self, trainer):
        if len(self.finite) == 4:
            weight = trainer.model[3].weight.detach()
            self.kept = weight[0, 0].item()
            weight[0, 0] = self.value
            self.before = self.look(trainer)

    def on_batch_end(self, trainer):
        self.finite.append(trainer.finite)
        if len(self.finite) == 5:
            self.after = self.look(trainer)
            trainer.model[3].weight.detach()[0, 0] = self.kept

    def look(self, trainer):
        return [
            [p.tobytes() for p in map(np.array, tree(trainer.model.parameters()))],
            [v.tolist() for s in trainer.optimizer.state.values() for v in s.values()],
        ]


def tree(parameters):
    return [p.detach().numpy() for p in parameters]


@pytest.mark.parametrize("compile", [True, False])
def test_a_step_that_is_not_finite_changes_nothing(compile):
    poison = Poison()
    trainer, _ = fit(compile, callbacks=[lambda: poison])
    assert poison.finite == [True] * 4 + [False] + [True] * 15
    assert poison.before == poison.after
    assert math.isnan(trainer.history.batch_losses[4])
    assert all(np.isfinite(p).all() for p in tree(trainer.model.parameters()))


@pytest.mark.parametrize("compile", [True, False])
def test_terminate_on_nan_names_the_layer(compile):
    trainer, _ = fit(compile, callbacks=[TerminateOnNaN, Poison])
    assert trainer.history.stop_reason == (
        "the loss became nan in epoch 1, batch 5; first in 3 (Linear)"
    )


class Root(nn.Module):
    """Finite forwards at 0, infinite backwards."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(fastnn.zeros(1))
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(x) + (self.scale * self.scale).sqrt()


@pytest.mark.parametrize("compile", [True, False])
def test_a_gradient_that_is_not_finite_is_named(compile):
    model, x_y = Root(), data()
    monitor = Monitor()
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        optim.SGD(model.parameters(), lr=0.1),
        compile=compile,
    )
    before = [p.tolist() for p in model.parameters()]
    history = trainer.fit(
        x_y, callbacks=[TerminateOnNaN(), monitor], batch_size=10, verbose=False
    )
    assert history.stop_reason == (
        "a gradient was not finite in epoch 1, batch 1; first in the gradient of scale"
    )
    assert [p.tolist() for p in model.parameters()] == before
    (message,) = monitor.messages
    assert message.kind == "diverging" and "gradient of scale" in message.text


def test_attributes_may_change_between_fits():
    fastnn.manual_seed(0)
    model, (x, y) = network(), data()
    trainer = Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)
    )
    trainer.fit((x, y), verbose=False)
    trainer.clip_grad_norm = 1e-9
    before = [p.detach().clone() for p in model.parameters()]
    trainer.fit((x, y), verbose=False, epochs=2)
    for p, q in zip(model.parameters(), before, strict=True):
        assert (p.detach() - q).abs().max().item() < 1e-6


def test_mnist_learns_the_same_bits():
    """What examples/mnist_initialisation.py does, on a tenth of the digits."""
    try:
        (images, labels), test = mnist(download=False)
    except FileNotFoundError as why:
        pytest.skip(f"MNIST is not here: {why}")
    runs = []
    for compile in (True, False):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        monitor = Monitor(every=50)
        trainer = Trainer(
            model,
            nn.CrossEntropyLoss(),
            optim.Adam(model.parameters()),
            ["accuracy"],
            compile=compile,
        )
        history = trainer.fit(
            (images[:6000], labels[:6000]),
            validation=(test.images[:1000], test.labels[:1000]),
            batch_size=64,
            callbacks=[monitor],
            verbose=False,
        )
        assert history["val_accuracy"][-1] > 0.85
        runs.append(
            [
                history.to_dict()["values"],
                monitor.records,
                [p.tolist() for p in model.parameters()],
            ]
        )
    assert runs[0] == runs[1]
