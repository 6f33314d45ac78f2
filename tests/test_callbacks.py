"""Callbacks and the History: when they are called, what they keep and write."""

import csv
import math
import sys

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.optim import lr_scheduler
from fastnn.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LRSchedule,
    Metric,
    ModelCheckpoint,
    ProgressBar,
    TerminateOnNaN,
    Trainer,
)


def data(n=32, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, 4))
    return x, (x[:, 0] > 0).astype(np.int64)


class Scripted(Metric):
    """Says what it is told to, an epoch at a time."""

    name, mode = "script", "max"

    def __init__(self, values):
        super().__init__()
        self.values = iter(values)

    def update(self, output, target):
        pass

    def compute(self):
        return next(self.values)


def trainer(metrics=(), lr=0.1, **options):
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    sgd = optim.SGD(model.parameters(), lr=lr)
    if "scheduler" in options:
        options["scheduler"] = options["scheduler"](sgd)
    return Trainer(model, nn.CrossEntropyLoss(), sgd, metrics, **options)


def fit(made, *callbacks, epochs=3, **options):
    options = {"verbose": False, "batch_size": 16, **options}
    return made.fit(data(), epochs=epochs, callbacks=callbacks, **options)


class Record(Callback):
    def __init__(self):
        self.events = []


for event in (
    "on_fit_begin",
    "on_fit_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_batch_begin",
    "on_batch_end",
    "on_validation_end",
):

    def _note(self, trainer, event=event):
        self.events.append((event[3:], trainer.epoch, trainer.batch))

    setattr(Record, event, _note)


def test_order_of_the_events():
    record = Record()
    fit(trainer(), record, epochs=1, validation=data())
    assert record.events == [
        ("fit_begin", 0, 0),
        ("epoch_begin", 1, 0),
        ("batch_begin", 1, 0),
        ("batch_end", 1, 1),
        ("batch_begin", 1, 1),
        ("batch_end", 1, 2),
        ("validation_end", 1, 2),
        ("epoch_end", 1, 2),
        ("fit_end", 1, 2),
    ]


def test_every_callback_is_closed_also_where_one_fails():
    class Bad(Callback):
        def on_fit_end(self, trainer):
            raise OSError("cannot close")

    record = Record()
    with pytest.raises(OSError, match="cannot close"):
        fit(trainer(), Bad(), record, epochs=1)
    assert record.events[-1][0] == "fit_end"


def test_stop_within_an_epoch():
    class Stop(Callback):
        def on_batch_end(self, trainer):
            trainer.stop("enough")

    made = trainer()
    history = fit(made, Stop())
    assert history.stop_reason == "enough" and made.outcome == "stopped"
    assert len(history.batch_losses) == 1 and history.epochs == []
    assert "stopped: enough" in repr(history) or not history.epochs


# ---- early stopping ----


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([1, 2, 3, 4], {"patience": 0}, 4, 4),
        ([1, 2, 2, 9], {"patience": 0}, 3, 2),
        ([1, 2, 2, 2, 9], {"patience": 1}, 4, 2),
        ([1, 3, 2, 2, 4, 1], {"patience": 2}, 6, 5),
        ([1, 1.05, 1.1, 9], {"patience": 1, "min_delta": 0.2}, 3, 1),
        ([1, 1.15, 1.3, 0], {"patience": 1, "min_delta": 0.2}, 4, 3),
        ([3, 2, 1, 1, 0], {"patience": 0, "mode": "min"}, 4, 3),
        ([math.nan, 1, math.nan, 0], {"patience": 1}, 4, 2),
        ([math.nan, math.nan, 5], {"patience": 1}, 2, 0),
    ],
)
def test_early_stopping(values, options, epochs, best):
    class Keep(Callback):
        def __init__(self):
            self.weights = {}

        def on_epoch_end(self, trainer):
            self.weights[trainer.epoch] = trainer.model[0].weight.tolist()

    made, keep = trainer([Scripted(values)]), Keep()
    stopping = EarlyStopping("script", **options)
    history = fit(made, stopping, keep, epochs=len(values))
    assert len(history.epochs) == epochs and stopping.best_epoch == best
    assert made.model[0].weight.tolist() == keep.weights[best or epochs]
    assert bool(history.stop_reason) == (
        epochs < len(values) or made.outcome == "stopped"
    )
    if made.outcome == "stopped" and best:
        assert f"since epoch {best}" in history.stop_reason


