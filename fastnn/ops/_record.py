"""Watching the ops that run: a callback for a while, in this thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fastnn import _core
from fastnn._core import Op


@contextlib.contextmanager
def recording(callback: Callable[[Op, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Calls callback(op, arguments, result) after each op that this thread runs.

    One at a time: a recording within another takes its place, and ends it.
    """
    thread = threading.get_ident()

    def record(op: Op, args: tuple[Any, ...], result: Any) -> None:
        if threading.get_ident() == thread:
            callback(op, args, result)

    _core.set_recorder(record)
    try:
        yield
    finally:
        _core.set_recorder(None)
