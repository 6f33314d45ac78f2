"""Resuming gives the bits of a fit that never stopped, wherever it stopped."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.data import DataLoader, TensorDataset
from fastnn.optim import lr_scheduler
from fastnn.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LRSchedule,
    ModelCheckpoint,
    Monitor,
    Trainer,
)

N, BATCH, EPOCHS = 50, 8, 4  # seven batches an epoch, the last of two samples


class Net(nn.Module):
    """With dropout from the default generator and from one of its own."""

    def __init__(self, width=16):
        super().__init__()
        self.first, self.second = nn.Linear(5, width), nn.Linear(width, 3)
        self.generator = fastnn.Generator(3)

    def forward(self, x):
        x = self.first(nn.functional.dropout(x, 0.1, self.training))
        x = nn.functional.dropout(
            x.relu(), 0.3, self.training, generator=self.generator
        )
        return self.second(x)


def arrays(n=N):
    random = np.random.default_rng(0)
    x = random.standard_normal((n, 5)).astype(np.float32)
    return x, (x @ random.standard_normal((5, 3))).argmax(1)


class Batches:
    """An iterable without state_dict, whose order is drawn anew each epoch."""

    def __init__(self, x, y):
        self.x, self.y = fastnn.from_numpy(x), fastnn.from_numpy(y)

    def __len__(self):
        return -(-N // BATCH)

    def __iter__(self):
        order = fastnn.randperm(N)
        for i in range(0, N, BATCH):
            rows = order[i : i + BATCH]
            yield self.x[rows], self.y[rows]


def source(kind):
    x, y = arrays()
    if kind == "arrays":
        return (x, y), {"batch_size": BATCH}
    if kind == "batches":
        return Batches(x, y), {}
    tensors = TensorDataset(fastnn.from_numpy(x), fastnn.from_numpy(y))
    options = {
        "loader": {},
        "generator": {"generator": fastnn.Generator(9)},
        "thread": {"num_workers": 1},
    }[kind]
    return DataLoader(tensors, batch_size=BATCH, shuffle=True, **options), {}


class Fit:
    """A fit with all that has state, always made the same."""

    def __init__(self, folder=None, *, kind="arrays", patience=9, width=16, extra=()):
        fastnn.manual_seed(1)
        self.model = Net(width)
        self.sgd = optim.SGD(self.model.parameters(), lr=0.3, momentum=0.9)
        self.by_batch = lr_scheduler.CosineAnnealingLR(self.sgd, 40)
        self.stopping = EarlyStopping("val_loss", patience=patience)
        self.monitor = Monitor(every=3)
        self.trainer = Trainer(
            self.model, nn.CrossEntropyLoss(), self.sgd, ["accuracy", "f1"]
        )
        self.callbacks = [
            self.stopping,
            LRSchedule(self.by_batch, every="batch"),
            self.monitor,
            *extra,
        ]
        if folder is not None:
            name = Path(folder) / "{epoch}-{batch}.st"
            # First, and yet it must write what the others have made of the batch.
            self.callbacks.insert(0, ModelCheckpoint(name, every=1))
        self.kind = kind

    def run(self, **options):
        data, own = source(self.kind)
        x, y = arrays()
        return self.trainer.fit(
            data,
            validation=(x[::3], y[::3]),
            callbacks=self.callbacks,
            **{"epochs": EPOCHS, "verbose": False, **own, **options},
        )

    def everything(self):
        """All that must be equal, as plain values and bytes."""

        def plain(value):
            if isinstance(value, fastnn.Tensor):
                return value.detach().numpy().tobytes()
            if isinstance(value, dict):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(v) for v in value]
            return value

        history = self.trainer.history.to_dict()
        for name in ("seconds", "samples_per_second"):
            history.pop(name)
        history["batch_losses"] = history["batch_losses"].tolist()
        history["learning_rates"] = history["learning_rates"].tolist()
        return plain(
            {
                "model": self.model.state_dict(),
                "optimizer": self.sgd.state_dict(),
                "history": history,
                "generators": [
                    fastnn.get_rng_state(),
                    self.model.generator.get_state(),
                ],
                "scheduler": self.by_batch.state_dict(),
                "best": [self.stopping.best, self.stopping.best_epoch],
                "messages": [list(m) for m in self.monitor.messages],
                "records": self.monitor.records,
            }
        )


def differing(a, b):
    return [name for name in a if a[name] != b[name]]


@pytest.mark.parametrize("kind", ["arrays", "loader", "generator", "thread", "batches"])
def test_every_batch_and_epoch(kind, tmp_path):
    """Resumed from a checkpoint after every batch, in a process where all is other."""
    whole = Fit(tmp_path, kind=kind)
    whole.run()
    expected = whole.everything()
    files = sorted(tmp_path.glob("*.st"))
    assert len(files) == 28
    for file in files if kind == "arrays" else files[::5]:
        again = Fit(tmp_path / "again", kind=kind)
        fastnn.manual_seed(999)
        fastnn.rand(5)
        again.model.generator.manual_seed(77)
        again.run(resume=file)
        assert differing(again.everything(), expected) == [], file.name


def test_between_epochs(tmp_path):
    whole = Fit(extra=[ModelCheckpoint(tmp_path / "{epoch}.st")])
    whole.run()
    for epoch in (1, 2, 3, 4):
        again = Fit()
        again.run(resume=tmp_path / f"{epoch}.st")
        assert differing(again.everything(), whole.everything()) == [], epoch


def test_longer_than_it_was_meant_to_be(tmp_path):
    whole = Fit()
    whole.run(epochs=6)
    Fit(tmp_path).run(epochs=2)
    again = Fit()
    history = again.run(epochs=6, resume=tmp_path / "2-7.st")
    assert history.epochs == [1, 2, 3, 4, 5, 6]
    assert differing(again.everything(), whole.everything()) == []


def test_early_stopping_goes_on(tmp_path):
    """The best parameters come out of the checkpoint, and so does the end."""
    whole = Fit(tmp_path, patience=1)
    whole.run(epochs=60)
    stopped = len(whole.trainer.history.epochs)
    assert stopped < 60 and whole.stopping.best_epoch == stopped - 2
    for name in (f"{stopped - 1}-3.st", f"{stopped}-7.st"):
        again = Fit(patience=1)
        again.run(epochs=60, resume=tmp_path / name)
        assert differing(again.everything(), whole.everything()) == [], name


def test_a_stop_is_a_stop_after_resuming(tmp_path):
    whole = Fit(patience=1, extra=[ModelCheckpoint(tmp_path / "{epoch}.st")])
    whole.run(epochs=60)
    again = Fit(patience=1)
    history = again.run(epochs=60, resume=whole.callbacks[-1].last_path)
    assert history.stop_reason and history.epochs == whole.trainer.history.epochs
    assert differing(again.everything(), whole.everything()) == []


class Budget(Callback):
    """Ends each fit after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def on_batch_end(self, trainer):
        self.left -= 1
        if self.left == 0:
            trainer.stop("the budget is spent")


