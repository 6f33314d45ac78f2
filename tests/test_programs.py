"""Programs written for PyTorch run with only their imports changed."""

import re
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
IMPORTS = {  # a line that begins so, and what it becomes
    "import torch": "import fastnn as torch",
    "from torch.utils.data import": "from fastnn.data import",
    "from torch import": "from fastnn import",
}


def ported(source):
    lines = source.splitlines()
    for i, line in enumerate(lines):
        for old, new in IMPORTS.items():
            if line.startswith(old):
                lines[i] = line.replace(old, new, 1)
    result = "\n".join(lines)
    assert not re.search(r"^(import|from) torch", result, re.MULTILINE)
    return result


def run(source, capsys):
    """What the program prints: the model, and each epoch's losses and accuracy."""
    exec(compile(source, "tutorial.py", "exec"), {"__name__": "__main__"})
    text = capsys.readouterr().out
    epochs = re.findall(
        r"^(\d+): train ([\d.]+), test ([\d.]+), ([\d.]+)%$", text, re.M
    )
    return text, [[float(v) for v in epoch] for epoch in epochs]


def test_the_tutorial(capsys):
    source = (PROGRAMS / "tutorial.py").read_text()
    text, epochs = run(ported(source), capsys)
    assert text.startswith("Net(\n  (flatten): Flatten(start_dim=1, end_dim=-1)\n")
    assert len(epochs) == 5
    assert epochs[-1][1] < epochs[0][1] / 5
    assert epochs[-1][3] > 98


def test_the_tutorial_learns_as_in_torch(capsys):
    pytest.importorskip("torch")
    source = (PROGRAMS / "tutorial.py").read_text()
    ours, theirs = run(ported(source), capsys), run(source, capsys)
    assert ours[0].split("1: ")[0] == theirs[0].split("1: ")[0]  # the model's text
    # Different random numbers for weights and order, the same course.
    for mine, peer in zip(ours[1], theirs[1], strict=True):
        assert mine[1] == pytest.approx(peer[1], rel=0.3, abs=0.02)
        assert mine[3] == pytest.approx(peer[3], abs=3)
