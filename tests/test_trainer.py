"""Trainer: against the loop written by hand, what it takes as data, what it refuses."""

import signal

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.data import DataLoader, Dataset, IterableDataset, TensorDataset
from fastnn.train import Accuracy, Callback, EarlyStopping, History, Metric, Trainer

F = nn.functional


def data(n=70, features=6, classes=3, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features))
    y = (x @ random.standard_normal((features, classes))).argmax(1)
    return x, y


def network(seed=0, dtype=fastnn.float32, dropout=0.0):
    fastnn.manual_seed(seed)
    layers = [nn.Linear(6, 8, dtype=dtype), nn.ReLU(), nn.Linear(8, 3, dtype=dtype)]
    return Net(layers, dropout)


class Net(nn.Module):
    def __init__(self, layers, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.p = dropout

    def forward(self, x):
        return self.body(F.dropout(x, self.p, self.training))


def trainer(metrics=("accuracy",), lr=0.1, **options):
    model = network(**options)
    sgd = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return Trainer(model, nn.CrossEntropyLoss(), sgd, metrics)


def bits(model):
    return [p.detach().numpy().tobytes() for p in model.parameters()]


# ---- what it computes ----


def test_fit_is_the_loop_written_by_hand():
    x, y = data()
    made = trainer(dropout=0.2)
    history = made.fit((x, y), epochs=3, batch_size=16, verbose=False)

    model = network(dropout=0.2)
    sgd = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    inputs = fastnn.from_numpy(x.astype(np.float32))
    targets = fastnn.from_numpy(y)
    losses, epochs, accuracies = [], [], []
    for _ in range(3):
        total, right = 0.0, 0
        for xb, yb in DataLoader(
            TensorDataset(inputs, targets), batch_size=16, shuffle=True
        ):
            sgd.zero_grad()
            output = model(xb)
            loss = F.cross_entropy(output, yb)
            loss.backward()
            sgd.step()
            losses.append(loss.item())
            total += loss.item() * len(yb)
            right += (output.argmax(dim=1) == yb).sum().item()
        epochs.append(total / len(x))
        accuracies.append(right / len(x))
    assert bits(made.model) == bits(model)
    assert history.batch_losses == losses
    assert history["loss"] == epochs
    assert history["accuracy"] == accuracies
    assert history.epochs == [1, 2, 3] and history.epoch_ends == [5, 10, 15]
    assert history.learning_rates == [0.1] * 15


def test_evaluate_and_predict_leave_everything_as_it_was():
    x, y = data()
    made = trainer(dropout=0.5)
    made.model.train()
    made.model.body[1].eval()
    state, before = fastnn.get_rng_state().tolist(), bits(made.model)
    whole = made.predict(x)
    expected = made.model.eval()(fastnn.from_numpy(x.astype(np.float32))).detach()
    made.model.train()
    made.model.body[1].eval()
    assert whole.tolist() == expected.tolist()
    assert not whole.requires_grad
    for size in (1, 7, 64):
        assert made.predict(x, batch_size=size).tolist() == whole.tolist()
    found = made.evaluate((x, y), batch_size=9)
    assert found["accuracy"] == (whole.numpy().argmax(1) == y).mean()
    loss = F.cross_entropy(whole, fastnn.from_numpy(y)).item()
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    assert made.model.training and made.model.body[0].training
    assert not made.model.body[1].training
    assert fastnn.get_rng_state().tolist() == state and bits(made.model) == before


def test_modes_are_put_back_also_after_an_error():
    x, y = data()

    class Broken(Callback):
        def on_batch_end(self, trainer):
            assert trainer.model.training
            raise OSError("no space")

    class Closed(Callback):
        def on_fit_end(self, trainer):
            self.outcome = trainer.outcome

    made, closed = trainer(), Closed()
    made.model.eval()
    with pytest.raises(OSError, match="no space"):
        made.fit((x, y), callbacks=[Broken(), closed], verbose=False)
    assert not any(module.training for module in made.model.modules())
    assert closed.outcome == "failed"
    made.fit((x, y), verbose=False)
    assert not made.model.training


def test_validation_values():
    x, y = data()
    held = data(33, seed=1)
    made = trainer()
    history = made.fit((x, y), validation=held, epochs=2, verbose=False)
    found = made.evaluate(held)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history["val_loss"][-1] == found["loss"]
    assert history["val_accuracy"][-1] == found["accuracy"]


def test_validation_share_is_the_same_every_time():
    x, y = data()
    seen = []
    for seed in (0, 1):
        made = trainer()
        fastnn.manual_seed(seed)
        made.fit((x, y), validation=0.2, verbose=False)
        held = made.held_out.dataset.tensors[0].tolist()
        kept = made.loader.dataset.tensors[0].tolist()
        assert len(held) == 14 and len(kept) == 56
        assert sorted(held + kept) == sorted(x.astype(np.float32).tolist())
        seen.append(held)
    assert seen[0] == seen[1]


def test_a_metric_in_a_callback_does_not_disturb_the_epoch():
    x, y = data()

    class Peek(Callback):
        def on_batch_end(self, trainer):
            trainer.evaluate((x, y))

    plain = trainer().fit((x, y), epochs=2, verbose=False)
    peeked = trainer().fit((x, y), epochs=2, callbacks=[Peek()], verbose=False)
    assert plain["accuracy"] == peeked["accuracy"] and plain["loss"] == peeked["loss"]


def test_loss_is_averaged_over_samples_whatever_the_reduction():
    x, y = data(33)
    mean = trainer().evaluate((x, y), batch_size=8)
    made = trainer()
    made.loss = nn.CrossEntropyLoss(reduction="sum")
    total = made.evaluate((x, y), batch_size=8)
    assert total["loss"] == pytest.approx(mean["loss"], rel=1e-6)


# ---- what it takes ----


class Pairs(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x.astype(np.float32), y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])


