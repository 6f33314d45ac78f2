"""A graph in words, and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fastnn
from fastnn._core import convolution_algorithm, dtype_number
from fastnn.ops._checks import REDUCTIONS
from fastnn.ops.convolution import ALGORITHMS
from fastnn.plan.cost import ACTIVATION_NAMES, CONVOLUTIONS, bytes_moved, flops
from fastnn.plan.graph import Buffer, Call, Graph, Value

_NAMES: dict[str, dict[int, Any]] = {  # attributes that are codes
    "activation": ACTIVATION_NAMES,
    "reduction": {code: name for name, code in REDUCTIONS.items()},
    "dtype": {
        dtype_number(d): d.name
        for d in (
            fastnn.bool,
            fastnn.uint8,
            fastnn.int32,
            fastnn.int64,
            fastnn.float32,
            fastnn.float64,
        )
    },
}
_UNITS = ("", "k", "M", "G", "T")


def explain(graph: Graph, facts: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The graph as text: a table of calls, memory by kind, and what the passes did.

    Parameters:
        graph : Graph.
        facts : for each of graph.calls what is known of it: "bytes" and "flops" in place
            of the estimates, "offset" of its first result in the arena; other keys are
            columns of their own.

    Returns: str of several lines.
    """
    extra = sorted({k for fact in facts or () for k in fact} - {"bytes", "flops"})
    rows = [[*_HEAD, *extra]]
    groups = _group_numbers(graph)
    total_bytes = total_flops = 0
    for i, call in enumerate(graph.calls):
        fact = facts[i] if facts else {}
        moved = int(fact.get("bytes", bytes_moved(call)))
        work = int(fact.get("flops", flops(call)))
        total_bytes += moved
        total_flops += work
        group = f"g{groups[i]}" if i in groups else ""
        row = [str(i), call.op.name, *_columns(call), group, call.where]
        cost = ["", ""] if call.is_view else [short(moved, "B"), short(work)]
        rows.append(row + cost + [str(fact.get(k, "")) for k in extra])
    lines = _table(rows)
    views = sum(c.is_view for c in graph.calls)
    lines.append(
        f"{counted(len(graph.calls) - views, 'call')} and {counted(views, 'view')}, "
        f"{counted(len(graph.groups), 'group')}; "
        f"{short(total_bytes, 'B')} moved at least, {short(total_flops)} flops"
    )
    if graph.prologue:
        lines += ["", "prologue, run when a source has changed:"]
        lines += _table(
            [[str(i), c.op.name, *_columns(c)] for i, c in enumerate(graph.prologue)]
        )
    lines += ["", "memory before sharing:"]
    lines += [
        f"  {kind:9} {n:4} {'buffer' if n == 1 else 'buffers':7} {short(size, 'B')}"
        for kind, n, size in _memory(graph)
    ]
    if graph.notes:
        often = Counter(graph.notes)
        lines += ["", "passes:"]
        lines += [
            f"  {s}" + (f" ({n} times)" if n > 1 else "") for s, n in often.items()
        ]
    return "\n".join(lines)


_HEAD = ["#", "op", "shapes", "dtype", "attributes", "group", "where", "bytes", "flops"]


def short(n: int, unit: str = "") -> str:
    """A count in three digits: 12.3 kB."""
    value, power = float(n), 0
    while value >= 999.5 and power < len(_UNITS) - 1:
        value, power = value / 1000, power + 1
    text = str(n) if power == 0 else f"{value:.3g}"
    return f"{text} {_UNITS[power]}{unit}".rstrip()


