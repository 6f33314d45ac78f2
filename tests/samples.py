"""Samples, hostile inputs and tolerances of every op: the fourth stop of an op's journey.

Every generic test (reference, gradients, bits, strides, batches, out=, replay) runs over
all ops from these rows alone. Arrays are NumPy; float arrays are float64 here and narrowed
by the tests. Where an op's first input is generator state, `state()` stands for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from helpers import tensors

import fastnn
from fastnn.ops._registry import COMPOSITES, PUBLIC


@dataclass
class Sample:
    """One call: op(*args, **kwargs)."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True  # finite differences make sense here
    rows: tuple[int, ...] | None = None  # inputs that share a batch dimension 0
    note: str = ""


@dataclass
class Hostile:
    """A call that must raise `error`, its message matching `match`."""

    args: tuple[Any, ...]
    error: type[Exception] | tuple[type[Exception], ...]
    match: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """What the tests know of one op."""

    samples: list[Sample]
    big: list[Sample] = field(default_factory=list)  # enough work for several threads
    hostile: list[Hostile] = field(default_factory=list)
    rtol: dict[str, float] = field(
        default_factory=lambda: {"float32": 3e-6, "float64": 1e-13}
    )
    # |error| <= rtol * scale, scale = |result| unless the op is a sum of products
    scale: Callable[..., Any] | None = None
    float64: tuple[int, ...] = ()  # inputs that are float64 whatever the dtype


ROWS: dict[str, Row] = {}


def _random(*key: Any) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def normal(*shape: int, key: Any = 0) -> Any:
    """Normal numbers, the same on every run."""
    return _random("normal", shape, key).standard_normal(shape)


def positive(*shape: int, key: Any = 0) -> Any:
    """Numbers in [0.2, 3)."""
    return _random("positive", shape, key).uniform(0.2, 3, shape)


def integers(low: int, high: int, *shape: int, key: Any = 0) -> Any:
    """int64 in [low, high)."""
    return _random("integers", shape, key).integers(low, high, shape)


def apart(*shape: int, key: Any = 0) -> Any:
    """Numbers at least 0.05 from each other and from 0, in random order."""
    n = int(np.prod(shape))
    values = (np.arange(n) - n // 2 + 0.5) * 0.11
    return _random("apart", shape, key).permutation(values).reshape(shape)


def state() -> fastnn.Tensor:
    """Fresh generator state."""
    return fastnn.tensor([20240607, 3], dtype=fastnn.int64)


EXTREMES = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-40,
        -1e-40,
        1e-310,
        3e38,
        -3e38,
        88.0,
        -88.0,
        -103.5,
        700.0,
        -740.0,
        0.5,
        -0.5,
        1e-8,
    ]
)

BROADCAST_ERROR = Hostile((normal(2, 3), normal(4)), ValueError, "broadcast")


def unary(
    name: str,
    make: Callable[..., Any] = normal,
    *,
    error: Any = None,
    rtol: dict[str, float] | None = None,
) -> None:
    """A row for an elementwise op of one input."""
    row = Row(
        [
            Sample((make(7),), rows=(0,)),
            Sample((make(3, 5),), rows=(0,)),
            Sample((make(),)),
            Sample((make(0, 4),)),
            Sample((make(1, 1, 17),)),
            Sample((EXTREMES,), smooth=False, note="extremes"),
        ],
        big=[Sample((make(130, 257),), rows=(0,))],
        hostile=[Hostile(("x",), TypeError, name), Hostile((), TypeError, name)],
    )
    if error is not None:
        row.hostile.append(Hostile((integers(0, 2, 3).astype(bool),), error, name))
    if rtol:
        row.rtol = rtol
    ROWS[name] = row


def binary(
    name: str,
    a: Callable[..., Any] = normal,
    b: Callable[..., Any] = normal,
    *,
    smooth_extremes: bool = False,
    shapes: bool = True,
) -> None:
    """A row for an elementwise op of two inputs."""
    row = Row(
        [
            Sample((a(3, 5), b(3, 5, key=1)), rows=(0, 1)),
            Sample((a(3, 5), b(5, key=1)), rows=(0,)),
            Sample((a(4, 1), b(1, 3, key=1))),
            Sample((a(), b(2, 3, key=1))),
            Sample((a(0, 3), b(3, key=1))),
            Sample((a(2, 1, 3), b(2, 1, key=1))),
            Sample(
                (EXTREMES[:, None], EXTREMES[None, :]), smooth=False, note="extremes"
            ),
        ],
        big=[
            Sample((a(130, 257), b(257, key=1)), rows=(0,)),
            Sample((a(41, 3, 300), b(41, 1, 300, key=1)), rows=(0, 1)),
        ],
        hostile=[
            BROADCAST_ERROR,
            Hostile((normal(3),), TypeError, name),
            Hostile((normal(3), [1, 2, 3]), TypeError, name),
        ],
    )
    ROWS[name] = row


