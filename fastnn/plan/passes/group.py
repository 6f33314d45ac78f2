"""Elementwise calls over one shape stand together, and run as one pass over memory."""

from __future__ import annotations

from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.passes._uses import Aliases, checks_values, is_fresh, is_row_major

MOST = 16  # calls of a group
WINDOW = 48  # calls that one may move past: what is made early is kept for long
_REDUCTIONS = {"sum", "mean", "amax", "amin"}


def group(graph: Graph, inference: bool) -> None:
    """Groups of at least two calls: elementwise ones of one shape, and at the end
    reductions of their results over leading dimensions.

    A call moves up to a group that it shares an operand with, past calls that it does not
    depend on and that do not depend on it.
    """
    aliases = Aliases(graph)
    todo = list(graph.calls)
    done: list[Call] = []
    graph.groups = []
    while todo:
        call = todo.pop(0)
        if not _member(call):
            done.append(call)
            continue
        before, members, after = _gather(call, todo[:WINDOW], aliases)
        done += before
        if len(members) > 1:
            graph.groups.append((len(done), len(done) + len(members)))
            graph.notes.append(f"group: {', '.join(c.op.name for c in members)}")
        done += members
        todo = after + todo[WINDOW:]
    graph.calls = done


def _member(call: Call) -> bool:
    """Whether the call can run in blocks."""
    if "elementwise" not in call.op.flags or not is_fresh(call) or checks_values(call):
        return False
    y = call.outputs[0]
    if not (y.dtype.is_floating_point or y.dtype.name == "bool") or not is_row_major(y):
        return False
    if any(v is None or not _operand(v, y) for v in call.inputs):
        return False
    x = call.inputs[0]
    converts = x is None or x.dtype is not y.dtype or x.number is not None
    return not (call.op.name == "copy" and converts)


def _operand(v: Value, y: Value) -> bool:
    """Whether v, broadcast to y, repeats one element or a run of its memory: all of y, a
    row, a column, a channel."""
    if v.number is not None:
        return True
    shift = len(y.shape) - len(v.shape)
    period, ended = 1, False
    for d in reversed(range(len(y.shape))):
        size = y.shape[d]
        if size == 1:
            continue
        moves = d >= shift and v.shape[d - shift] != 1
        stride = v.strides[d - shift] if moves else 0
        if stride == 0:
            ended = period > 1
        elif ended or stride != period:
            return False
        else:
            period *= size
    return True


def _reduces(call: Call, members: list[Call]) -> int:
    """Over how many leading dimensions the call reduces a float member; 0 if it is not
    of that kind."""
    if call.op.name not in _REDUCTIONS or not is_fresh(call) or checks_values(call):
        return 0
    x, dims = call.inputs[0], call.attrs[0]
    if x is None or not x.dtype.is_floating_point or not x.shape:
        return 0
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    over = sorted(d % len(x.shape) for d in dims) or list(range(len(x.shape)))
    if over != list(range(len(over))) or not any(x is m.outputs[0] for m in members):
        return 0
    return len(over)


class _Past:
    """Calls that others may move past: views, and calls that write new memory alone."""

    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases
        self._made: set[Value] = set()
        self._writes: set[Buffer] = set()

    def add(self, call: Call) -> None:
        self._made.update(call.outputs)
        for b in call.writes:
            self._writes |= self._aliases.of(b)

    def holds(self, call: Call) -> bool:
        """Whether the call must stay behind them."""
        if any(v in self._made for v in call.inputs if v is not None):
            return True
        return not self._writes.isdisjoint(call.reads)


def _gather(
    first: Call, rest: list[Call], aliases: Aliases
) -> tuple[list[Call], list[Call], list[Call]]:
    """The group that begins with a call: views to come before it, members, the rest."""
    before: list[Call] = []
    members, after = [first], []
    tails: list[Call] = []
    leading = 0  # dimensions that the reductions at the end are over
    shape = first.outputs[0].shape
    near = _buffers(first)
    inside, past = _Past(aliases), _Past(aliases)
    inside.add(first)
    for call in rest:
        full = len(members) + len(tails) >= MOST
        if full or past.holds(call):
            after.append(call)
            past.add(call)
        elif call.is_view and not inside.holds(call):
            before.append(call)
        elif (
            _member(call)
            and call.outputs[0].shape == shape
            and (not after or near & _buffers(call))
        ):
            members.append(call)
            inside.add(call)
            near |= _buffers(call)
        elif (over := _reduces(call, members)) and leading in (0, over):
            leading = over
            tails.append(call)
            past.add(call)
        else:
            after.append(call)
            past.add(call)
    return before, members + tails, after


def _buffers(call: Call) -> set[Buffer]:
    """The memory that a call shares with others when they run together."""
    some = [v for v in call.inputs if v is not None and v.number is None]
    return {v.buffer for v in some + call.outputs}
