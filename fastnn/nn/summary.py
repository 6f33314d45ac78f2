"""summary: what a network is made of, and what one sample costs.

One sample is run, and every op that runs is put down to the innermost module whose
forward() it runs in. So work is counted where it is done, in functional code too.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fastnn
from fastnn._core import Op, Tensor
from fastnn.nn.module import Module
from fastnn.nn.utils.stateful import Apart
from fastnn.ops._record import recording

# Multiply-adds of a call, from its inputs and its output: each element of a product is a
# sum over the last dimension of the first input, each result of a convolution a sum over
# a kernel.
_PRODUCTS = ("matmul", "linear", "linear_act")
_CONVOLUTIONS = ("conv", "conv_transpose")
_RECURRENT = ("rnn", "gru", "lstm")


@dataclass
class Row:
    """One module of a Summary, without what the modules below it hold and do.

    Attributes:
        name : dotted name, "" for the network itself.
        type : name of its class.
        output_shape : of the last call, "N" standing for the batch; nested as the output
            is; None for a module that was not called.
        parameters : elements of its parameters, trainable or frozen; a parameter of several
            modules counts in the first.
        trainable : those of them that require a gradient.
        multiply_adds : of matrix products and convolutions, per sample.
        parameter_bytes, activation_bytes : memory of its parameters, and of the results
            that it makes per sample, views and changes in place left out.
    """

    name: str
    type: str
    output_shape: Any = None
    parameters: int = 0
    trainable: int = 0
    multiply_adds: int = 0
    parameter_bytes: int = 0
    activation_bytes: int = 0


@dataclass
class Summary:
    """The modules of a network, and what they come to; print() shows a table.

    Attributes:
        title : the network's class and its input.
        rows : a Row for every module that holds parameters, runs ops or is a leaf.

    Example:
        >>> from fastnn import nn
        >>> print(nn.Sequential(nn.Linear(4, 8), nn.ReLU()).summary((4,)))
        Sequential on float32 (N, 4)
        <BLANKLINE>
        name   type    output  parameters  multiply-adds  memory  activations
        -----  ------  ------  ----------  -------------  ------  -----------
        0      Linear  (N, 8)          40             32   160 B         32 B
        1      ReLU    (N, 8)           0              0     0 B         32 B
        -----  ------  ------  ----------  -------------  ------  -----------
        total                          40             32   160 B         64 B
        <BLANKLINE>
        40 trainable parameters, 0 frozen; multiply-adds and activations are per sample.
    """

    title: str
    rows: list[Row]

    @property
    def parameters(self) -> int:
        """Elements of all parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Elements of the parameters that require a gradient."""
        return sum(row.trainable for row in self.rows)

    @property
    def frozen(self) -> int:
        """Elements of the parameters that do not require a gradient."""
        return self.parameters - self.trainable

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample's matrix products."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def parameter_bytes(self) -> int:
        """Memory of all parameters."""
        return sum(row.parameter_bytes for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Memory of all that one sample's forward pass makes."""
        return sum(row.activation_bytes for row in self.rows)

    def __str__(self) -> str:
        columns = [
            ("name", "type", "output", "parameters", "multiply-adds", "memory",
             "activations"),
            *(_cells(row.name or "(itself)", row.type, _shape(row.output_shape), row)
              for row in self.rows),
            _cells("total", "", "", self),
        ]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in columns
        ]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join(
            [
                self.title,
                "",
                lines[0],
                rule,
                *lines[1:-1],
                rule,
                lines[-1],
                "",
                f"{self.trainable:,} trainable parameters, {self.frozen:,} frozen; "
                "multiply-adds and activations are per sample.",
            ]
        )

    __repr__ = __str__


def _cells(name: str, type_: str, shape: str, of: Row | Summary) -> tuple[str, ...]:
    return (
        name,
        type_,
        shape,
        f"{of.parameters:,}",
        f"{of.multiply_adds:,}",
        _bytes(of.parameter_bytes),
        _bytes(of.activation_bytes),
    )


def _bytes(n: int) -> str:
    """1536 as "1.5 kB"; a kB is 1000 bytes."""
    size, unit = float(n), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    digits = 0 if unit == "B" or size >= 99.95 else 1
    return f"{size:.{digits}f} {unit}"


