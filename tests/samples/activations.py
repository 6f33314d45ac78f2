"""Rows of activations."""

from __future__ import annotations

from samples._rows import (
    BROADCAST_ERROR,
    ROWS,
    Hostile,
    apart,
    binary,
    integers,
    normal,
    unary,
)

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


unary("silu")
ROWS["silu"].samples.pop()  # extremes: x times a denormal sigmoid keeps few digits
ROWS["silu"].hostile = [
    Hostile(("x",), TypeError, "sigmoid"),
    Hostile((), TypeError, "silu"),
]