@pytest.mark.parametrize("batches", [1, 7, 10, 13])
def test_a_fit_that_a_callback_stopped_goes_on(batches, tmp_path):
    whole = Fit()
    whole.run()
    path, resume, rounds = tmp_path / "last.st", None, 0
    while True:
        # Not saved after the fit, which ends with the best weights, not the last.
        fit = Fit(extra=[Budget(batches), ModelCheckpoint(path, every=1)])
        history = fit.run(resume=resume)
        rounds, resume = rounds + 1, path
        if not history.stop_reason:
            break
        assert history.stop_reason == "the budget is spent"
    assert rounds > 1
    assert differing(fit.everything(), whole.everything()) == []


def test_more_patience_than_before(tmp_path):
    short = Fit(patience=1, extra=[ModelCheckpoint(tmp_path / "{epoch}.st")])
    short.run(epochs=60)
    stopped = short.trainer.history.epochs[-1]
    longer = Fit(patience=4)
    history = longer.run(epochs=60, resume=short.callbacks[-1].last_path)
    assert len(history.epochs) > stopped


class Press(Callback):
    def __init__(self, event, at):
        self.at, self.count = at, 0
        setattr(self, event, self.press)

    def press(self, trainer):
        self.count += 1
        if self.count == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("event", "at"),
    [
        ("on_batch_end", 10),
        ("on_batch_end", 14),
        ("on_epoch_end", 2),
        ("on_epoch_begin", 2),
    ],
)
def test_save_after_ctrl_c(event, at, tmp_path):
    whole = Fit()
    whole.run()
    broken = Fit(extra=[Press(event, at)])
    assert broken.run().interrupted
    broken.trainer.save(tmp_path / "saved.st")
    again = Fit()
    history = again.run(resume=tmp_path / "saved.st")
    assert not history.interrupted
    assert differing(again.everything(), whole.everything()) == []