def test_early_stopping_without_restoring():
    made = trainer([Scripted([2, 1])])
    before = made.model[0].weight.tolist()
    fit(made, EarlyStopping("script", patience=0, restore_best=False), epochs=2)
    assert made.model[0].weight.tolist() != before


def test_monitored_values_are_checked_before_the_first_epoch():
    made = trainer()
    for callback in (
        EarlyStopping("val_loss"),
        ModelCheckpoint("x", "val_loss", save_best_only=True),
        LRSchedule(lr_scheduler.ReduceLROnPlateau(made.optimizer), monitor="val_loss"),
    ):
        with pytest.raises(ValueError, match=r"one of loss to monitor.*validation="):
            fit(made, callback)
    with pytest.raises(ValueError, match="'accuracy'"):
        fit(made, EarlyStopping("accuracy"))

    class Plain(Scripted):
        mode = ""

    with pytest.raises(ValueError, match="give mode="):
        fit(trainer([Plain([1])]), EarlyStopping("script"))


def test_terminate_on_nan():
    made = trainer(lr=1e30)
    history = fit(made, TerminateOnNaN(), epochs=50)
    assert not math.isfinite(history.batch_losses[-1])
    assert all(math.isfinite(loss) for loss in history.batch_losses[:-1])
    assert "the loss became" in history.stop_reason


# ---- learning rates ----


def test_schedule_by_epoch_and_by_batch():
    made = trainer(scheduler=lambda sgd: lr_scheduler.ExponentialLR(sgd, 0.5))
    history = fit(made)
    assert history.learning_rates == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    made = trainer()
    schedule = lr_scheduler.ExponentialLR(made.optimizer, 0.5)
    history = fit(made, LRSchedule(schedule, every="batch"))
    assert history.learning_rates == [0.1 * 0.5**i for i in range(6)]


def test_plateau_is_given_the_value():
    made = trainer([Scripted([3, 2, 2, 2, 2])])
    plateau = lr_scheduler.ReduceLROnPlateau(made.optimizer, "min", 0.1, patience=1)
    fit(made, LRSchedule(plateau, monitor="script"), epochs=5)
    assert made.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    seen = []

    class Plateau(lr_scheduler.ReduceLROnPlateau):
        def step(self, value):
            seen.append(value)

    made = trainer(scheduler=Plateau)
    history = fit(made, validation=data(seed=1))
    assert seen == history["val_loss"]


# ---- files ----


def test_checkpoints_by_epoch_batch_and_best(tmp_path):
    made = trainer([Scripted([1, 3, 2])])
    best = ModelCheckpoint(
        tmp_path / "deep" / "best-{epoch}-{script:.1f}.st",
        "script",
        save_best_only=True,
    )
    fit(
        made,
        ModelCheckpoint(tmp_path / "epoch{epoch:02d}.st"),
        ModelCheckpoint(tmp_path / "batch{epoch}-{batch}.st", every=4),
        best,
    )
    assert sorted(p.name for p in tmp_path.glob("*.st")) == [
        "batch2-2.st",
        "epoch01.st",
        "epoch02.st",
        "epoch03.st",
    ]
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == [
        "best-1-1.0.st",
        "best-2-3.0.st",
    ]
    assert best.last_path == tmp_path / "deep" / "best-2-3.0.st"
    other = trainer().model
    other.load_state_dict(fastnn.load(tmp_path / "epoch03.st")["model"])
    assert other[0].weight.tolist() == made.model[0].weight.tolist()


