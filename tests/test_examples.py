"""The examples, each run whole: on a few digits made 28x28, or on data made up."""

from __future__ import annotations

import importlib
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn.datasets import digits
from fastnn.datasets._split import Split, Splits
from fastnn.nn import functional as F

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def few(images, labels, count):
    """So many digits, in MNIST's form."""
    small = images[:count].reshape(-1, 1, 8, 8)
    large = F.interpolate(small, size=(28, 28), mode="bilinear")
    return Split(large.contiguous(), labels[:count])


@pytest.fixture
def example(monkeypatch):
    """An example's module, its MNIST replaced, and a way to run it: name -> module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    threads = fastnn.get_num_threads()

    def load(name, count=240):
        module: Any = importlib.import_module(name)
        train, test = digits()
        data = Splits(few(*train, count), few(*test, 100))
        monkeypatch.setattr(module, "mnist", lambda root, **options: data)
        return module

    yield load
    fastnn.set_num_threads(threads)


def run(monkeypatch, capsys, module, *arguments):
    """What main() gives, and prints."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    status = module.main()
    return status, capsys.readouterr().out


@pytest.mark.parametrize("route", ["cnn", "dense"])
def test_mnist_99(route, example, monkeypatch, capsys):
    module = example("mnist_99")
    monkeypatch.setattr(module, "BATCH", 32)
    seen = []
    for threads in ("1", "2"):
        status, text = run(
            monkeypatch, capsys, module, "--route", route, "--epochs", "2",
            "--models", "2" if route == "cnn" else "1", "--threads", threads,
        )  # fmt: skip
        assert status == 1  # so few digits do not make 99%
        assert "NOT AS PROMISED: network 1 does not reach" in text
        assert ("average of 2" in text) == (route == "cnn")
        rows = [
            line.split()[:-1]
            for line in text.splitlines()
            if line.startswith("    ") or "test digits" in line
        ]
        losses = [float(row[2]) for row in rows if len(row) == 4 and row[0].isdigit()]
        assert len(losses) == (4 if route == "cnn" else 2)
        assert all(map(math.isfinite, losses))
        seen.append(rows)
    assert seen[0] == seen[1]  # whatever the number of threads


def test_mnist_99_holds_its_promises(example, capsys):
    module = example("mnist_99")
    labels = fastnn.tensor([0, 1, 2, 3])
    right = F.one_hot(labels, 10).float()
    wrong = right.roll(1, 0)
    assert module.report([right], labels, 0.99) == []
    assert module.report([right, right * 0.9 + wrong * 0.1], labels, 0.99) == []
    missed = module.report([right, wrong * 2], labels, 0.99)
    assert missed == [
        "network 2 does not reach 99.0%",
        "the average is worse than the best network",
    ]
    assert "network 1: 100.00% of 4 test digits right" in capsys.readouterr().out


