"""The examples, each run whole: on a few digits, 8x8 pixels made 28x28, as MNIST's are, or on
a few lines of text."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

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