for _name in ("add", "sub", "mul", "maximum", "minimum"):
    binary(_name, apart, lambda *s, key=0: apart(*s, key=key) + 0.017)
binary("div", normal, positive)
binary("pow", positive, normal)
ROWS["pow"].samples += [
    Sample(
        (normal(9) * 2, np.array([2.0, 3.0, -1.0, 0.0, 1.0, -2.0, 4.0, 5.0, -3.0])),
        smooth=False,
        note="integral exponents",
    ),
]
ROWS["pow"].rtol = {"float32": 3e-6, "float64": 2e-13}
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    binary(
        _name,
        lambda *s, key=0: integers(-2, 3, *s, key=key).astype(float),
        lambda *s, key=0: integers(-2, 3, *s, key=key).astype(float),
    )
for _name in ("add", "sub", "mul", "maximum", "minimum", "eq", "lt", "ge"):
    ROWS[_name].samples += [
        Sample((integers(-9, 9, 4, 3), integers(-9, 9, 3, key=1)), smooth=False),
        Sample(
            (integers(0, 9, 4).astype(np.uint8), integers(-9, 9, 4).astype(np.int32)),
            smooth=False,
        ),
    ]
ROWS["pow"].samples.append(
    Sample((integers(-4, 5, 6), integers(0, 6, 6, key=1)), smooth=False)
)
ROWS["sub"].hostile.append(
    Hostile((np.ones(2, bool), np.ones(2, bool)), TypeError, "sub.*bool")
)

unary("neg", error=TypeError)
unary("abs", apart)
unary("sign", apart)
unary("sqrt", positive)
unary("exp")
unary("log", positive)
unary("erf")
unary("relu", apart)
unary("sigmoid")
unary("tanh")
unary("softplus", error=TypeError)
unary("gelu", error=TypeError, rtol={"float32": 3e-6, "float64": 1e-12})
unary("gelu_tanh", error=TypeError, rtol={"float32": 2e-5, "float64": 1e-11})
for _name in (
    "relu_backward",
    "sigmoid_backward",
    "tanh_backward",
    "gelu_backward",
    "gelu_tanh_backward",
):
    binary(_name, normal, apart)
    ROWS[_name].samples = ROWS[_name].samples[:2] + ROWS[_name].samples[4:5]
    ROWS[_name].rtol = {"float32": 5e-5, "float64": 1e-10}
    ROWS[_name].hostile = [
        BROADCAST_ERROR,
        Hostile((integers(0, 3, 3), normal(3)), TypeError, _name),
    ]

_mask = integers(0, 2, 4, 3).astype(bool)
ROWS["where"] = Row(
    [
        Sample((_mask, normal(4, 3), normal(4, 3, key=1)), rows=(0, 1, 2)),
        Sample((_mask, normal(3), normal(4, 1, key=1))),
        Sample((_mask[:, :1], normal(), normal(1, 5, key=1))),
        Sample((_mask, integers(0, 9, 4, 3), integers(0, 9, 3)), smooth=False),
        Sample((np.zeros((0, 2), bool), normal(0, 2), normal(2))),
    ],
    big=[
        Sample(
            (integers(0, 2, 130, 257).astype(bool), normal(130, 257), normal(257)),
            rows=(0, 1),
        )
    ],
    hostile=[
        Hostile((normal(3), normal(3), normal(3)), TypeError, "where.*bool"),
        Hostile((_mask, normal(5), normal(3)), ValueError, "broadcast"),
    ],
)

# ---- copies -----------------------------------------------------------------------------