def test_residual_depth(example, monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    module = example("residual_depth")
    monkeypatch.setattr(module, "DEPTHS", (8, 14))
    monkeypatch.setattr(module, "expectations", lambda runs: [("all", len(runs) == 8)])
    picture = tmp_path / "depth.png"
    status, text = run(monkeypatch, capsys, module, "--plot", str(picture))
    assert status == 0
    assert "seen      all" in text
    assert len([line for line in text.splitlines() if "residual" in line]) >= 4
    assert picture.stat().st_size > 10_000


@pytest.fixture
def texts(monkeypatch):
    """Examples that read a text: name -> module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    threads = fastnn.get_num_threads()
    yield importlib.import_module
    fastnn.set_num_threads(threads)


def without_seconds(text):
    """Lines of a table end with seconds; those are cut off."""
    return [
        line.rsplit(maxsplit=1)[0] if line[:5].strip().isdigit() else line
        for line in text.splitlines()
    ]


def test_shakespeare(texts, monkeypatch, capsys, tmp_path):
    module = texts("shakespeare")
    verse = (
        "Thrice the brinded cat hath mew'd.\nThrice, and once the hedge-pig whined.\n"
    )
    (tmp_path / "verse.txt").write_text(verse * 40)
    small = ["--epochs", "8", "--batch", "4", "--steps", "16", "--width", "32"]
    small += ["--every", "20", "--length", "60"]
    seen = []
    for threads in ("1", "2"):
        status, text = run(
            monkeypatch, capsys, module, str(tmp_path / "verse.txt"), *small,
            "--rate", "0.02", "--prompt", "Thrice", "--threads", threads,
        )  # fmt: skip
        assert status == 0, text  # it knows two lines by heart
        assert "2,960 characters, 22 of them" in text
        seen.append(without_seconds(text))
    assert seen[0] == seen[1]
    written = "\n".join(seen[0]).split("\n\n")[-1]
    assert len(written) == len("Thrice") + 60 and verse[:34] in written
    status, text = run(
        monkeypatch, capsys, module, str(tmp_path / "verse.txt"), *small,
        "--epochs", "1", "--temperature", "0",
    )  # fmt: skip
    assert status == 1 and "NOT AS PROMISED" in text
    status, text = run(
        monkeypatch, capsys, module, str(tmp_path / "verse.txt"), *small,
        "--transformer", "--layers", "1", "--rate", "0.01", "--dropout", "0",
    )  # fmt: skip
    assert status == 0, text
    assert len(text.split("\n\n", 2)[-1]) > 60
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    (tmp_path / "tinyshakespeare.txt").write_text(verse * 3)
    assert len(module.read(None)[1]) == 3 * len(verse)
    monkeypatch.delenv("FASTNN_DATA")
    with pytest.raises(SystemExit, match="name a text, or set FASTNN_DATA"):
        module.read(None)


def test_names(texts, monkeypatch, capsys, tmp_path):
    module = texts("names")
    names = ["anna", "bo", "hannah", "otto", "eve", "bob", "ada", "nathan"]
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names * 20))
    seen = []
    for threads in ("1", "2"):
        status, text = run(
            monkeypatch, capsys, module, str(path), "--batch", "16", "--rate", "0.02",
            "--epochs", "5", "--width", "24", "--dropout", "0", "--threads", threads,
        )  # fmt: skip
        assert status == 0, text
        seen.append(without_seconds(text))
    assert seen[0] == seen[1]
    made = [name.strip("*") for name in seen[0][-1].split(", ")]
    assert len(made) == 20
    assert len([name for name in made if name in names]) > 10
    assert module.main() == 0  # again in this process
    assert "NOT AS PROMISED" in run(
        monkeypatch, capsys, module, str(path), "--epochs", "1", "--width", "4"
    )[1]  # fmt: skip
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    with pytest.raises(SystemExit, match="name a file, or set FASTNN_DATA"):
        module.read(None)


def test_names_behind_the_end_count_for_nothing(texts):
    module = texts("names")
    letters = ["\n", "a", "b"]
    x, n, y = (fastnn.from_numpy(p) for p in module.arrays(["ab", "b"], letters, 3))
    assert x.tolist() == [[0, 1, 2], [0, 2, 0]] and n.tolist() == [3, 2]
    assert y.tolist() == [[1, 2, 0], [2, 0, -100]]
    scores = fastnn.zeros(2, 3, 3)
    assert module.nats_per_name(scores, y).item() == pytest.approx(2.5 * math.log(3))


def test_additive_attention(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module: Any = importlib.import_module("additive_attention")
    status, text = run(monkeypatch, capsys, module, "--steps", "160")
    assert status == 0 and "of the weight on the pair" in text
    assert run(monkeypatch, capsys, module, "--steps", "3")[0] == 1
    layer = module.AdditiveAttention(2, 3, 4)
    query, keys = fastnn.rand(2, 2), fastnn.rand(2, 5, 3)
    mask = fastnn.arange(5) < fastnn.tensor([[5], [2]])
    y, weights = layer(query, keys, keys, mask)
    assert weights.sum(1).tolist() == pytest.approx([1, 1])
    assert weights[1, 2:].tolist() == [0, 0, 0]
    assert y.shape == (2, 3)


@pytest.fixture
def plain_example(monkeypatch):
    """An example's module, as it is: name -> module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    threads = fastnn.get_num_threads()
    yield importlib.import_module
    fastnn.set_num_threads(threads)


def folder_of(name):
    """The folder of a true data set; the test is skipped where FASTNN_DATA has none."""
    folder = os.environ.get("FASTNN_DATA", "")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"needs {name} in the folder that FASTNN_DATA names")
    return folder


def test_japanese_vowels_in_truth(monkeypatch, capsys):
    root = folder_of("japanese_vowels.npz")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module("japanese_vowels")
    status, text = run(monkeypatch, capsys, module, "--root", root, "--seeds", "1")
    assert status == 0, text


def test_etth1_in_truth(monkeypatch):
    """The file is read as it is, and yesterday is as good a forecast as is said."""
    root = folder_of("etth1.csv")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module("etth1")
    rows = module.etth1(root)
    assert rows.shape == (17420, 7)
    hours = 16 * module.MONTH, 20 * module.MONTH
    test = module.windows(rows, *hours, np.ones(7, np.float32))
    mae, mse = module.errors(test.yesterday, test.truth)
    assert round(mae, 3) == 1.526
    assert round(mse, 3) == 3.859


