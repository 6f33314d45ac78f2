"""The code in the how-to pages runs: what they tell to write works as written."""

import doctest
import inspect
import math
import re
import sys
import types
from pathlib import Path

import pytest

import fastnn
from fastnn import nn
from fastnn.bench import harness
from fastnn.bench.machine import Level, Machine
from fastnn.bench.peers.numpy_ import NumPy
from fastnn.bench.peers.ours import Compiled, Eager
from fastnn.bench.workloads import infer, kernels, layers, train
from fastnn.plan.passes import PASSES

MACHINE = Machine(1, "avx2", {"avx2": {"float32": 5e10}}, [Level("L1", math.inf, 1e11)])
PAGES = Path(__file__).parents[1] / "docs" / "how-to"


def blocks(page, language="python"):
    path = PAGES / page
    if not path.exists():
        pytest.skip("the pages come with the source tree only")
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def test_add_a_layer(monkeypatch, capsys):
    layer, tests, usage = blocks("add-a-layer.md")
    (lines,) = blocks("add-a-layer.md", "diff")

    # 1, 2: the file, and the lines of the package
    module = types.ModuleType("fastnn.nn.swish")
    exec(compile(layer, "fastnn/nn/swish.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    imported, listed = (line[1:].strip() for line in lines.splitlines())
    exec(imported, vars(nn))
    name = listed.strip('",')
    assert getattr(nn, name) is module.Swish
    try:
        # 3: its tests and its docstring
        space: dict = {}
        exec(compile(tests, "tests/test_layers.py", "exec"), space)
        for test in [f for n, f in space.items() if n.startswith("test_")]:
            marks = [
                m for m in getattr(test, "pytestmark", ()) if m.name == "parametrize"
            ]
            for value in marks[0].args[1] if marks else [()]:
                test(*([value] if marks else []))
        (example,) = (
            t for t in doctest.DocTestFinder().find(module.Swish, name) if t.examples
        )
        assert doctest.DocTestRunner().run(example).failed == 0
        # 4: in a network
        exec(usage, space)
        assert re.search(r"1 +Swish +\(N, 8\)", capsys.readouterr().out)
    finally:
        delattr(nn, name)
    for _, method in inspect.getmembers(module.Swish, inspect.isfunction):
        assert method.__doc__ or method.__name__.startswith("_")
    assert len(layer.splitlines()) < 70


def test_add_a_pass(monkeypatch):
    code, tests = blocks("add-a-pass.md")
    (lines,) = blocks("add-a-pass.md", "diff")
    imported, entry = (line[1:].strip() for line in lines.splitlines())

    # 1, 2: the file, and its lines
    module = types.ModuleType("fastnn.plan.passes.negations")
    exec(compile(code, "fastnn/plan/passes/negations.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    space: dict = {}
    exec(imported, space)
    added = eval(f"{{{entry}}}", space)
    before = dict(PASSES)
    try:
        PASSES.clear()
        for name, run in before.items():
            PASSES.update(added if name == "dead" else {})
            PASSES[name] = run
        # 3: its tests
        exec(compile(tests, "tests/plan/test_passes.py", "exec"), space)
        for name in [n for n in space if n.startswith("test_")]:
            space[name]()
        step = fastnn.compile(lambda x: x.neg().neg().exp())
        for _ in range(3):
            y = step(fastnn.ones(4))
        assert [c.op.name for c in step.plan.graph.calls] == ["exp"]
        assert y.tolist() == fastnn.ones(4).exp().tolist()
        assert "negations: neg" in step.plan.explain()
    finally:
        PASSES.clear()
        PASSES.update(before)


def test_add_a_workload(monkeypatch):
    dense, network, function, layer = blocks("add-a-workload.md")
    space = dict(vars(train))
    exec(network, space)
    rows = [eval(dense, vars(infer)), eval(function, vars(kernels)), space["row"]]
    rows += eval(layer, vars(layers))
    assert [row.group for row in rows] == ["infer", "kernels", "train"] + ["layers"] * 2
    monkeypatch.setattr(harness, "measure", lambda threads: MACHINE)
    threads = fastnn.get_num_threads()
    try:
        run = harness.run_here(rows, 1, (Compiled, Eager, NumPy), rounds=3, budget=1e-4)
    finally:
        fastnn.set_num_threads(threads)
    for row in run["rows"]:
        numpys = {"numpy"} if row["group"] in ("infer", "kernels") else set()
        assert {"fastnn", "eager"} | numpys == row["times"].keys()
        assert not [w for w in row["failed"].values() if "lost in the noise" not in w]