ROWS["copy"] = Row(
    [
        Sample((normal(3, 4),), rows=(0,)),
        Sample((normal(),)),
        Sample((normal(0, 2),)),
        Sample((normal(3, 4) * 100, 3), smooth=False, note="to int64"),
        Sample((integers(-5, 300, 7), 1), smooth=False, note="to uint8"),
        Sample((integers(0, 2, 7), 0), smooth=False, note="to bool"),
    ],
    big=[Sample((normal(130, 257),), rows=(0,))],
    hostile=[
        Hostile((normal(3), 77), TypeError, "copy"),
        Hostile((normal(3), "float"), TypeError, "copy"),
    ],
)
_inplace_hostile = [
    Hostile((normal(3), normal(2, 3)), ValueError, "broadcast"),
    Hostile((1.0, normal(3)), TypeError, "_"),
]
for _name in ("copy_", "add_", "mul_"):
    ROWS[_name] = Row(
        [
            Sample((normal(3, 4), normal(3, 4, key=1)), rows=(0, 1)),
            Sample((normal(3, 4), normal(4, key=1)), rows=(0,)),
            Sample((normal(3, 4), normal(key=1)), rows=(0,)),
            Sample((normal(0, 4), normal(4, key=1))),
        ],
        big=[Sample((normal(130, 257), normal(130, 1, key=1)), rows=(0, 1))],
        hostile=list(_inplace_hostile),
    )
ROWS["add_"].hostile.append(
    Hostile((integers(0, 3, 3), normal(3)), TypeError, "add_.*int64")
)

# ---- views ------------------------------------------------------------------------------

ROWS["reshape"] = Row(
    [
        Sample((normal(4, 6), (2, 12))),
        Sample((normal(4, 6), (-1, 3))),
        Sample((normal(1), ())),
        Sample((normal(0, 3), (3, 0))),
        Sample((normal(6), (2, 1, 3))),
    ],
    hostile=[
        Hostile((normal(4, 6), (5, 5)), ValueError, "reshape.*24"),
        Hostile((normal(4, 6), (-1, -1)), ValueError, "-1"),
        Hostile((normal(4, 6), (-1, 0)), ValueError, "reshape"),
        Hostile((normal(4), (2**62, 2**62)), ValueError, "reshape"),
        Hostile((normal(4), (1,) * 9), ValueError, "at most 8"),
        Hostile((normal(4), (2.5, 2)), TypeError, "integer"),
    ],
)
ROWS["permute"] = Row(
    [
        Sample((normal(2, 3, 4), (2, 0, 1))),
        Sample((normal(2, 3), (-1, 0))),
        Sample((normal(), ())),
    ],
    hostile=[
        Hostile((normal(2, 3), (0, 0)), ValueError, "once"),
        Hostile((normal(2, 3), (0,)), ValueError, "2 dimensions"),
        Hostile((normal(2, 3), (0, 2)), IndexError, "permute"),
    ],
)
ROWS["expand"] = Row(
    [
        Sample((normal(3, 1), (3, 4))),
        Sample((normal(3), (2, -1))),
        Sample((normal(), (2, 2))),
        Sample((normal(1, 3), (0, 3))),
    ],
    hostile=[
        Hostile((normal(3), (4,)), ValueError, "expand"),
        Hostile((normal(2, 3), (3,)), ValueError, "expand"),
        Hostile((normal(3), (-1, 3)), ValueError, "expand"),
        Hostile((normal(1), (2**40, 2**40)), MemoryError, "expand"),
    ],
)
ROWS["slice"] = Row(
    [
        Sample((normal(7, 3), 0, 1, 6, 2)),
        Sample((normal(7, 3), 1, 0, 2, 1)),
        Sample((normal(7, 3), 0, 6, -1, -2)),
        Sample((normal(5), 0, 3, 3, 1)),
        Sample((normal(5), 0, 0, 99, 1)),
        Sample((normal(5), -1, 0, 4, 3)),
    ],
    hostile=[
        Hostile((normal(3), 0, 0, 2, 0), ValueError, "step"),
        Hostile((normal(3), 1, 0, 2, 1), IndexError, "slice"),
        Hostile((normal(), 0, 0, 1, 1), IndexError, "slice"),
        Hostile((normal(3), 0, 2**70, 1), TypeError, "start"),
    ],
)
ROWS["unslice"] = Row(
    [
        Sample((normal(3, 2), 7, 0, 1, 2)),
        Sample((normal(3, 2), 2, 1, 0, 1)),
        Sample((normal(3), 7, 0, 6, -2)),
        Sample((normal(0, 2), 4, 0, 0, 1)),
    ],
    big=[Sample((normal(300, 130), 601, 0, 1, 2))],
    hostile=[
        Hostile((normal(3), 4, 0, 2, 1), ValueError, "unslice"),
        Hostile((normal(3), 4, 0, -1, 1), ValueError, "unslice"),
        Hostile((normal(3), -4, 0, 0, 1), ValueError, "unslice"),
        Hostile((normal(3), 4, 0, 0, 2**62), ValueError, "unslice"),
    ],
)

