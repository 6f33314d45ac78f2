"""What the documentation says, runs: doctests, the README's program, docstrings."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fastnn

ROOT = Path(__file__).parents[1]
MODULES = [
    "fastnn",
    *sorted(
        m.name
        for m in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
        if not m.name.endswith("__main__")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    module = importlib.import_module(name)
    fastnn.manual_seed(0)
    found = doctest.testmod(module, extraglobs={"fastnn": fastnn})
    assert found.failed == 0


def test_there_are_doctests():
    finder = doctest.DocTestFinder()
    examples = sum(
        len(test.examples)
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
    )
    assert examples > 20


def public_things():
    for name in MODULES:
        if any(part.startswith("_") for part in name.split(".")):
            continue
        module = importlib.import_module(name)
        yield name, module
        for key, value in vars(module).items():
            own = getattr(value, "__module__", "").startswith("fastnn")
            if (
                key.startswith("_")
                or not own
                or not (inspect.isclass(value) or inspect.isroutine(value))
            ):
                continue
            yield f"{name}.{key}", value
            if inspect.isclass(value) and value.__module__ == name:
                for member, method in vars(value).items():
                    if not member.startswith("_") and (
                        inspect.isroutine(method) or isinstance(method, property)
                    ):
                        yield f"{name}.{key}.{member}", method
    for member, method in vars(fastnn.Tensor).items():
        if not member.startswith("_"):
            yield f"Tensor.{member}", method


def test_everything_public_has_a_docstring():
    bare = [
        name
        for name, value in public_things()
        if not (getattr(value, "__doc__", None) or "").strip()
    ]
    assert bare == []


def test_ops_say_what_they_are():
    """Meaning first, ended by a full stop."""
    for name, f in fastnn.ops._registry.PUBLIC.items():
        first = f.__doc__.strip().split("\n\n")[0]
        assert first.endswith("."), name


def test_errors_start_with_the_name_of_the_op():
    for call, name in (
        (lambda: fastnn.cat([]), "cat"),
        (lambda: fastnn.ones(2).sum(dim=3), "sum"),
        (lambda: fastnn.ones(2).reshape(3), "reshape"),
        (lambda: fastnn.ones(2, 3) @ fastnn.ones(2, 3), "matmul"),
    ):
        with pytest.raises((ValueError, IndexError), match=rf"^{name}: expected .*got"):
            call()


def readme_programs():
    """The README's Python blocks; none where there is no source tree."""
    if not (ROOT / "README.md").exists():
        return []
    text = (ROOT / "README.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("k", range(len(readme_programs())))
def test_the_readme_programs(k, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastnn.manual_seed(0)
    exec(compile(readme_programs()[k], "README.md", "exec"), {})
    said = capsys.readouterr().out
    found = re.search(r"held-out digits right: ([\d.]+)(%| of 360)", said)
    share = float(found[1]) / (100 if found[2] == "%" else 360)
    assert 0.95 < share <= 1


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="no source tree")
def test_the_guide(capsys, tmp_path, monkeypatch):
    """Its blocks are one program."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/guide.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile("\n".join(blocks), "guide.md", "exec"), {"__name__": "guide"})
    said = capsys.readouterr().out
    assert float(re.search(r"([\d.]+)% of the held-out digits right", said)[1]) > 95


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="no source tree")
def test_links_in_the_documentation_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
