"""What a graph means: its calls, run one after another as eager ops.

So passes and plans make what is made ahead, and the tests know what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn._core import Tensor, empty, view_of
from fastnn.autograd import no_grad
from fastnn.plan.errors import PlanError
from fastnn.plan.graph import Buffer, Call, Graph, Value


def interpret(
    graph: Graph, arguments: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Runs a graph.

    Parameters:
        graph : Graph. Externals are read, and written, where they lie; folded buffers are
            filled first.
        arguments : the tensors that graph.arguments stand for, of the same layouts.

    Returns: the outputs; the gradients in the order of graph.gradients, None for none.

    Raises: PlanError where a result does not lie as its value says.
    """
    memory = run_prologue(graph)
    for v, tensor in zip(graph.arguments, arguments, strict=True):
        memory.put(v, tensor)
    for call in graph.calls:
        memory.run(call)
    with no_grad():
        outputs = [memory.tensor(v) for v in graph.outputs]
        gradients = [
            None if v is None else memory.tensor(v) for _, v in graph.gradients
        ]
    return outputs, gradients


def run_prologue(graph: Graph) -> Memory:
    """Fills the folded buffers from what they are made of."""
    memory = Memory([])
    for call in graph.prologue:
        results = memory.run(call)
        for v, result in zip(call.outputs, results, strict=True):
            if not call.is_view:
                memory.keep(v, result)
    return memory


class Memory:
    """The tensors that values stand for during a run."""

    def __init__(self, values: Sequence[tuple[Value, Tensor]]) -> None:
        self._tensors: dict[Value, Tensor] = {}
        self._whole: dict[Buffer, tuple[Tensor, int]] = {}  # a tensor of it, its offset
        self._extent: dict[Buffer, int] = {}
        for v, tensor in values:
            self.put(v, tensor)

    def put(self, v: Value, tensor: Tensor) -> None:
        """Says what tensor v is."""
        if tensor.shape != v.shape or tensor.dtype is not v.dtype:
            raise PlanError(
                f"plan: expected {v.dtype.name} {v.shape}, got {tensor.dtype.name} "
                f"{tensor.shape}"
            )
        self._tensors[v] = tensor
        self._whole.setdefault(v.buffer, (tensor, v.offset))

    def keep(self, v: Value, result: Tensor) -> None:
        """Writes a result of the prologue into the folded buffer's own tensor."""
        if v.buffer.tensor is None:
            raise PlanError("plan: expected a folded buffer with a tensor")
        with no_grad():
            v.buffer.tensor.copy_(result)
        self._tensors[v] = v.buffer.tensor

    def tensor(self, v: Value) -> Tensor:
        """The tensor that v stands for; a look at its buffer where no call made it."""
        found = self._tensors.get(v)
        if found is None:
            found = self._tensors[v] = self._look(v)
        return found

    def _look(self, v: Value) -> Tensor:
        b = v.buffer
        if b.tensor is not None:
            base, offset = b.tensor.detach(), b.tensor.storage_offset()
        elif b in self._whole:
            base, offset = self._whole[b]
        else:  # undefined until it is written
            base, offset = empty(v.shape, v.dtype), v.offset
            self._whole[b] = base, offset
        if (base.shape, base.stride(), offset) == (v.shape, v.strides, v.offset):
            return base
        start = base.storage_offset() + v.offset - offset
        try:
            return view_of(base, v.shape, v.strides, start)
        except ValueError as error:
            raise PlanError(
                "plan: expected a value within its buffer's memory"
            ) from error

    def results(self, call: Call) -> list[Tensor]:
        """What the call gives; its outputs get no tensors."""
        arguments = self._arguments(call)
        with no_grad():
            if call.into:
                out = self.tensor(call.outputs[0])
                return [call.op.into(out, *arguments)]
            result = call.op(*arguments)
        return list(result) if isinstance(result, tuple) else [result]

    def run(self, call: Call) -> list[Tensor]:
        """Runs the call; its outputs get their tensors."""
        results = self.results(call)
        if call.outputs:
            for v, result in zip(call.outputs, results, strict=True):
                self.put(v, result)
                if not (call.into or call.in_place) and result.stride() != v.strides:
                    raise PlanError(
                        f"{call.op.name}: expected strides {v.strides}, got "
                        f"{result.stride()}"
                    )
        return results

    def _arguments(self, call: Call) -> list[Any]:
        """Inputs and attributes as the op takes them."""
        flat = [
            None if v is None else self.tensor(v) if v.number is None else v.number
            for v in call.inputs
        ]
        arguments: list[Any] = []
        at = 0
        for name in call.op.inputs:
            n = call.count if name in call.op.lists else 1
            some = flat[at : at + n]
            at += n
            if name not in call.op.lists:
                arguments += some
            else:  # an absent list holds nothing but None
                arguments.append(None if some and some[0] is None else some)
        return arguments + list(call.attrs)