def _shape(shape: Any) -> str:
    """A shape with N for the batch as text; "not called" for None."""
    if shape is None:
        return "not called"
    if isinstance(shape, list):
        return ", ".join(map(_shape, shape))
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _output_shape(output: Any) -> Any:
    """The shape of a Tensor with N for a batch of 1; a list of those of several."""
    if isinstance(output, Tensor):
        shape = tuple(output.shape)
        return ("N", *shape[1:]) if shape[:1] == (1,) else shape
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return [_output_shape(part) for part in output]
    return ()


def summarize(model: Module, input_shape: Any, dtype: Any) -> Summary:
    """Module.summary."""
    samples = _samples(model, input_shape, dtype)
    named = list(model.named_modules())
    rows = {id(m): Row(name, type(m).__name__) for name, m in named}
    seen: set[int] = set()
    for _, module in named:
        for _, p in module._own_parameters():
            if id(p) not in seen:
                seen.add(id(p))
                row = rows[id(module)]
                row.parameters += p.numel()
                row.trainable += p.numel() if p.requires_grad else 0
                row.parameter_bytes += p.nbytes
    worked = _run(model, samples, rows)
    inputs = " and ".join(f"{x.dtype.name} {_shape(_output_shape(x))}" for x in samples)
    return Summary(
        f"{type(model).__name__} on {inputs}",
        [
            rows[id(m)]
            for _, m in named
            if rows[id(m)].parameters or id(m) in worked or not list(m.children())
        ],
    )


def _samples(model: Module, input_shape: Any, dtype: Any) -> list[Tensor]:
    """Zeros of one sample each, for every input."""
    if isinstance(input_shape, int):
        input_shape = (input_shape,)
    try:
        several = [tuple(s) for s in input_shape if not isinstance(s, int)]
    except TypeError:
        several = []
    if not isinstance(input_shape, tuple | list) or (
        several and len(several) != len(input_shape)
    ):
        raise TypeError(
            "summary: expected one sample's shape, such as (784,), or a list of shapes, "
            f"got {input_shape!r}"
        )
    shapes = several or [tuple(input_shape)]
    if dtype is None:
        found = [p.dtype for p in model.parameters()]
        dtype = found[0] if found else fastnn.float32
    dtypes = list(dtype) if isinstance(dtype, tuple | list) else [dtype] * len(shapes)
    if len(dtypes) != len(shapes):
        raise ValueError(
            f"summary: expected {len(shapes)} dtypes, one for each input, got {len(dtypes)}"
        )
    return [fastnn.zeros((1, *s), dtype=d) for s, d in zip(shapes, dtypes, strict=True)]


def _run(model: Module, samples: list[Tensor], rows: dict[int, Row]) -> set[int]:
    """Runs the samples and fills in the rows; the ids of the modules that ran ops."""
    within: list[Module] = []
    worked: set[int] = set()

    def enter(module: Module, args: Any) -> None:
        within.append(module)

    def leave(module: Module, args: Any, output: Any) -> None:
        within.pop()
        rows[id(module)].output_shape = _output_shape(output)

    def count(op: Op, args: tuple[Any, ...], result: Any) -> None:
        if not within:
            return
        row = rows[id(within[-1])]
        if op.name in _PRODUCTS:
            row.multiply_adds += result.numel() * args[0].shape[-1]
        elif op.name in _CONVOLUTIONS:
            each = args[0] if op.name == "conv_transpose" else result
            row.multiply_adds += each.numel() * math.prod(args[1].shape[1:])
        elif op.name in _RECURRENT:
            weights = [args[1], args[2], *args[8:9]]  # and of an LSTM what projects
            steps = math.prod(args[0].shape[:2])
            row.multiply_adds += steps * sum(
                w.numel() for w in weights if isinstance(w, Tensor)
            )
        if not {"view", "inplace"} & set(op.flags):
            results = result if isinstance(result, tuple | list) else [result]
            row.activation_bytes += sum(
                y.nbytes for y in results if isinstance(y, Tensor)
            )
        worked.add(id(within[-1]))

    with contextlib.ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(module.register_forward_pre_hook(enter, prepend=True))
            stack.enter_context(module.register_forward_hook(leave, always_call=True))
        stack.enter_context(_undisturbed(model))
        stack.enter_context(recording(count))
        model(*samples)
    return worked


@contextlib.contextmanager
def _undisturbed(model: Module) -> Iterator[None]:
    """Evaluation mode without gradients; modes, the generator and what layers carry are put
    back."""
    modes = [(module, module.training) for module in model.modules()]
    state = fastnn.get_rng_state()
    try:
        with fastnn.no_grad(), Apart().within(model):
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        fastnn.set_rng_state(state)