class Stream(IterableDataset):
    def __init__(self, x, y):
        self.pairs = Pairs(x, y)

    def __iter__(self):
        return (self.pairs[i] for i in range(len(self.pairs)))


def forms(x, y):
    """The same data in every form, in order."""
    x32, y64 = fastnn.from_numpy(x.astype(np.float32)), fastnn.from_numpy(y)
    whole = TensorDataset(x32, y64)
    return {
        "float64 arrays": (x, y),
        "small integers": (x, y.astype(np.int8)),
        "lists": (x.tolist(), y.tolist()),
        "tensors": (x32, y64),
        "float64 tensors": (fastnn.from_numpy(x), y64),
        "strided": (np.asfortranarray(x), y[::-1].copy()[::-1]),
        "dataset": whole,
        "dataset of samples": Pairs(x, y),
        "stream": Stream(x, y),
        "loader": DataLoader(whole, batch_size=32),
        "batches": [
            (x32[:32], y64[:32]),
            (x32[32:64], y64[32:64]),
            [x32[64:], y64[64:]],
        ],
        "batches of arrays": [(x[:32], y[:32]), (x[32:64], y[32:64]), (x[64:], y[64:])],
    }


@pytest.mark.parametrize("form", list(forms(*data())))
def test_every_form_of_data_gives_the_same(form):
    x, y = data()
    given = forms(x, y)[form]
    arrays = isinstance(given, (tuple, Dataset))
    made = trainer()
    history = made.fit(
        given, validation=given, verbose=False, **({"shuffle": False} if arrays else {})
    )
    expected = trainer()
    wanted = expected.fit((x, y), validation=(x, y), shuffle=False, verbose=False)
    assert bits(made.model) == bits(expected.model)
    assert history["val_accuracy"] == wanted["val_accuracy"]
    inputs = given[0] if isinstance(given, tuple) else given
    assert made.predict(inputs).tolist() == expected.predict(x).tolist()


