"""fastnn demo, as a user runs it."""

import re
import sys

import pytest
from test_runtime import output, python

RUN = "import sys; from fastnn.cli import main; sys.exit(main({}))"


@pytest.mark.unsanitized
def test_demo(tmp_path):
    done = python("", tmp_path)  # the environment works at all
    assert done.returncode == 0
    text = output(RUN.format(["demo"]), tmp_path)
    rows = re.findall(r"^ *(\d+) +([\d.]+) +([\d.]+)% +([\d.]+)%$", text, re.MULTILINE)
    assert [int(r[0]) for r in rows] == list(range(1, 21))
    losses = [float(r[1]) for r in rows]
    assert losses[-1] < 0.1 * losses[0]
    found = re.search(r"([\d.]+)% of the held-out digits right, ([\d.]+) s", text)
    assert float(found[1]) >= 96
    assert float(found[2]) < 10
    times = re.findall(r"^ +(fastnn|NumPy).* ([\d.]+) µs$", text, re.MULTILINE)
    assert [name for name, _ in times] == ["fastnn", "NumPy"]


def test_same_seed_same_bits(tmp_path):
    def losses(*options, **variables):
        text = output(
            RUN.format(["demo", "--epochs", "2", *options]).replace("sys.exit(", "("),
            tmp_path,
            **variables,
        )
        return re.findall(r"^ *\d+ +[\d.]+ +[\d.]+% +[\d.]+%$", text, re.MULTILINE)

    first = losses()
    assert len(first) == 2
    assert (
        losses(
            FASTNN_NUM_THREADS="1",
            FASTNN_ISA="avx2"
            if sys.platform == "linux" and "avx2" in isas()
            else "generic",
        )
        == first
    )
    assert losses("--seed", "1") != first


def isas():
    from fastnn import _core

    return _core.isas()


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
    assert "demo" in done.stdout
