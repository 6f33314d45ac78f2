"""fastnn demo and the command line, as a user runs them."""

import contextlib
import os
import pty
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from test_runtime import output, python

import fastnn
from fastnn import demo, nn, optim
from fastnn.datasets import Split, digits

RUN = "import sys; from fastnn.cli import main; sys.exit(main({}))"
ROW = r"^ *(\d+) +([\d.]+) +([\d.]+) +([\d.]+)% +([\d.]+)%$"


@pytest.mark.unsanitized
def test_demo(tmp_path):
    done = python("", tmp_path)  # the environment works at all
    assert done.returncode == 0
    text = output(RUN.format(["demo"]), tmp_path)
    rows = re.findall(ROW, text, re.MULTILINE)
    assert [int(r[0]) for r in rows] == list(range(1, 31))
    losses = [float(r[1]) for r in rows]
    assert losses[-1] < 0.1 * losses[0]
    found = re.search(r"([\d.]+)% of the held-out digits right, ([\d.]+) s", text)
    assert float(found[1]) >= 97 and found[1] == rows[-1][4]
    assert float(found[2]) < 10
    assert "its 360 predictions are equal bit for bit" in text
    times = re.findall(r"^ +(fastnn|NumPy).* ([\d.]+) µs$", text, re.MULTILINE)
    assert [name for name, _ in times] == ["fastnn", "NumPy"]
    assert os.listdir(tmp_path) == ["demo.safetensors"]
    assert "demo.safetensors: the network" in text

    model = demo.network()
    model.load_state_dict(fastnn.load(tmp_path / "demo.safetensors"))
    assert f"{demo.evaluate(model, digits().test)[1]:.1%}" == f"{found[1]}%"


def test_compiled_and_eager_give_the_same_bits(capsys):
    runs = []
    for compiled in (True, False):
        fastnn.manual_seed(0)
        model = demo.network()
        history, _ = demo.fit(model, *digits(), 3, compiled=compiled)
        runs.append((history, [p.tolist() for p in model.parameters()]))
    assert runs[0] == runs[1]


def test_same_seed_same_bits(tmp_path):
    def run(folder, *options, **variables):
        text = output(
            RUN.format(
                ["demo", "--epochs", "2", "--out", f"a/{folder}", *options]
            ).replace("sys.exit(", "("),
            tmp_path,
            **variables,
        )
        rows = re.findall(ROW, text, re.MULTILINE)
        assert len(rows) == 2 and "less than the 97% expected" in text
        return rows, (tmp_path / "a" / folder / "demo.safetensors").read_bytes()

    first = run("one")
    low = "avx2" if "avx2" in fastnn._core.isas() else "generic"
    assert run("two", FASTNN_NUM_THREADS="1", FASTNN_ISA=low) == first
    rows, network = run("three", "--seed", "1")
    assert rows != first[0] and network != first[1]


@pytest.mark.slow
def test_most_seeds_do_well():
    train, test = digits()
    found = []
    for seed in range(20):
        fastnn.manual_seed(seed)
        model = demo.network()
        history, _ = demo.fit(model, train, test, 30)
        found.append(history[-1].held_out)
    assert min(found) >= 0.97 and sorted(found)[10] >= 0.975, found


def test_a_network_that_does_not_survive_is_told(tmp_path, monkeypatch, capsys):
    load = fastnn.load

    def one_bit_off(path):
        state = load(path)
        state["0.bias"].numpy().view(np.int32)[:] ^= 1
        return state

    monkeypatch.setattr(fastnn, "load", one_bit_off)
    assert demo.main(epochs=30, seed=0, out=tmp_path, plot=None) == 1
    assert "its 360 predictions DIFFER" in capsys.readouterr().out


def test_the_rival_is_honest(monkeypatch):
    """NumPy takes the same steps; a rival that takes others is found out."""
    train, _ = digits()
    batch = Split(train.images[:32], train.labels[:32])
    fastnn.manual_seed(1)
    model = demo.network()
    rival = demo.NumpyNetwork(model)
    step = demo.fastnn_step(model, batch)
    for _ in range(20):
        loss = rival.step(batch.images.numpy(), batch.labels.numpy())
        assert loss == pytest.approx(step(), abs=1e-5)
    for p, q in zip(model.parameters(), rival.parameters, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q, rtol=0, atol=1e-5)
    monkeypatch.setattr(demo, "MOMENTUM", 0.8)
    monkeypatch.setattr(
        demo, "fastnn_step", lambda model, batch: step_of(model, batch, 0.9)
    )
    with pytest.raises(RuntimeError, match="the two networks differ"):
        demo.race(batch)


