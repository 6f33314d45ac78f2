"""The code in the how-to pages runs: what they tell to write works as written."""

import doctest
import inspect
import re
import sys
import types
from pathlib import Path

import pytest

from fastnn import nn

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
