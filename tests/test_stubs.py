"""The type stubs say what the op families declare."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import fastnn

TOOL = Path(__file__).resolve().parent.parent / "tools" / "stubs.py"


@pytest.mark.parametrize(
    ("stub", "writer"), [("_core.pyi", "core"), ("ops/__init__.pyi", "ops")]
)
def test_stubs_are_up_to_date(stub, writer):
    if not TOOL.exists():
        pytest.skip("tools/stubs.py comes with the source tree only")
    wanted = runpy.run_path(str(TOOL))[writer]()
    installed = Path(fastnn.__file__).parent / stub
    assert installed.read_text() == wanted, "python tools/stubs.py writes them anew"
