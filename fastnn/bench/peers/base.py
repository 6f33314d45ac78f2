"""What a contestant is."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from fastnn.bench.workloads.rows import Array, Chain, Kernel, Modular, Run, Workload


class Contestant:
    """One that can run workloads: a method named as each kind that it takes part in.

    Attributes:
        key, title : names it, for programs and for people.
        package : its distribution; with `module` to import.
        language : which forms of a row it runs; "" for none.

    A method returns a Run, or None where the contestant has no such thing. It raises where
    it fails: that is reported, not hidden.
    """

    key = ""
    title = ""
    package = ""
    module = ""
    language = ""

    def version(self) -> str | None:
        """The installed version; None where there is none."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None

    def prepare(self, threads: int) -> None:
        """Import what is needed, and keep it to so many threads."""
        self.lib: Any = importlib.import_module(self.module)

    def build(self, row: Workload) -> Run | None:
        """The row, ready to run; None where this contestant does not take part."""
        if self.key in row.without:
            return None
        if isinstance(row, (Kernel, Chain)) and self.language not in row.forms:
            return None
        method = getattr(self, row.kind, None)
        return None if method is None else method(row)


def losses(step: Any, count: int, to_float: Any = float) -> list[Array]:
    """What training comes to in its first steps."""
    import numpy as np

    return [np.array([to_float(step()) for _ in range(count)])]


def modular(lib: Any, row: Modular) -> Any:
    """The row's network, of a library that has PyTorch's names, with the row's numbers."""
    model = row.module(lib.nn)
    state = dict(model.state_dict())
    numbers = row.state({name: tuple(t.shape) for name, t in state.items()})
    state |= {name: lib.from_numpy(array) for name, array in numbers.items()}
    model.load_state_dict(state)
    return model
