"""Ctrl-C: held back while a training step runs, so that no step is left half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """With it in force the first Ctrl-C waits for a safe place; the second passes through.

    Attributes:
        shielded : bool: whether Ctrl-C is counted rather than raised.
        count : int: how often it came.

    Only Python's own handler is replaced, and only in the main thread, which alone
    receives signals; who has another handler keeps it.
    """

    def __init__(self) -> None:
        self.shielded = True
        self.count = 0
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._received)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            try:
                signal.signal(signal.SIGINT, before)
            except KeyboardInterrupt:  # it came just now, when all was done
                self.count += 1

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1 or not self.shielded:
            signal.default_int_handler(number, frame)