@pytest.mark.parametrize("kind", ["arrays", "batches"])
def test_save_after_ctrl_c_in_validation(kind, tmp_path):
    whole = Fit(kind=kind)
    whole.run()
    broken = Fit(kind=kind)
    forward, count = broken.trainer._evaluate, []

    def pressed(*args):
        count.append(1)
        if len(count) == 2:
            signal.raise_signal(signal.SIGINT)
        return forward(*args)

    broken.trainer._evaluate = pressed
    assert broken.run().epochs == [1]
    broken.trainer.save(tmp_path / "saved.st")
    again = Fit(kind=kind)
    again.run(resume=tmp_path / "saved.st")
    assert differing(again.everything(), whole.everything()) == []


def test_csv_has_all_rows(tmp_path):
    Fit(tmp_path, extra=[CSVLogger(tmp_path / "a.csv")]).run()
    Fit(extra=[CSVLogger(tmp_path / "b.csv")]).run(resume=tmp_path / "3-2.st")
    a, b = (
        [row.split(",")[3:] for row in (tmp_path / name).read_text().splitlines()]
        for name in ("a.csv", "b.csv")
    )
    assert a == b and len(a) == 1 + EPOCHS


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from test_resume import Callback, Fit, ModelCheckpoint

    class Die(Callback):
        order = 1000
        def on_batch_end(self, trainer):
            if trainer.epoch == 3 and trainer.batch == 4:
                os.kill(os.getpid(), signal.SIGKILL)

    Fit(extra=[ModelCheckpoint({path!r}, every=3), Die()]).run()
