"""Lets the tests meet the installed fastnn, and leaves slow tests out.

`python -m pytest` puts the working directory on sys.path. In the root of the repository
that is the source tree, whose fastnn/ would hide the installed package, though it holds
no compiled extension and so cannot be imported. Unless the tree was built in place
(then it is what one means to test), take it off the path before anything imports
fastnn.

For the same reason a test that starts another Python does so from another directory.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent


def built_in_place() -> bool:
    """Whether the tree holds an extension that this Python can load."""
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    return any((ROOT / "fastnn" / f"_core{suffix}").exists() for suffix in suffixes)


if built_in_place():
    # Also for `pytest` without `python -m`, and for the Pythons that tests start.
    sys.path.insert(0, str(ROOT))
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
else:
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out tests marked slow, unless -m speaks of them."""
    if "slow" in config.getoption("markexpr").replace("not slow", ""):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_report_header() -> str:
    """Say which fastnn is tested."""
    import fastnn

    return f"fastnn: {Path(fastnn.__file__).parent}"


@pytest.fixture
def as_before() -> Iterator[None]:
    """Puts kernels and number of threads back after a test that sets them."""
    import fastnn

    isa, threads = fastnn.isa(), fastnn.get_num_threads()
    yield
    fastnn._core.set_isa(isa)
    fastnn.set_num_threads(threads)
