"""Reading ahead on one background thread.

A thread, not processes: gathering rows is native code that runs without the GIL, and
tensors need not be sent anywhere. The thread does only what it is asked to, so it never
waits with a batch in its hands, and never holds the iterator that asks: dropping the
iterator ends it.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import fastnn

_threads: weakref.WeakSet[Worker] = weakref.WeakSet()


class Worker:
    """A thread that calls read(task) for every task, in order.

    Parameters: read : callable, called on the thread.
    """

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.tasks: SimpleQueue[Any] = SimpleQueue()
        self.results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.stopped = False
        self.process = os.getpid()
        self.thread = threading.Thread(
            target=_work,
            args=(self, read, fastnn.is_grad_enabled()),
            name="fastnn.data",
            daemon=True,
        )
        self.thread.start()
        _threads.add(self)

    def result(self) -> Any:
        """What the oldest task gave, once it is there, or raises what it raised."""
        if os.getpid() != self.process:
            raise RuntimeError(
                "DataLoader: this iterator reads ahead on a thread, and threads do not "
                "survive fork() (hint: call iter(loader) in the child)"
            )
        value, error = self.results.get()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return value

    def stop(self) -> None:
        """End the thread after the task it is at; does not wait for it."""
        self.stopped = True
        self.tasks.put(None)


def _work(worker: Worker, read: Callable[[Any], Any], grad: bool) -> None:
    with fastnn.set_grad_enabled(grad):
        while True:
            task = worker.tasks.get()
            if worker.stopped:
                return
            try:
                worker.results.put((read(task), None))
            except BaseException as error:
                worker.results.put((None, error))


@atexit.register
def _stop_all() -> None:
    """A thread must not run on in an interpreter that is being taken apart."""
    running = [w for w in _threads if w.process == os.getpid()]
    for worker in running:
        worker.stop()
    for worker in running:
        worker.thread.join(timeout=1)


def read_ahead(
    read: Callable[[Any], Any], tasks: Iterator[Any], ahead: int
) -> Iterator[Any]:
    """read(task) for each task, `ahead` of them made in advance; tasks are taken here."""
    worker = Worker(read)
    waiting = 0
    try:
        for task in tasks:
            worker.tasks.put(task)
            waiting += 1
            if waiting > ahead:
                yield worker.result()
                waiting -= 1
        while waiting:
            yield worker.result()
            waiting -= 1
    finally:
        worker.stop()