# ---- reductions -------------------------------------------------------------------------

_reduction_hostile = [
    Hostile((normal(2, 3), (2,)), IndexError, "dimension from -2 to 1"),
    Hostile((normal(2, 3), (0, 0)), ValueError, "once"),
    Hostile((normal(2, 3), (0, -2)), ValueError, "once"),
    Hostile((normal(2, 3), ("x",)), TypeError, "dims"),
    Hostile((normal(3), (), True, 5), TypeError, "at most"),
]


def reduction(name: str, make: Callable[..., Any], *, smooth: bool = True) -> None:
    """A row for a reduction."""
    ROWS[name] = Row(
        [
            Sample((make(4, 5),), smooth=smooth),
            Sample((make(4, 5), (1,)), rows=(0,), smooth=smooth),
            Sample((make(4, 5), (0,), True), smooth=smooth),
            Sample((make(2, 3, 4), (0, 2)), smooth=smooth),
            Sample((make(2, 3, 4, 2), (-1, 1), True), rows=(0,), smooth=smooth),
            Sample((make(),), smooth=smooth),
            Sample((make(), (-1,)), smooth=smooth),
            Sample((make(1),), smooth=smooth),
            Sample((make(3, 1000), (1,)), rows=(0,), smooth=False),
            Sample((make(1000, 3), (0,)), smooth=False),
        ],
        big=[
            Sample((make(130, 700), (1,)), rows=(0,)),
            Sample((make(700, 130), (0,))),
            Sample((make(99, 1000),)),
            Sample((make(5, 70, 3, 90), (0, 2))),
        ],
        hostile=list(_reduction_hostile),
        rtol={"float32": 1e-6, "float64": 1e-14},
    )