def counted(n: int, what: str) -> str:
    """How many of what: "1 call", "2 calls"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _shape(v: Value | None) -> str:
    if v is None:
        return "-"
    if v.number is not None:
        return f"{v.number!r}"
    return "(" + "x".join(map(str, v.shape)) + ")"


def _columns(call: Call) -> list[str]:
    """Shapes, dtype and attributes of a call."""
    given: list[str] = []
    seen: list[str] = []
    for name, v in call.spread():
        if name not in call.op.lists:
            given.append(_shape(v))
        elif name not in seen:
            seen.append(name)
            given.append(f"{call.count} {name}")
    while given and given[-1] == "-":
        given.pop()
    results = " ".join(_shape(v) for v in call.outputs)
    values = call.outputs or [v for v in call.inputs if v is not None]
    dtype = values[0].dtype.name if values else ""
    if call.op.name.endswith("_step"):  # the first input is its float64 numbers
        dtype = next(
            (v.dtype.name for n, v in call.spread() if n == "parameters" and v), ""
        )
    shapes = " ".join(given) + (f" -> {results}" if results else "")
    return [shapes + (" into" if call.into else ""), dtype, attributes(call)]


def attributes(call: Call) -> str:
    """The attributes by name: "dims=(0,) keepdim=False"; no dtype where it is kept."""
    words = []
    if call.op.name in CONVOLUTIONS:
        words.append(f"algorithm={_algorithm(call)}")
    for declared, given in zip(call.op.attributes, call.attrs, strict=True):
        name = declared.split(":")[0]
        if name == "algorithm" or (name == "dtype" and given < 0):
            continue
        text = _NAMES[name][given] if name in _NAMES else f"{given!r}"
        words.append(f"{name}={text}")
    return " ".join(words)


def _algorithm(call: Call) -> str:
    """Which algorithm a convolution takes."""
    a, b = call.inputs[:2]
    assert a is not None and b is not None
    chosen = convolution_algorithm(
        call.op, dtype_number(a.dtype), (a.shape, b.shape), tuple(call.attrs)
    )
    return next(name for name, code in ALGORITHMS.items() if code == chosen)


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip()
        for r in rows
    ]


def _group_numbers(graph: Graph) -> dict[int, int]:
    """Which group a call belongs to."""
    return {
        i: g for g, (first, stop) in enumerate(graph.groups) for i in range(first, stop)
    }


def _memory(graph: Graph) -> Iterator[tuple[str, int, int]]:
    """(kind, buffers, bytes); what escapes is counted apart from what is internal."""
    extent: dict[Buffer, int] = {}
    for v in _values(graph):
        if v.number is None:
            # several values look at a buffer: the largest is about the whole
            extent[v.buffer] = max(extent.get(v.buffer, 0), v.nbytes)
    kinds = ("argument", "external", "constant", "folded", "internal", "result")
    for kind in kinds:
        sizes = [
            size
            for b, size in extent.items()
            if kind == ("result" if b.kind == "internal" and b.escapes else b.kind)
        ]
        if sizes:
            yield kind, len(sizes), sum(sizes)


def _values(graph: Graph) -> Iterator[Value]:
    yield from graph.arguments
    for call in graph.prologue + graph.calls:
        yield from (v for v in call.inputs if v is not None)
        yield from call.outputs
    yield from graph.roots()


def to_dot(graph: Graph) -> str:
    """The graph as Graphviz text, for `dot -Tsvg`: calls are boxes, groups clusters,
    values edges; memory written in place is a dashed edge from its last writer."""
    lines = ["digraph plan {", "  node [shape=box, fontname=monospace];"]
    groups = _group_numbers(graph)
    sources: dict[Value, str] = {}
    last: dict[Buffer, str] = {}  # who wrote a buffer last
    edges: list[str] = []
    nodes: dict[int | None, list[str]] = {}

    def memory(v: Value) -> str:
        """The node of memory that no call made."""
        name = f"m{len(sources)}"
        label = f"{v.buffer.kind} {v.dtype.name} {_shape(v)}"
        if v.buffer.kind == "argument":
            label = f"argument {v.buffer.index} {v.dtype.name} {_shape(v)}"
        nodes.setdefault(None, []).append(
            f"{name} [label={quoted(label)}, shape=oval];"
        )
        sources[v] = name
        return name

    for prefix, calls in (("p", graph.prologue), ("c", graph.calls)):
        for i, call in enumerate(calls):
            name = f"{prefix}{i}"
            label = "\n".join(
                filter(None, [call.op.name, attributes(call), call.where])
            )
            style = ", style=dotted" if call.is_view else ""
            where = groups.get(i) if prefix == "c" else None
            nodes.setdefault(where, []).append(
                f"{name} [label={quoted(label)}{style}];"
            )
            for v in call.inputs:
                if v is None or v.number is not None:
                    continue
                source = sources.get(v) or memory(v)
                edges.append(f"{source} -> {name} [label={quoted(_shape(v))}];")
                writer = last.get(v.buffer)
                if writer not in (None, source, name) and not call.is_view:
                    edges.append(f"{writer} -> {name} [style=dashed];")
            for v in call.outputs:
                sources[v] = name
            for b in call.writes:
                last[b] = name
    roots = [(f"output {i}", v) for i, v in enumerate(graph.outputs)]
    roots += [
        (f"gradient {i}", v)
        for i, (_, v) in enumerate(graph.gradients)
        if v is not None
    ]
    for i, (label, v) in enumerate(roots):
        nodes.setdefault(None, []).append(f"r{i} [label={quoted(label)}, shape=oval];")
        edges.append(f"{sources.get(v) or memory(v)} -> r{i};")
    for number, some in nodes.items():
        if number is None:
            lines += [f"  {node}" for node in some]
        else:
            lines.append(
                f"  subgraph cluster_{number} {{ label={quoted(f'group {number}')};"
            )
            lines += [f"    {node}" for node in some] + ["  }"]
    return "\n".join(lines + [f"  {edge}" for edge in edges] + ["}"])


def quoted(text: str) -> str:
    """text as a string of the dot language."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
