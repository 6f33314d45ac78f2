"""What makes a graph faster: one small file a pass."""

from __future__ import annotations

from typing import Any

from fastnn.plan.graph import Graph


def optimise(graph: Graph, *, inference: bool, passes: Any = None) -> Graph:
    """A copy of the graph."""
    return graph.copy()