def test_model_in_float64():
    x, y = data()
    made = trainer(dtype=fastnn.float64)
    made.fit((x, y), verbose=False)
    assert made.predict(x.astype(np.float32)).dtype is fastnn.float64


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

        def forward(self, a, b):
            return self.a(a) + self.b(b)

    x, y = data()
    losses = []

    class Rows(Dataset):  # whose tuples default_collate makes lists
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            row = x[i].astype(np.float32)
            return (row[:4], row[4:]), y[i]

    for form in (
        ((x[:, :4], x[:, 4:]), y),
        DataLoader(Rows(), batch_size=32),
        [((x[i : i + 32, :4], x[i : i + 32, 4:]), y[i : i + 32]) for i in (0, 32, 64)],
    ):
        fastnn.manual_seed(0)
        model = Two()
        sgd = optim.SGD(model.parameters(), lr=0.1)
        made = Trainer(model, nn.CrossEntropyLoss(), sgd, ["accuracy"])
        options = {"shuffle": False} if isinstance(form, tuple) else {}
        made.fit(form, epochs=2, verbose=False, **options)
        losses.append(made.history["loss"])
        outputs = made.predict((x[:, :4], x[:, 4:]))
        assert outputs.shape == (70, 3)
        assert made.predict(Rows()).tolist() == outputs.tolist()
    assert losses[0] == losses[1] == losses[2]


def test_several_targets():
    """A loss may take a list of them, as a loader makes it of a tuple."""

    class Rows(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return np.full(6, i / 10, np.float32), (i % 3, 2 - i % 3)

    def loss(output, targets):
        return sum(F.cross_entropy(output, target) for target in targets)

    made = trainer(metrics=())
    made.loss = loss
    history = made.fit(Rows(), epochs=2, verbose=False)
    assert history["loss"][1] < history["loss"][0]


def test_regression():
    x, _ = data()
    y = x @ np.arange(6.0)[:, None]
    fastnn.manual_seed(0)
    model = nn.Linear(6, 1)
    sgd = optim.SGD(model.parameters(), lr=0.1)
    made = Trainer(model, F.mse_loss, sgd, ["r2", "mae", "mse"])
    history = made.fit((x, y), epochs=20, verbose=False)
    assert history["r2"][-1] > 0.999
    assert history["mse"][-1] == pytest.approx(history["loss"][-1], rel=1e-4)


def test_binary_accuracy_knows_logits_from_probabilities():
    x, _ = data()
    y = (x[:, :1] > 0).astype(np.float32)
    found = []
    for loss, last in (
        (nn.BCEWithLogitsLoss(), []),
        (nn.BCELoss(), [nn.Sigmoid()]),
    ):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 1), *last)
        sgd = optim.SGD(model.parameters(), lr=0.5)
        made = Trainer(model, loss, sgd, ["accuracy", "recall"])
        found.append(made.fit((x, y), epochs=10, verbose=False)["accuracy"])
    assert found[0] == found[1] and found[0][-1] > 0.9


def test_gradients_are_clipped():
    x, y = data()
    norms = []

    class Look(Callback):
        def on_batch_end(self, trainer):
            grads = [p.grad.numpy() for p in trainer.model.parameters()]
            norms.append(np.sqrt(sum((g**2).sum() for g in grads)))

    made = trainer()
    made.clip_grad_norm = 0.01
    made.fit((x, y), callbacks=[Look()], verbose=False)
    np.testing.assert_allclose(norms, 0.01, rtol=1e-3)


def test_metric_of_ones_own():
    class Constant(Metric):
        name = "constant"

        def update(self, output, target):
            self.add(n=len(target))

        def compute(self):
            return self.read("n")

    made = trainer([Constant(), Accuracy()])
    history = made.fit(data(), epochs=2, verbose=False)
    assert history["constant"] == [70, 70]


def test_no_epochs():
    history = trainer().fit(data(), epochs=0, verbose=False)
    assert isinstance(history, History) and not history.epochs


# ---- what it refuses ----