def step_of(model, batch, momentum):
    optimizer = optim.SGD(model.parameters(), lr=demo.RACE_LR, momentum=momentum)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch.images), batch.labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def test_on_a_terminal_there_is_a_bar(tmp_path, monkeypatch):
    main, side = pty.openpty()
    with os.fdopen(side, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        train, test = digits()
        demo.fit(demo.network(), train, test, 2)
    text = ""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side closed
        while True:
            text += os.read(main, 10000).decode()
    os.close(main)
    assert "2/2" in text and "held-out" in text
    assert not re.search(ROW, text, re.MULTILINE)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    code = RUN.format(["demo", "--plot", "--out", "new/folder"])
    text = output(code, tmp_path)
    path = tmp_path / "new" / "folder" / "demo.png"
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert f"{Path('new/folder/demo.png')}: learning curves" in text
    done = python(RUN.format(["demo", "--plot", "digits.doc"]), tmp_path)
    assert done.returncode == 2 and "expected a file ending in one of" in done.stderr
    assert done.stdout == ""


def test_plot_with_every_number_of_mistakes(tmp_path):
    pytest.importorskip("matplotlib")
    from fastnn import _demo_plot

    test = digits().test
    for wrong in (0, 1, 16, 40, 360):
        logits = nn.functional.softmax(fastnn.rand(360, 10), dim=1).numpy()
        logits[np.arange(360), test.labels.numpy()] += 1
        logits[:wrong] = np.roll(logits[:wrong], 1, axis=1)
        history = [demo.Epoch(1.0, 1.0, 0.5, 1 - wrong / 360)]
        path = tmp_path / f"{wrong}.svg"
        _demo_plot.draw(path, history, test, fastnn.tensor(logits))
        assert f"{360 - wrong} of 360 held-out digits right" in path.read_text()


def test_plot_without_matplotlib(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; " + RUN
    done = python(code.format(["demo", "--plot"]), tmp_path)
    assert done.returncode == 2
    assert 'needs matplotlib: python -m pip install matplotlib, or "fastnn[plot]"' in (
        done.stderr
    )
    assert done.stdout == "" and os.listdir(tmp_path) == []


def test_an_unfit_folder(tmp_path):
    (tmp_path / "file").write_text("")
    done = python(RUN.format(["demo", "--out", "file"]), tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fastnn demo: ") and "file" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_a_plot_where_no_folder_is(tmp_path):
    """Said before anything is trained, not after."""
    pytest.importorskip("matplotlib")
    done = python(RUN.format(["demo", "--plot", "none/a.png"]), tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("fastnn demo: --plot: expected an existing folder")
    assert done.stdout == "" and os.listdir(tmp_path) == []


def test_command_line(tmp_path):
    from fastnn import __version__

    assert output(RUN.format(["--version"]), tmp_path) == f"fastnn {__version__}"
    done = python(RUN.format(["demo", "--epochs", "0"]), tmp_path)
    assert done.returncode == 2
    assert "--epochs" in done.stderr
    assert python(RUN.format([]), tmp_path).returncode == 2
    done = python(
        "import runpy, sys; sys.argv = ['fastnn', '--help']; "
        "runpy.run_module('fastnn', run_name='__main__')",
        tmp_path,
    )
    assert done.returncode == 0
    assert "fastnn demo --plot" in done.stdout and "fastnn info" in done.stdout
    for command in ("demo", "info"):
        text = output(RUN.format([command, "--help"]), tmp_path, COLUMNS="80")
        assert max(map(len, text.splitlines())) <= 84
        assert "%(" not in text


def test_interrupted(monkeypatch, capsys, tmp_path):
    from fastnn import cli

    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "main", interrupted)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "\nstopped\n"
