"""What a plan takes: bytes, and time by step."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastnn._core import Replay
from fastnn.plan.cost import bytes_moved, flops
from fastnn.plan.explain import counted, short
from fastnn.plan.graph import Graph, Value


@dataclass(frozen=True)
class Memory:
    """Bytes of a plan at the sizes that it was bound to last.

    Attributes:
        arena : of all that lives within a call, workspace included; calls share it.
        workspace : of which the ops' own.
        unshared : what the arena would be if no two buffers shared memory.
        results : allocated for each call: outputs, and gradients where they are held.
        held : of parameters, states and constants, which were there before.
        folded : of what is kept between calls, packed weights for instance.
    """

    arena: int
    workspace: int
    unshared: int
    results: int
    held: int
    folded: int

    def __str__(self) -> str:
        return (
            f"arena {short(self.arena, 'B')} (workspace {short(self.workspace, 'B')}; "
            f"unshared {short(self.unshared, 'B')}), results {short(self.results, 'B')}, "
            f"held {short(self.held, 'B')}, folded {short(self.folded, 'B')}"
        )


def memory(graph: Graph, replay: Replay) -> Memory:
    """The bytes of a plan's graph as a replay runs it."""
    facts = replay.facts
    size = {"external": 0, "constant": 0, "folded": 0}
    for buffer in {v.buffer for v in graph.values() if v.number is None}:
        if buffer.tensor is not None:
            size[buffer.kind] += buffer.tensor.nbytes
    return Memory(
        arena=facts["arena_bytes"],
        workspace=facts["workspace_bytes"],
        unshared=facts["unshared_bytes"] + facts["workspace_bytes"],
        results=facts["fresh_bytes"],
        held=size["external"] + size["constant"],
        folded=size["folded"],
    )


class Step(NamedTuple):
    """A call, or a group of calls, as profile() measured it.

    Attributes:
        ops : names of its ops.
        where : line of the user's code.
        seconds : median.
        flops, bytes : arithmetic, and bytes read and written once each.
        of_floor : the roofline's time over the measured one, 1 at the machine's limit.
    """

    ops: tuple[str, ...]
    where: str
    seconds: float
    flops: int
    bytes: int
    of_floor: float


@dataclass(frozen=True)
class Profile:
    """Time by step. str() is a table.

    Attributes:
        steps : list of Step, in order.
        machine : fastnn.bench.Machine that they are held against.
    """

    steps: list[Step]
    machine: Any

    @property
    def seconds(self) -> float:
        """The sum of the steps' medians."""
        return sum(step.seconds for step in self.steps)

    def __str__(self) -> str:
        total = self.seconds or 1.0
        lines = [
            f"{'µs':>10} {'share':>6} {'of floor':>9} {'flops':>8} {'bytes':>9}  op"
        ]
        for s in self.steps:
            lines.append(
                f"{s.seconds * 1e6:10.2f} {s.seconds / total:6.1%} {s.of_floor:9.0%} "
                f"{short(s.flops):>8} {short(s.bytes, 'B'):>9}  {' + '.join(s.ops)} "
                f"({s.where})"
            )
        lines.append(
            f"{self.seconds * 1e6:10.2f} µs in {counted(len(self.steps), 'step')}; the floor "
            f"is what {counted(self.machine.threads, 'thread')} can reach here"
        )
        return "\n".join(lines)


def resized(graph: Graph, shapes: dict[Value, tuple[int, ...]]) -> Graph:
    """A copy of the graph whose values have these shapes."""
    copy = graph.copy()
    for old, new in zip(graph.values(), copy.values(), strict=True):
        new.shape = shapes.get(old, old.shape)
    return copy


def profile(
    graph: Graph, replay: Replay, arguments: list[Any], rounds: int, machine: Any
) -> Profile:
    """Runs a replay and times its steps; graph has the shapes that it runs at."""
    starts, times = replay.profile(*arguments, rounds=rounds)
    ends = [*starts[1:], len(graph.calls)]
    steps = []
    for k, (first, end) in enumerate(zip(starts, ends, strict=True)):
        calls = [c for c in graph.calls[first:end] if not c.is_view]
        seconds = statistics.median(t[k] for t in times) * 1e-9
        work = sum(map(flops, calls))
        moved = step_bytes(graph, calls)
        values = calls[0].outputs or [v for v in calls[0].inputs if v is not None]
        wide = values[0].dtype.name == "float64"
        floor = machine.floor(work, moved, "float64" if wide else "float32")
        steps.append(
            Step(
                tuple(c.op.name for c in calls),
                calls[0].where,
                seconds,
                work,
                moved,
                floor / seconds if seconds else 0.0,
            )
        )
    return Profile(steps, machine)


def step_bytes(graph: Graph, calls: list[Any]) -> int:
    """Bytes that calls in one step move: what they hand to each other alone counts not."""
    inside = {v.buffer for c in calls for v in c.outputs if v.buffer.kind == "internal"}
    seen = {
        v.buffer
        for c in graph.calls
        if c not in calls
        for v in (*c.inputs, *c.outputs)
        if v is not None
    } | {v.buffer for v in graph.roots()}
    private = inside - seen
    total = sum(map(bytes_moved, calls))
    for c in calls:
        for v in (*c.inputs, *c.outputs):
            if v is not None and v.buffer in private:
                total -= v.nbytes
    return max(total, 0)