X, Y = data(8)
FITS = [
    ((X, Y[:7]), {}, ValueError, "8 samples and 7 targets"),
    ((X[:0], Y[:0]), {}, ValueError, "at least one sample"),
    ((X, Y, Y), {}, ValueError, r"arrays \(x, y\), got 3"),
    (X, {}, TypeError, "x alone"),
    (5, {}, TypeError, "DataLoader, got int"),
    (iter([(X, Y)]), {}, TypeError, "used up"),
    ([], {}, ValueError, "at least one batch"),
    ([X], {}, TypeError, r"batches \(x, y\)"),
    ([(X, Y, Y)], {}, TypeError, r"\(\(x1, x2\), y\)"),
    ([(X, Y[:7])], {}, ValueError, "8 samples and 7 targets"),
    ((np.array([["a"]] * 8), Y), {}, TypeError, "numbers"),
    ((X, Y.astype(object)), {}, TypeError, "numbers"),
    (((X, X[:7]), Y), {}, ValueError, r"one length, got \[8, 7\]"),
    ((X, 3), {}, ValueError, "scalar"),
    ((X[:, :5], Y), {}, ValueError, "linear"),
    ((X, Y), {"batch_size": 0}, ValueError, "batch_size"),
    ((X, Y), {"batch_size": 2.5}, ValueError, "batch_size"),
    ([(X, Y)], {"batch_size": 4}, ValueError, "batch_size is the loader's own"),
    ([(X, Y)], {"shuffle": True}, ValueError, "shuffle is the loader's own"),
    ((X, Y), {"epochs": -1}, ValueError, "epochs"),
    ((X, Y), {"validation": 1.5}, ValueError, "between 0 and 1"),
    ((X, Y), {"validation": 0.01}, ValueError, "no samples on one side"),
    ([(X, Y)], {"validation": 0.5}, TypeError, "arrays and Datasets"),
    ((X, Y), {"validation": (X, Y[:3])}, ValueError, "validation: .*3 targets"),
    ((X, Y), {"callbacks": [print]}, TypeError, "Callbacks"),
    ((X, Y), {"callbacks": [Callback]}, TypeError, "the class Callback"),
]


@pytest.mark.parametrize(("given", "options", "error", "words"), FITS)
def test_fit_refuses(given, options, error, words):
    with pytest.raises(error, match=words):
        trainer().fit(given, verbose=False, **options)


MODEL = network()
SGD = optim.SGD(MODEL.parameters(), lr=0.1)
TRAINERS = [
    ((MODEL, F.mse_loss, SGD, ["acc"]), {}, ValueError, "accuracy.*'acc'"),
    ((len, F.mse_loss, SGD), {}, TypeError, "Module"),
    ((MODEL, "mse", SGD), {}, TypeError, "callable"),
    ((MODEL, nn.CrossEntropyLoss, SGD), {}, TypeError, "the class CrossEntropyLoss"),
    ((MODEL, F.mse_loss, "sgd"), {}, TypeError, "Optimizer"),
    ((network(), F.mse_loss, SGD), {}, ValueError, "no parameter of the model"),
    ((MODEL, F.mse_loss, SGD), {"clip_grad_norm": 0}, ValueError, "clip_grad_norm"),
]


@pytest.mark.parametrize(("args", "options", "error", "words"), TRAINERS)
def test_trainer_refuses(args, options, error, words):
    with pytest.raises(error, match=words):
        Trainer(*args, **options)


def test_a_loss_that_is_no_scalar():
    made = trainer()
    made.loss = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(ValueError, match=r"one element, got \(32,\)"):
        made.fit(data(), verbose=False)


def test_predict_refuses():
    made = trainer()
    with pytest.raises(ValueError, match="at least one sample"):
        made.predict(X[:0])
    with pytest.raises(TypeError, match="numbers"):
        made.predict(np.array(["a"]))
    with pytest.raises(ValueError, match="scalar"):
        made.predict(np.float32(3))
    with pytest.raises(ValueError, match=r"for each of 6 samples, got \(3,\)"):
        made.predict(X[0])  # one sample: x[None] is a batch of it
    made.model.forward = lambda x: x.mean()
    with pytest.raises(ValueError, match=r"for each of 8 samples, got \(\)"):
        made.predict(X)


# ---- Ctrl-C ----


