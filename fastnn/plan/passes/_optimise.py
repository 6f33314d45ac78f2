"""The passes in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastnn.plan.graph import Graph
from fastnn.plan.passes.copies import copies
from fastnn.plan.passes.dead import dead
from fastnn.plan.passes.epilogue import epilogue
from fastnn.plan.passes.fold import fold
from fastnn.plan.passes.group import group
from fastnn.plan.passes.merge import merge
from fastnn.plan.passes.norms import norms
from fastnn.plan.passes.pack import pack
from fastnn.plan.verify import verify

# A pass changes a graph in place; the flag says that it is for inference. Groups are
# places in the list of calls, so what makes them comes last.
PASSES: dict[str, Callable[[Graph, bool], None]] = {
    "fold": fold,
    "merge": merge,
    "copies": copies,
    "norms": norms,
    "epilogue": epilogue,
    "pack": pack,
    "dead": dead,
    "group": group,
}


def optimise(
    graph: Graph, *, inference: bool, passes: Iterable[str] | None = None
) -> Graph:
    """A copy of the graph after the passes, verified after each.

    Parameters:
        graph : Graph; stays as it is.
        inference : bool: the graph writes no external and has no gradients: what depends
            on parameters alone may be kept until they change.
        passes : names out of PASSES; None is all. They run in the order of PASSES.

    Raises: ValueError for a name that is no pass; PlanError where a graph breaks a rule.
    """
    wanted = set(PASSES if passes is None else passes)
    if wanted - set(PASSES):
        raise ValueError(
            f"optimise: expected passes out of {list(PASSES)}, got "
            f"{sorted(wanted - set(PASSES))}"
        )
    graph = verify(graph.copy())
    if "dead" in wanted:
        dead(graph, inference)  # what nobody reads stands in no one's way
        verify(graph)
    for name, run in PASSES.items():
        if name in wanted:
            run(graph, inference)
            verify(graph)
    return graph