def _absolute_sum(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.sum(
        np.abs(x), axis=tuple(dims) if np.ndim(x) and dims else None, keepdims=keepdim
    )


def _absolute_mean(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.mean(
        np.abs(x), axis=tuple(dims) if np.ndim(x) and dims else None, keepdims=keepdim
    )


reduction("sum", normal)
reduction("mean", normal)
ROWS["sum"].scale, ROWS["mean"].scale = _absolute_sum, _absolute_mean
ROWS["sum"].samples += [
    Sample((np.zeros((0, 3)),)),
    Sample((np.zeros((0, 3)), (0,))),
    Sample((np.zeros((0, 3)), (1,))),
    Sample((integers(-9, 9, 4, 5), (0,)), smooth=False),
    Sample((integers(0, 2, 300).astype(bool),), smooth=False),
    Sample((np.array([np.inf, 1.0, np.nan, -np.inf]),), smooth=False),
]
ROWS["mean"].hostile.append(Hostile((integers(0, 3, 3),), TypeError, "mean.*int64"))
for _name in ("amax", "amin"):
    reduction(_name, apart)
    ROWS[_name].samples += [
        Sample((integers(-9, 9, 4, 5), (0,)), smooth=False),
        Sample((EXTREMES,), smooth=False),
        Sample((np.array([-np.inf, -np.inf]),), smooth=False),
        Sample((np.zeros((0, 3)), (1,))),
    ]
    ROWS[_name].hostile.append(Hostile((normal(0, 3), (0,)), ValueError, "one element"))
for _name in ("argmax", "argmin"):
    ROWS[_name] = Row(
        [
            Sample((apart(4, 5),)),
            Sample((apart(4, 5), (1,)), rows=(0,)),
            Sample((apart(4, 5), (0,), True)),
            Sample((integers(-2, 3, 4, 50), (1,))),
            Sample((EXTREMES,)),
            Sample((np.ones(5),)),
            Sample((apart(2, 600), (1,))),
        ],
        big=[Sample((apart(50, 700), (1,)), rows=(0,))],
        hostile=[
            Hostile((normal(0, 3), (0,)), ValueError, "one element"),
            Hostile((normal(2, 3), (0, 1)), ValueError, "one dimension"),
            Hostile((normal(2, 3), (5,)), IndexError, "dimension"),
        ],
    )

# ---- products ---------------------------------------------------------------------------


def _matmul_scale(a: Any, b: Any) -> Any:
    return np.matmul(np.abs(a), np.abs(b))


def _linear_scale(x: Any, w: Any, b: Any = None, act: int = 0) -> Any:
    return np.abs(x) @ np.abs(w).T + (0 if b is None else np.abs(b))


_tight = {"float32": 5e-7, "float64": 1e-15}
ROWS["matmul"] = Row(
    [
        Sample((normal(3, 4), normal(4, 5))),
        Sample((normal(1, 1), normal(1, 1))),
        Sample((normal(2, 3, 4), normal(2, 4, 5)), rows=(0, 1)),
        Sample((normal(2, 3, 4), normal(4, 2)), rows=(0,)),
        Sample((normal(3, 4), normal(2, 4, 2))),
        Sample((normal(2, 1, 3, 4), normal(3, 4, 2))),
        Sample((normal(3, 0), normal(0, 2))),
        Sample((normal(0, 3), normal(3, 2))),
        Sample((normal(17, 300), normal(300, 33)), smooth=False),
        Sample((normal(1, 513), normal(513, 70)), smooth=False),
    ],
    big=[
        Sample((normal(130, 300), normal(300, 170)), rows=(0,)),
        Sample((normal(9, 40, 50), normal(9, 50, 60)), rows=(0, 1)),
        Sample((normal(70, 3, 40), normal(40, 50)), rows=(0,)),
    ],
    hostile=[
        Hostile((normal(3, 4), normal(3, 4)), ValueError, "matmul.*4 rows"),
        Hostile((normal(4), normal(4, 2)), ValueError, "two dimensions"),
        Hostile((integers(0, 3, 2, 2), integers(0, 3, 2, 2)), TypeError, "matmul"),
        Hostile((normal(2, 3, 4), normal(3, 4, 2)), ValueError, "batch"),
        Hostile(
            (normal(2, 2), normal(2, 2).astype(np.float32)), TypeError, "one dtype"
        ),
    ],
    rtol=_tight,
    scale=_matmul_scale,
)
_linear_hostile = [
    Hostile((normal(8, 5), normal(3, 4), None), ValueError, "linear.*4 features"),
    Hostile(
        (normal(8, 4), normal(4), None), ValueError, r"weight of shape \(out, in\)"
    ),
    Hostile(
        (normal(8, 4), normal(3, 4), normal(4)), ValueError, r"bias of shape \(3,\)"
    ),
    Hostile(
        (normal(8, 4).astype(np.float32), normal(3, 4), None), TypeError, "one dtype"
    ),
    Hostile((integers(0, 2, 8, 4), normal(3, 4), None), TypeError, "linear"),
    Hostile((normal(), normal(3, 4), None), ValueError, "4 features"),
]
ROWS["linear"] = Row(
    [
        Sample((normal(8, 4), normal(3, 4), normal(3)), rows=(0,)),
        Sample((normal(8, 4), normal(3, 4), None), rows=(0,)),
        Sample((normal(4), normal(3, 4), normal(3))),
        Sample((normal(2, 3, 4), normal(5, 4), normal(5)), rows=(0,)),
        Sample((normal(0, 4), normal(3, 4), normal(3))),
        Sample((normal(3, 0), normal(2, 0), normal(2))),
        Sample((normal(3, 4), normal(0, 4), normal(0))),
    ],
    big=[Sample((normal(130, 300), normal(170, 300), normal(170)), rows=(0,))],
    hostile=list(_linear_hostile),
    rtol=_tight,
    scale=_linear_scale,
)
ROWS["linear_act"] = Row(
    [
        Sample((normal(8, 4), normal(3, 4), normal(3), act), rows=(0,))
        for act in (1, 2, 3)
    ]
    + [Sample((normal(8, 4), normal(3, 4), normal(3), 4), rows=(0,), smooth=False)],
    big=[
        Sample((normal(130, 300), normal(170, 300), normal(170), act), rows=(0,))
        for act in (1, 2, 3, 4)
    ],
    hostile=[
        Hostile((*h.args, 1), h.error, h.match.replace("linear", "linear"))
        for h in _linear_hostile
    ]
    + [Hostile((normal(8, 4), normal(3, 4), None, 9), ValueError, "activation")],
    rtol={"float32": 5e-6, "float64": 1e-13},
    scale=lambda x, w, b, act: np.maximum(_linear_scale(x, w, b), 1),
)

# ---- joining and selecting --------------------------------------------------------------

ROWS["cat"] = Row(
    [
        Sample(([normal(2, 3), normal(4, 3)], 0)),
        Sample(([normal(2, 3), normal(2, 1)], -1)),
        Sample(([normal(3)],)),
        Sample(([normal(0, 2), normal(3, 2)], 0)),
        Sample(([normal(2, 2, key=k) for k in range(11)], 1)),
        Sample(
            ([integers(0, 9, 3), integers(0, 9, 2).astype(np.uint8)],), smooth=False
        ),
    ],
    big=[Sample(([normal(70, 300), normal(60, 300)], 0))],
    hostile=[
        Hostile(([],), ValueError, "at least one"),
        Hostile(([normal(2, 3), normal(2, 4)], 0), ValueError, "position 1"),
        Hostile(([normal(2), normal(2, 4)], 0), ValueError, "cat"),
        Hostile(([normal(2)], 1), IndexError, "cat"),
        Hostile(([normal()],), ValueError, "dimensions"),
        Hostile((normal(3),), TypeError, "sequence"),
        Hostile(([1, 2],), TypeError, "tensors"),
    ],
)
ROWS["index_select"] = Row(
    [
        Sample((normal(5, 3), np.array([4, 0, 0, -1]), 0)),
        Sample((normal(5, 3), np.array([2, 1]), 1), rows=(0,)),
        Sample((normal(5), np.zeros(0, np.int64), 0)),
        Sample((normal(2, 5, 3), np.array([1, 1], np.int32), -2), rows=(0,)),
    ],
    big=[Sample((normal(300, 130), integers(0, 300, 250), 0))],
    hostile=[
        Hostile((normal(5, 3), np.array([5]), 0), IndexError, "got 5 at position 0"),
        Hostile((normal(5, 3), np.array([0, -6]), 0), IndexError, "-6 at position 1"),
        Hostile((normal(5, 3), np.array([2**40]), 0), IndexError, "index"),
        Hostile(
            (normal(5, 3), np.array([[1]]), 0), ValueError, r"index of shape \(n,\)"
        ),
        Hostile((normal(5, 3), np.array([1.0]), 0), TypeError, "index"),
        Hostile((normal(5, 3), np.array([1]), 2), IndexError, "dimension"),
        Hostile((normal(), np.array([0]), 0), ValueError, "dimensions"),
    ],
)
ROWS["index_add"] = Row(
    [
        Sample((normal(4, 3), np.array([4, 0, 0, 2]), 0, 5)),
        Sample((normal(2, 4), np.array([1, 1, 0, 2]), 1, 3), rows=(0,)),
        Sample((integers(0, 9, 3), np.array([0, 0, 1]), 0, 2), smooth=False),
    ],
    big=[Sample((normal(250, 130), integers(0, 30, 250), 0, 30))],
    hostile=[
        Hostile((normal(4, 3), np.array([0, 1, 2, 9]), 0, 5), IndexError, "position 3"),
        Hostile((normal(4, 3), np.array([0]), 0, 5), ValueError, "one index for each"),
        Hostile((normal(4, 3), np.zeros(4, np.int64), 0, -1), ValueError, "index_add"),
    ],
    rtol={"float32": 2e-6, "float64": 1e-14},
    scale=lambda s, i, d, n: np.abs(s).sum(),
)

# ---- softmax and losses -----------------------------------------------------------------

for _name in ("softmax", "log_softmax"):
    ROWS[_name] = Row(
        [
            Sample((normal(3, 5),), rows=(0,)),
            Sample((normal(1),)),
            Sample((normal(0, 3),)),
            Sample((normal(2, 3, 17) * 30,), rows=(0,), smooth=False),
            Sample((normal(2, 1000) + 1e4,), rows=(0,), smooth=False),
        ],
        big=[Sample((normal(130, 300),), rows=(0,))],
        hostile=[
            Hostile((normal(),), ValueError, "dimensions"),
            Hostile((integers(0, 3, 2, 3),), TypeError, _name),
        ],
        rtol={"float32": 2e-6, "float64": 1e-14},
        scale=None if _name == "softmax" else lambda x: np.abs(x).max(initial=1) + 10,
    )
ROWS["softmax"].rtol = {"float32": 1e-5, "float64": 2e-14}
_labels = np.array([1, 0, 4, 2])
_x = normal(4, 5)
_w = positive(5)
ROWS["cross_entropy"] = Row(
    [
        Sample((_x, _labels, None)),
        Sample((_x, _labels, None, 0)),
        Sample((_x, _labels, None, 2)),
        Sample((_x, _labels, _w, 1)),
        Sample((_x, _labels, _w, 0, 4, 0.1)),
        Sample((_x, _labels, _w, 1, 0, 0.3)),
        Sample((_x, _labels.astype(np.uint8), None, 1, -100, 1.0)),
        Sample((normal(0, 5), np.zeros(0, np.int64), None, 2)),
        Sample((_x * 50 + 1000, _labels, None, 0), smooth=False),
    ],
    big=[
        Sample((normal(300, 200), integers(0, 200, 300), None)),
        Sample((normal(300, 200), integers(0, 200, 300), positive(200), 1, -1, 0.1)),
    ],
    hostile=[
        Hostile(
            (_x, np.array([1, 0, 5, 2]), None), IndexError, "0 to 4.*5 at position 2"
        ),
        Hostile((_x, np.array([1, 0, -1, 2]), None), IndexError, "-1 at position 2"),
        Hostile((_x, _labels[:3], None), ValueError, "target of shape"),
        Hostile((_x, normal(4), None), TypeError, "target"),
        Hostile((_x, _labels, _w[:3]), ValueError, "weight of shape"),
        Hostile((_x, _labels, None, 1, -100, 1.5), ValueError, "label_smoothing"),
        Hostile((_x, _labels, None, 7), ValueError, "reduction"),
        Hostile((integers(0, 3, 4, 5), _labels, None), TypeError, "cross_entropy"),
        Hostile((normal(4, 0), _labels, None), ValueError, "one class"),
    ],
    rtol={"float32": 3e-6, "float64": 1e-13},
    scale=lambda x, *_: np.abs(x).max(initial=1) + 10,
)


def _backward_args(
    x: Any, t: Any, w: Any, reduction: int, ignore: int, eps: float
) -> Any:
    from fastnn.ops._registry import REFERENCES

    loss, lse, norm = REFERENCES["cross_entropy"](x, t, w, reduction, ignore, eps)
    gy = normal(*np.shape(loss), key=5)
    return gy, x, t, w, lse, np.array(norm), reduction, ignore, eps


ROWS["cross_entropy_backward"] = Row(
    [
        Sample(_backward_args(_x, _labels, None, 1, -100, 0.0)),
        Sample(_backward_args(_x, _labels, _w, 0, 4, 0.1)),
        Sample(_backward_args(_x, _labels, None, 2, 1, 0.2)),
        Sample(_backward_args(_x * 30 + 500, _labels, None, 1, -100, 0.0)),
    ],
    big=[
        Sample(
            _backward_args(
                normal(300, 200), integers(0, 200, 300), positive(200), 1, -1, 0.1
            )
        )
    ],
    hostile=[
        Hostile(
            (normal(3), _x, _labels, None, normal(4), np.array(1.0)),
            ValueError,
            "gy, lse and norm",
        ),
        Hostile(
            (np.array(1.0), _x, np.array([9, 0, 0, 0]), None, normal(4), np.array(1.0)),
            IndexError,
            "position 0",
        ),
    ],
    rtol={"float32": 1e-5, "float64": 1e-13},
    scale=lambda gy, *_: np.abs(gy).max(initial=1),
    float64=(4, 5),
)

# ---- random and optimizers --------------------------------------------------------------

_state_hostile = Hostile((fastnn.zeros(2), (3,)), ValueError, "generator state")
ROWS["uniform"] = Row(
    [
        Sample((state, (3, 5))),
        Sample((state, ())),
        Sample((state, (0, 2))),
        Sample((state, (7,), -2.0, 3.0, 5)),
    ],
    big=[Sample((state, (130, 300))), Sample((state, (40001,), 0.0, 1.0, 5))],
    hostile=[
        _state_hostile,
        Hostile((state, (-1,)), ValueError, "at least 0"),
        Hostile((state, (3,), 0.0, 1.0, 3), TypeError, "uniform"),
        Hostile((state, (2**40, 2**40)), MemoryError, "uniform"),
    ],
)
ROWS["normal"] = Row(
    [
        Sample((state, (3, 5))),
        Sample((state, (1,))),
        Sample((state, (0,))),
        Sample((state, (7,), -2.0, 3.0, 5)),
    ],
    big=[Sample((state, (130, 300))), Sample((state, (40001,), 0.0, 1.0, 5))],
    hostile=[_state_hostile, Hostile((state, (-1,)), ValueError, "at least 0")],
)
ROWS["permutation"] = Row(
    [Sample((state, 10)), Sample((state, 0)), Sample((state, 1))],
    big=[Sample((state, 50000))],
    hostile=[
        Hostile((state, -1), ValueError, "at least 0"),
        Hostile((fastnn.zeros(2), 4), ValueError, "generator state"),
    ],
)
ROWS["dropout"] = Row(
    [
        Sample((state, normal(3, 5), 0.5)),
        Sample((state, normal(70), 0.1)),
        Sample((state, normal(4), 1.0)),
        Sample((state, normal(4), 0.0)),
        Sample((state, normal(0, 4), 0.3)),
    ],
    big=[Sample((state, normal(130, 301), 0.3))],
    hostile=[
        Hostile((state, normal(3), 1.5), ValueError, "p from 0 to 1"),
        Hostile((state, normal(3), float("nan")), ValueError, "p from 0 to 1"),
        Hostile((state, integers(0, 3, 3), 0.5), TypeError, "dropout"),
    ],
)
_hyper = np.array([0.1, 0.9, 0.05, 0.01])
ROWS["sgd_step"] = Row(
    [
        Sample((normal(3, 5), normal(3, 5, key=1), normal(3, 5, key=2), _hyper, *flags))
        for flags in ((False, False, False), (True, False, False), (False, True, True))
    ]
    + [Sample((normal(7), normal(7, key=1), None, _hyper))],
    big=[
        Sample(
            (normal(130, 300), normal(130, 300, key=1), normal(130, 300, key=2), _hyper)
        )
    ],
    hostile=[
        Hostile((normal(3), normal(4), None, _hyper), ValueError, "gradient"),
        Hostile((normal(3), normal(3), normal(2), _hyper), ValueError, "buffer"),
        Hostile((normal(3), normal(3), None, _hyper[:3]), ValueError, "hyper"),
        Hostile((integers(0, 3, 3), normal(3), None, _hyper), TypeError, "parameter"),
    ],
    float64=(3,),
)

# ---- composites -------------------------------------------------------------------------

unary("silu")
ROWS["silu"].samples.pop()  # extremes: x times a denormal sigmoid keeps few digits
ROWS["silu"].hostile = [
    Hostile(("x",), TypeError, "sigmoid"),
    Hostile((), TypeError, "silu"),
]

ROWS["stack"] = Row(
    [
        Sample(([normal(2, 3), normal(2, 3, key=1)],)),
        Sample(([normal(2, 3), normal(2, 3, key=1)], -1)),
        Sample(([normal()], 0)),
    ],
    hostile=[
        Hostile(([normal(2), normal(3)],), ValueError, "stack.*equal shapes"),
        Hostile(([],), ValueError, "at least one"),
    ],
)
ROWS["mse_loss"] = Row(
    [
        Sample((normal(3, 4), normal(3, 4, key=1))),
        Sample((normal(3, 4), normal(3, 4, key=1)), {"reduction": "sum"}),
        Sample((normal(3, 4), normal(3, 4, key=1)), {"reduction": "none"}, rows=(0, 1)),
    ],
    big=[Sample((normal(130, 300), normal(130, 300, key=1)))],
    hostile=[
        Hostile((normal(3, 1), normal(3)), ValueError, "mse_loss.*equal shapes"),
        Hostile((normal(3), normal(3)), ValueError, "reduction", {"reduction": "max"}),
    ],
    rtol={"float32": 3e-6, "float64": 1e-14},
)


def callable_for(name: str) -> Callable[..., Any]:
    """The op of that name, or the composite."""
    return PUBLIC[name] if name in COMPOSITES else fastnn._core.op_named(name)


def arguments(name: str, sample: Sample, dtype: Any, **how: Any) -> tuple[Any, ...]:
    """The sample's arguments as tensors, float ones in dtype (but see Row.float64)."""
    fixed = ROWS[name].float64
    return tuple(
        tensors(
            a, fastnn.float64 if i in fixed else dtype, **({} if i in fixed else how)
        )
        for i, a in enumerate(sample.args)
    )
