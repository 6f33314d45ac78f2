"""Plan: one recording of a function, optimised, and its replays by argument shapes."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from fastnn import _core
from fastnn._core import Arena, Folded, Replay, Tensor, dtype_number
from fastnn.plan.arguments import LEAF, contiguous, match, rebuild
from fastnn.plan.capture import Recording
from fastnn.plan.explain import explain, to_dot
from fastnn.plan.graph import Buffer, Graph
from fastnn.plan.interpret import run_prologue
from fastnn.plan.lower import Lowered
from fastnn.plan.report import Memory, Profile, memory, profile, resized
from fastnn.plan.surroundings import Surroundings

REPLAYS = 32  # sizes that a plan stays bound to
ENOUGH = 3  # sizes at which recordings agree, for a plan to be trusted with all others


class Plan:
    """A compiled recording.

    Parameters:
        recording : Recording, finished.
        structure : what the function returned, with LEAF for tensors.
        sizes : the first dimension of each argument (None for those without dimensions).
        batch : numbers of the arguments whose first dimension follows the batch.
        optimise : callable(Graph, inference) -> Graph: the passes.
        arena : memory that replays share.
        reach : callable() -> Modules and Optimizers that the function names.

    Attributes:
        recorded : Graph as recorded.
        graph : Graph after the passes.
        inference : whether it changes nothing but what it returns.
    """

    def __init__(
        self,
        recording: Recording,
        structure: Any,
        sizes: tuple[int | None, ...],
        batch: frozenset[int],
        optimise: Callable[..., Graph],
        arena: Arena,
        reach: Callable[[], list[Any]],
    ) -> None:
        self.recording = recording
        self.recorded = recording.graph
        self.structure = structure
        self.sizes = sizes
        self.batch = batch
        self.agreed = {sizes}  # where a recording did the same
        self.refuted = False  # one did not
        self.grad_mode = recording.grad_mode
        self._arena = arena
        written = {b for call in self.recorded.calls for b in call.writes}
        self.inference = not self.recorded.gradients and not any(
            b.kind in ("external", "argument") for b in written
        )
        self.graph = optimise(self.recorded, inference=self.inference)
        self._folded = self._fold()
        self._lowered = Lowered(self.graph)
        self.surroundings = Surroundings(recording.used, self._outside(), reach)
        self.checked = _core.structure_version()
        self._replays: OrderedDict[tuple[int | None, ...], Replay] = OrderedDict()

    def _outside(self) -> list[Tensor]:
        """The tensors that were there before, each once."""
        found = dict(self.recording.outside)
        for buffer in self._buffers():
            if buffer.kind == "external" and buffer.tensor is not None:
                found[buffer.tensor] = None
        for leaf, _ in self.recorded.gradients:
            found[leaf] = None
        return list(found)

    def _buffers(self) -> Iterator[Buffer]:
        seen: set[Buffer] = set()
        for call in self.recorded.calls:
            for v in (*call.inputs, *call.outputs):
                if v is not None and v.buffer not in seen:
                    seen.add(v.buffer)
                    yield v.buffer

    def _fold(self) -> Folded | None:
        """What passes made ahead; it is made again when a source has changed."""
        graph = self.graph
        if not graph.prologue:
            return None
        sources = dict.fromkeys(
            v.buffer.tensor
            for call in graph.prologue
            for v in call.inputs
            if v is not None
            and v.buffer.tensor is not None
            and v.buffer.kind == "external"
        )
        return Folded(list(sources), functools.partial(run_prologue, graph))

    # ---- whether it may be used ----

    def takes(self, sizes: tuple[int | None, ...]) -> bool:
        """Whether it is for arguments of these first dimensions."""
        if sizes in self.agreed:
            return True
        return self.follows(sizes) and len(self.agreed) >= ENOUGH and not self.refuted

    def follows(self, sizes: tuple[int | None, ...]) -> bool:
        """Whether these are the plan's own sizes at another batch size."""
        if not self.batch:
            return False
        follow = {n for i, n in enumerate(sizes) if i in self.batch}
        return (
            len(follow) == 1
            and (follow.pop() or 0) > 1
            and all(
                n == m
                for i, (n, m) in enumerate(zip(sizes, self.sizes, strict=True))
                if i not in self.batch
            )
        )

    def is_valid(self) -> bool:
        """Whether all that it depends on is as it was."""
        from fastnn import is_grad_enabled

        if self.grad_mode != is_grad_enabled() or not self._guards_hold():
            return False
        if not _core.variables_hold(self.recording.variables):
            return False
        now = _core.structure_version()
        if self.checked != now:
            if not self.surroundings.unchanged():
                return False
            self.checked = now
            for replay in self._replays.values():
                replay.structure = now
        return True

    def _guards_hold(self) -> bool:
        for leaf, expected in self.recording.guards.items():
            g = _core.gradient_part(leaf)
            if g is None or expected is None:
                if g is not expected:
                    return False
            elif _core.layout(g) != _core.layout(expected):
                return False
        return True

    # ---- replays ----

    def replay(self, arguments: list[Any]) -> Replay:
        """The replay for arguments of these shapes, bound where it is not yet."""
        sizes = tuple(x.shape[0] if x.ndim else None for x in arguments)
        found = self._replays.get(sizes)
        if found is not None and not found.is_current:
            del self._replays[sizes]
            found = None
        if found is None:
            found = self._bind(arguments, sizes)
            self._replays[sizes] = found
            if len(self._replays) > REPLAYS:
                self._replays.popitem(last=False)
        else:
            self._replays.move_to_end(sizes)
        return found

    def _bind(self, arguments: list[Any], sizes: tuple[int | None, ...]) -> Replay:
        graph, number = self.graph, self._lowered.values
        written = list(dict.fromkeys(b for call in graph.calls for b in call.writes))
        batch = next((sizes[i] for i in sorted(self.batch)), 0) or 0
        plain = self.structure is LEAF
        return Replay(
            self._lowered.program,
            [(dtype_number(x.dtype), tuple(x.shape)) for x in arguments],
            batch,
            self._arena,
            [number[v] for v in graph.outputs],
            None if plain else self._rebuild,
            self._targets,
            [(p, None if v is None else number[v]) for p, v in graph.gradients],
            list(self.recording.guards.items()),
            [
                b.tensor
                for b in written
                if b.tensor is not None and b.kind == "external"
            ],
            tuple(b.index for b in written if b.kind == "argument"),
            self._folded,
            self.grad_mode,
            self.recording.variables,
        )

    def _rebuild(self, tensors: list[Tensor]) -> Any:
        return rebuild(self.structure, iter(tensors))

    def _targets(self, out: Any) -> list[Any]:
        return match(self.structure, out)

    # ---- what it does, and what that takes ----

    def _bound(self) -> tuple[Replay, Graph]:
        """The replay used last, and the graph at its sizes."""
        if not self._replays:
            raise RuntimeError(
                "plan: expected a plan that was called since it was made (hint: call the "
                "compiled function once more)"
            )
        replay = next(reversed(self._replays.values()))
        shapes = {v: replay.shape_of(n) for v, n in self._lowered.values.items()}
        return replay, resized(self.graph, shapes)

    def explain(self) -> str:
        """The calls in order with shapes, groups, bytes, flops and places in the arena; the
        memory; and what the passes did, as text."""
        replay, graph = self._bound()
        facts = []
        for call in self.graph.calls:
            own = call.outputs[0].buffer if call.outputs else None
            number = self._lowered.buffers.get(own, -1) if own is not None else -1
            place = replay.place_of(number) if number >= 0 else -1
            facts.append({"offset": place if place >= 0 else ""})
        return f"{explain(graph, facts)}\n\n{memory(self.graph, replay)}"

    def to_dot(self) -> str:
        """The graph as Graphviz text, for `dot -Tsvg`."""
        return to_dot(self.graph)

    @property
    def memory(self) -> Memory:
        """Exact bytes, at the sizes of the last call (Memory)."""
        return memory(self.graph, self._bound()[0])

    def profile(self, *args: Any, rounds: int = 100, machine: Any = None) -> Profile:
        """Time of each step, against the machine's limit.

        The plan runs 2 `rounds` times, with all that it does: a training step trains.

        Parameters:
            args : the tensors and arrays of a call, in order.
            rounds : int of at least 1.
            machine : fastnn.bench.Machine; None measures this one, which takes a second.

        Returns: Profile, whose str() is a table.
        """
        if rounds < 1:
            raise ValueError(f"profile: expected rounds of at least 1, got {rounds}")
        if machine is None:
            from fastnn.bench import measure

            machine = measure()
        arguments = [contiguous(x) for x in args]
        if len(arguments) != len(self.graph.arguments):
            raise ValueError(
                f"profile: expected {len(self.graph.arguments)} tensors or arrays, got "
                f"{len(arguments)}"
            )
        self.replay(arguments)
        replay, graph = self._bound()
        return profile(graph, replay, arguments, rounds, machine)