def vowels(path, count=90):
    """A file like the true one, of speakers who differ in how a coefficient moves."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        y = np.arange(count) % 9
        lengths = rng.integers(7, 30, count)
        x = rng.standard_normal((count, 29, 12)).astype(np.float32)
        x[np.arange(count), :, y] += 4
        x[np.arange(29) >= lengths[:, None]] = 0
        arrays |= {f"x_{part}": x, f"lengths_{part}": lengths, f"y_{part}": y}
    np.savez(path / "japanese_vowels.npz", **arrays)


def test_japanese_vowels(plain_example, monkeypatch, capsys, tmp_path):
    module = plain_example("japanese_vowels")
    vowels(tmp_path)
    options = ("--root", str(tmp_path), "--seeds", "2", "--hidden", "16", "--epochs")
    status, text = run(monkeypatch, capsys, module, *options, "30")
    assert status == 0, text  # one coefficient tells them apart
    assert len([line for line in text.splitlines() if line[:4].strip().isdigit()]) == 2
    status, text = run(monkeypatch, capsys, module, *options, "1")
    assert status == 1
    assert "NOT AS PROMISED" in text
    with pytest.raises(FileNotFoundError, match=r"japanese_vowels.npz in --root"):
        run(monkeypatch, capsys, module)


def test_japanese_vowels_does_not_look_at_padding(plain_example, tmp_path):
    """Neither in the scale of coefficients, nor in the network."""
    module = plain_example("japanese_vowels")
    vowels(tmp_path)
    train, test = module.japanese_vowels(str(tmp_path))
    model = module.Speaker(4).eval()
    seen = []
    for fill in (0.0, 1e6):
        dirty = train.x.clone()
        for i, n in enumerate(train.lengths.tolist()):
            dirty[i, n:] = fill
        scaled, _ = module.standardised(train._replace(x=dirty), test)
        seen.append(model(scaled.x, scaled.lengths).tolist())
    assert seen[0] == seen[1]


def temperatures(path, hours):
    """A file like the true one: a daily wave, and a level that wanders."""
    rng = np.random.default_rng(0)
    time = np.arange(hours)[:, None]
    level = np.cumsum(rng.standard_normal((hours, 7)), 0) * 0.3
    rows = 20 + level + 3 * np.sin(2 * np.pi * time / 24 + np.arange(7))
    with open(path / "etth1.csv", "w") as file:
        file.write("date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT\n")
        for hour, row in enumerate(rows):
            file.write(f"{hour}," + ",".join(map(str, row)) + "\n")


def test_etth1(plain_example, monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    module = plain_example("etth1")
    for name, hours in (("MONTH", 4 * 24), ("PAST", 48), ("AHEAD", 12)):
        monkeypatch.setattr(module, name, hours)
    temperatures(tmp_path, 21 * module.MONTH)
    picture = tmp_path / "etth1.png"
    status, text = run(
        monkeypatch, capsys, module, "--root", str(tmp_path), "--epochs", "3",
        "--hidden", "16", "--models", "2", "--plot", str(picture),
    )  # fmt: skip
    assert "average of 2" in text
    assert status == 0, text  # better than to repeat yesterday
    assert picture.stat().st_size > 10_000
    with pytest.raises(FileNotFoundError, match=r"etth1.csv in --root"):
        run(monkeypatch, capsys, module)


def test_etth1_knows_nothing_of_what_comes(plain_example):
    """Windows: what is known ends where the truth begins, and parts do not overlap."""
    module = plain_example("etth1")
    rows = np.arange(400, dtype=np.float32)[:, None] * np.ones(7, np.float32)
    made = module.windows(rows, 200, 300, np.ones(7, np.float32))
    assert made.past.shape == (77, module.PAST, 9)
    assert made.truth[0].tolist() == list(range(200, 224))
    assert made.truth[-1].tolist() == list(range(276, 300))
    assert made.last[0, 0] == 199
    assert made.yesterday[0].tolist() == list(range(176, 200))
    assert made.past[0, :, 6].tolist() == list(range(-95, 1))
    assert made.change[0, :, 0].tolist() == list(range(1, 25))


def test_long_term_dependencies(plain_example, monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    module = plain_example("long_term_dependencies")
    picture = tmp_path / "gradients.png"
    status, text = run(monkeypatch, capsys, module, "--quick", "--plot", str(picture))
    assert status == 0
    rows = [
        line for line in text.splitlines() if line.startswith(("adding", "copying"))
    ]
    assert len(rows) == 10
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["tanh, radius 0.7", "GRU", "LSTM"])
def test_gradients_with_respect_to_states(kind, plain_example):
    """Against differences: the last output's loss where a state is pushed a little."""
    module = plain_example("long_term_dependencies")
    fastnn.manual_seed(0)
    task = module.adding(6)
    network = module.Network(module.KINDS[kind](2, 3), 1).double()
    x, target = (t.double() for t in task.draw(np.random.default_rng(0), 2))
    norms = module.gradient_norms(network, task, (x, target))
    assert len(norms) == 6

    def loss(at, part, index, push):
        state = None
        for t, row in enumerate(x.unbind(0)):
            _, state = network.rnn.step(row, state)
            if t == at:
                parts = list(state) if kind == "LSTM" else [state]
                parts[part] = parts[part].clone()
                parts[part][index] += push
                state = tuple(parts) if kind == "LSTM" else parts[0]
        h = state[0] if kind == "LSTM" else state
        return task.loss(network.readout(h), target).item()

    with fastnn.no_grad():
        for at in (0, 3, 5):
            total = 0.0
            for part in range(2 if kind == "LSTM" else 1):
                for index in np.ndindex(1, 2, 3):
                    both = [loss(at, part, index, push) for push in (1e-5, -1e-5)]
                    total += ((both[0] - both[1]) / 2e-5) ** 2
            assert math.isclose(norms[at], math.sqrt(total), rel_tol=1e-5)