class Pressed(Callback):
    """Presses Ctrl-C at certain batches."""

    def __init__(self, *at, where="on_batch_end"):
        self.at, self.count, self.closed = at, 0, False
        setattr(self, where, self.press)

    def press(self, trainer):
        self.count += 1
        for at in self.at:
            if at == self.count:
                signal.raise_signal(signal.SIGINT)

    def on_fit_end(self, trainer):
        self.closed = True


@pytest.mark.parametrize("where", ["on_batch_begin", "on_batch_end"])
def test_ctrl_c_finishes_the_step_and_no_further_one(where, capsys):
    x, y = data()
    made, pressed = trainer(), Pressed(7, where=where)
    made.model.eval()
    history = made.fit((x, y), epochs=9, batch_size=16, callbacks=[pressed])
    assert history.interrupted and history is made.history
    assert len(history.batch_losses) == 7 and history.epochs == [1]
    assert pressed.closed and not made.model.training
    assert "Interrupted in epoch 2, after batch 2 of 5" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    # The model is that of seven whole steps.
    class Seven(Callback):
        def on_batch_end(self, trainer):
            if len(trainer.history.batch_losses) == 7:
                trainer.stop("seven")

    other = trainer()
    stopped = other.fit(
        (x, y), epochs=9, batch_size=16, callbacks=[Seven()], verbose=False
    )
    assert bits(other.model) == bits(made.model)
    assert stopped.stop_reason == "seven" and not stopped.interrupted
    assert "interrupted" in repr(history)


def test_a_second_ctrl_c_passes_through():
    x, y = data()
    made, pressed = trainer(), Pressed(3, 3)
    with pytest.raises(KeyboardInterrupt):
        made.fit((x, y), epochs=9, callbacks=[pressed], verbose=False)
    assert pressed.closed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_waiting_for_data_or_validating():
    x, y = data(32)

    class Slow:
        def __init__(self, at):
            self.at, self.seen = at, 0

        def __len__(self):
            return 4

        def __iter__(self):
            for _ in range(4):
                self.seen += 1
                if self.seen == self.at:
                    signal.raise_signal(signal.SIGINT)
                yield x, y

    history = trainer().fit(Slow(6), epochs=9, verbose=False)
    assert history.interrupted
    assert len(history.batch_losses) == 5 and history.epochs == [1]
    history = trainer().fit(Slow(0), validation=Slow(2), epochs=9, verbose=False)
    assert history.interrupted
    assert len(history.batch_losses) == 4 and history.epochs == []


def test_ctrl_c_of_ones_own_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        history = trainer().fit(data(), epochs=2, callbacks=[Pressed(2)], verbose=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1] and not history.interrupted and history.epochs == [1, 2]


class Misspelt(Callback):
    def on_train_begin(self, trainer):
        raise AssertionError


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda t: t.fit(data(), callbacks=[Misspelt()]),
            "on_train_begin, which nothing",
        ),
        (lambda t: t.fit(data(), callbacks=Misspelt()), "a list of callbacks"),
        (lambda t: Trainer(t.model, t.loss, t.optimizer, scheduler="cos"), "scheduler"),
        (lambda t: Trainer(t.model, t.loss, t.optimizer, clip_grad_norm="1"), "number"),
        (lambda t: EarlyStopping(patience="3"), "patience as a number"),
    ],
)
def test_slips_of_the_pen(make, words):
    with pytest.raises(TypeError, match=words):
        make(trainer())


def test_a_scheduler_of_another_optimizer():
    made = trainer()
    other = optim.SGD(made.model.parameters(), lr=0.1)
    made.scheduler = optim.lr_scheduler.StepLR(other, 1)
    with pytest.raises(ValueError, match="scheduler of the trainer's optimizer"):
        made.fit(data(), verbose=False)


def test_predict_takes_the_images_of_a_split():
    split = fastnn.datasets.digits().test
    model = nn.Sequential(nn.Linear(64, 10))
    made = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1))
    np.testing.assert_array_equal(
        made.predict(split).numpy(), made.predict(split.images).numpy()
    )