"""


@pytest.mark.unsanitized
def test_killed(tmp_path):
    """The process dies without a word; another goes on from what it left."""
    path = tmp_path / "run.st"
    code = textwrap.dedent(
        KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    )
    package = str(Path(fastnn.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [package, inherited]))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run.st"]  # whole, and nothing else
    saved = fastnn.load(path)
    assert (
        len(saved["history"]["batch_losses"]) == 18 and saved["position"]["batch"] == 4
    )
    whole, again = Fit(), Fit()
    whole.run()
    again.run(resume=path)
    assert differing(again.everything(), whole.everything()) == []


# ---- what does not fit ----


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    Fit(folder).run(epochs=2)
    return folder / "2-3.st"


def refused(words, path, made=None, **options):
    made = made or Fit()
    before = made.everything()
    with pytest.raises(ValueError, match=words):
        made.run(resume=path, **options)
    after = made.everything()
    assert [n for n in differing(after, before) if n not in ("history",)] == []


def test_another_model(saved):
    refused(
        r"does not fit: [^\0]*first.weight: expected shape \(17, 5\)",
        saved,
        Fit(width=17),
    )


def test_another_optimizer(saved):
    made = Fit()
    made.trainer.optimizer = made.sgd = optim.SGD(
        [{"params": [p]} for p in made.model.parameters()], lr=0.1
    )
    refused("does not fit.*groups", saved, made)
    made = Fit()
    made.trainer.optimizer = optim.Adam(made.model.parameters())
    refused("does not fit: expected the optimizer SGD, got Adam", saved, made)


def test_other_data(saved):
    made = Fit()
    x, y = arrays(n=90)
    with pytest.raises(ValueError, match=r"does not fit.*7 batches an epoch, got 12"):
        made.trainer.fit(
            (x, y),
            batch_size=BATCH,
            validation=(x, y),
            callbacks=made.callbacks,
            resume=saved,
        )
    refused("does not fit.*batch", saved, batch_size=BATCH + 1, epochs=4)
    refused("does not fit.*without state_dict", saved, Fit(kind="batches"))
    refused("does not fit.*generator", saved, Fit(kind="generator"))


def test_validation_that_was_not_there_or_is_gone(tmp_path):
    net, (x, y) = Net(), arrays()
    sgd = optim.SGD(net.parameters(), lr=0.1)
    path = tmp_path / "saved.st"
    for first, then, words in (
        ({}, {"validation": (x, y)}, "expected no validation="),
        ({"validation": (x, y)}, {}, "expected a validation="),
    ):
        trainer = Trainer(net, nn.CrossEntropyLoss(), sgd)
        trainer.fit((x, y), verbose=False, **first)
        trainer.save(path)
        with pytest.raises(ValueError, match=words):
            trainer.fit((x, y), epochs=2, verbose=False, resume=path, **then)


def test_other_metrics_and_callbacks(saved):
    made = Fit()
    del made.trainer.metrics["f1"]
    refused(
        r"does not fit.*metrics \['accuracy', 'f1'\], got \['accuracy'\]", saved, made
    )
    made = Fit()
    del made.callbacks[0]
    refused("does not fit.*EarlyStopping", saved, made)


def test_other_files(saved, tmp_path):
    whole = saved.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "cut.st"
        path.write_bytes(whole[:length])
        refused("cut.st", path)
    fastnn.save(Fit().model.state_dict(), tmp_path / "model.st")
    refused("no checkpoint of a fit", tmp_path / "model.st")
    state = fastnn.load(saved)
    fastnn.save({**state, "version": 99}, tmp_path / "new.st")
    refused("version 99", tmp_path / "new.st")
    with pytest.raises(FileNotFoundError):
        Fit().run(resume=tmp_path / "nowhere.st")


def test_broken_off_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    made = Fit()
    made.run(epochs=1)
    path = tmp_path / "run.st"
    made.trainer.save(path)
    old = path.read_bytes()

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        made.trainer.save(path)
    assert path.read_bytes() == old and len(list(tmp_path.iterdir())) == 1


class StopError(Exception):
    pass


class SaveAt(Callback):
    """Saves when an event comes for the n-th time, and breaks the fit off."""

    order = 1000

    def __init__(self, event, at, path):
        self.at, self.path, self.count = at, path, 0
        setattr(self, event, self.save)

    def save(self, trainer):
        self.count += 1
        if self.count == self.at:
            trainer.save(self.path)
            raise StopError


class ByChance(Fit):
    """A fit whose validation, too, is in random order, of the default generator."""

    def run(self, **options):
        x, y = arrays()
        rows = TensorDataset(fastnn.from_numpy(x[::3]), fastnn.from_numpy(y[::3]))
        held_out = DataLoader(rows, batch_size=5, shuffle=True)
        data, own = source(self.kind)
        return self.trainer.fit(
            data,
            validation=held_out,
            callbacks=self.callbacks,
            **{"epochs": EPOCHS, "verbose": False, **own, **options},
        )


@pytest.mark.parametrize("kind", ["arrays", "generator", "thread"])
@pytest.mark.parametrize(
    ("event", "at"),
    [
        ("on_batch_begin", 1),  # a batch was handed out that nothing was learnt from
        ("on_batch_begin", 3),
        ("on_batch_begin", 14),
        ("on_epoch_begin", 2),
        ("on_validation_end", 2),
    ],
)
def test_saved_by_a_callback(kind, event, at, tmp_path):
    whole = ByChance(kind=kind)
    whole.run()
    broken = ByChance(kind=kind, extra=[SaveAt(event, at, tmp_path / "saved.st")])
    with pytest.raises(StopError):
        broken.run()
    again = ByChance(kind=kind)
    fastnn.manual_seed(999)
    again.run(resume=tmp_path / "saved.st")
    assert differing(again.everything(), whole.everything()) == []


def test_save_after_ctrl_c_within_validation(tmp_path):
    """Validation that was broken off begins anew: a part of it is no value."""
    whole = ByChance()
    whole.run()
    broken, count = ByChance(), []
    forward = broken.model.forward

    def pressed(x):
        count.append(not broken.model.training)
        if sum(count) == 6:  # four batches to a validation
            signal.raise_signal(signal.SIGINT)
        return forward(x)

    broken.model.forward = pressed
    assert broken.run().epochs == [1]
    del broken.model.forward
    broken.trainer.save(tmp_path / "saved.st")
    again = ByChance()
    again.run(resume=tmp_path / "saved.st")
    assert differing(again.everything(), whole.everything()) == []