def test_csv(tmp_path):
    path = tmp_path / "run.csv"
    history = fit(trainer(["accuracy", "confusion_matrix"]), CSVLogger(path))
    rows = list(csv.reader(path.open()))
    assert rows[0] == ["epoch", "seconds", "samples_per_second", "loss", "accuracy"]
    assert [int(row[0]) for row in rows[1:]] == [1, 2, 3]
    assert [float(row[3]) for row in rows[1:]] == history["loss"]
    fit(trainer(["accuracy"]), CSVLogger(path, append=True), epochs=1)
    assert len(list(csv.reader(path.open()))) == 5
    with pytest.raises(ValueError, match=r"columns.*accuracy"):
        fit(trainer(), CSVLogger(path, append=True))
    fit(trainer(), CSVLogger(path), epochs=1)
    assert len(list(csv.reader(path.open()))) == 2
    fit(trainer(), CSVLogger(tmp_path / "new" / "run.csv"), epochs=1)  # as checkpoints
    assert (tmp_path / "new" / "run.csv").exists()


# ---- what is shown ----


def test_without_a_terminal_there_is_a_line_an_epoch(capsys):
    fit(trainer(["accuracy", "confusion_matrix"]), verbose=True)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3 and err == ""
    assert lines[0].startswith("epoch 1/3") and "samples/s" in lines[0]
    assert "accuracy 0." in lines[0] and "confusion" not in lines[0]
    fit(trainer())
    assert capsys.readouterr() == ("", "")
    made = trainer([Scripted([2, 1])])
    fit(made, EarlyStopping("script", patience=0), epochs=2, verbose=True)
    said = capsys.readouterr().out
    assert "Stopped: script has not become better than 2 since epoch 1" in said
    assert "Model restored to epoch 1" in said


def test_on_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("fastnn.train.callbacks.progress.REFRESH", 0.0)
    fit(trainer(["accuracy"]), verbose=True)
    out, err = capsys.readouterr()
    assert "epoch 2/3" in err and "samples/s" in err and "2/2" in err and "loss" in err
    assert len(out.splitlines()) == 3


def test_only_one_bar(capsys):
    fit(trainer(), ProgressBar(), verbose=True)
    assert len(capsys.readouterr().out.splitlines()) == 3


# ---- History ----


def test_history_table_and_dict():
    history = fit(trainer(["accuracy", "confusion_matrix"]), validation=data(seed=1))
    lines = repr(history).splitlines()
    assert lines[0].split() == [
        "epoch",
        "seconds",
        "samples/s",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
    ]
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert len(history["val_confusion_matrix"]) == 3
    again = History.from_dict(history.to_dict())
    assert repr(again) == repr(history) and again.batch_losses == history.batch_losses
    assert again.epoch_ends == [2, 4, 6] and again["loss"] == history["loss"]
    with pytest.raises(KeyError, match=r"one of loss.*'acc'"):
        history["acc"]
    assert "no epoch" in repr(History())


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    history = fit(trainer(["accuracy"]), validation=data(seed=1))
    figure = history.plot(tmp_path / "curves.png")
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy"]
    drawn = {line.get_label(): line for line in figure.axes[1].lines}
    assert list(drawn["validation"].get_ydata()) == history["val_accuracy"]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    History().plot()


def test_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"fastnn\[plot\]"):
        History().plot()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(patience=-1), "patience"),
        (lambda: ModelCheckpoint("x", every=0), "every"),
        (lambda: ModelCheckpoint("x", every="step"), "every"),
        (lambda: ModelCheckpoint("x", save_best_only=True), "belong together"),
        (lambda: ModelCheckpoint("x", "loss"), "belong together"),
        (lambda: LRSchedule(None, every="step"), "every"),
        (lambda: LRSchedule(None, monitor="loss"), "ReduceLROnPlateau"),
        (lambda: fit(trainer(), ModelCheckpoint("{val_loss}")), "val_loss"),
        (lambda: fit(trainer(), ModelCheckpoint("{loss}", every=2)), "loss"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ValueError, match=words):
        make()
