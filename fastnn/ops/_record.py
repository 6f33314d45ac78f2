"""Watching what runs: every op, every value that is read, every gradient that changes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fastnn import _core
from fastnn._core import Op, Tensor


class Recorder:
    """What the core tells of, while _core.set_recorder has one; here it does nothing.

    Calls come from every thread: a recorder of one thread asks is_mine().
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def is_mine(self) -> bool:
        """Whether this is the thread in which the recorder was made."""
        return threading.get_ident() == self._thread

    def before(self, op: Op, args: tuple[Any, ...]) -> None:
        """An op is about to run; a view never says so."""

    def after(self, op: Op, args: tuple[Any, ...], result: Any, into: bool) -> None:
        """An op has run; into: it wrote memory that was given (out=)."""

    def made(self, x: Tensor, filled: bool) -> None:
        """A tensor came from no op: empty memory, or with values of NumPy's or Python's."""

    def seen(self, x: Tensor) -> None:
        """x is another look at memory, outside the graph: detach() or data."""

    def read(self, x: Tensor, how: str) -> None:
        """The program is about to see a tensor's values."""

    def gradient_read(self, x: Tensor, gradient: Tensor | None) -> None:
        """x.grad was looked at."""

    def gradient_set(self, x: Tensor) -> None:
        """x.grad is another one."""

    def effect(self, what: str) -> None:
        """Something happened that no op did, in words."""

    def cut(self) -> None:
        """A range ended where a size did: another size may lead to other numbers."""

    def refuse(self, why: str, hint: str) -> None:
        """Something happens that a replay could not repeat."""

    def uses(self, thing: Any) -> None:
        """A module is called, an optimizer steps, or a group's number is read."""


active: Recorder | None = None  # the one that is told now
# Held while there is one: a second thread that came between would take its place.
watch_lock = threading.RLock()


class _Callback(Recorder):
    def __init__(self, callback: Callable[[Op, tuple[Any, ...], Any], None]) -> None:
        super().__init__()
        self._callback = callback

    def after(self, op: Op, args: tuple[Any, ...], result: Any, into: bool) -> None:
        if self.is_mine():
            self._callback(op, args, result)


@contextlib.contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Tells recorder of what runs; one at a time, another one comes back afterwards."""
    global active
    with watch_lock:
        before, active = active, recorder
        _core.set_recorder(recorder)
        try:
            yield
        finally:
            active = before
            _core.set_recorder(before)


def recording(
    callback: Callable[[Op, tuple[Any, ...], Any], None],
) -> contextlib.AbstractContextManager[None]:
    """Calls callback(op, arguments, result) after each op that this thread runs."""
    return watching(_Callback(callback))
