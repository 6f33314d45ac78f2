"""Matrix products: matmul and linear, on the packed GEMM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._core import install, tensor_from
from fastnn.ops._checks import class_of
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.views import reshape, transpose, unsqueeze

PANEL = 64  # outputs of a panel of weights, see csrc/gemm/gemm.h
_matmul, _linear, _linear_act = op("matmul"), op("linear"), op("linear_act")
_reshape, _sum = op("reshape"), op("sum")
_BACKWARD = {
    "relu": op("relu_backward"),
    "sigmoid": op("sigmoid_backward"),
    "tanh": op("tanh_backward"),
}
ACTIVATIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3, "gelu": 4}  # fnn_activation
_NAMES = {code: name for name, code in ACTIVATIONS.items()}


@public(method=True)
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix product, y_ij = sum_k input_ik other_kj, over leading batch dimensions.

    Parameters: input : (..., m, k) or (k,). other : (..., k, n) or (k,), same dtype, any
        strides; batch dimensions broadcast.
    Returns: (..., m, n), without the dimensions of a vector; fresh, or out.
    Gradient: gy other^T; input^T gy.
    Raises: ValueError for shapes that do not fit; TypeError for integers or mixed dtypes.
    """
    a, b = input, other
    for name, x in (("input", a), ("other", b)):
        if not isinstance(x, Tensor):
            x = tensor_from(x, None, False)
        if x.ndim == 0:
            raise ValueError(f"matmul: expected {name} with dimensions, got shape ()")
        if name == "input":
            a = x
        else:
            b = x
    if a.ndim > 1 and b.ndim > 1:
        return _matmul(a, b) if out is None else _matmul.into(out, a, b)
    vector_a, vector_b = a.ndim == 1, b.ndim == 1
    y = _matmul(unsqueeze(a, 0) if vector_a else a, unsqueeze(b, 1) if vector_b else b)
    shape = list(y.shape)
    if vector_b:
        del shape[-1]
    if vector_a:
        del shape[-1 if vector_b else -2]
    y = _reshape(y, shape)
    if out is None:
        return y
    if out.shape != y.shape or out.dtype is not y.dtype:
        raise ValueError(
            f"matmul: expected out of {y.dtype.name} {y.shape}, got {out.dtype.name} "
            f"{out.shape}"
        )
    return op("copy_")(out, y)


@public()
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices. As matmul."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise ValueError(
            f"mm: expected matrices, got shapes {input.shape} and {mat2.shape}"
        )
    return _matmul(input, mat2)


@public(method="mm", function=False)
def _mm_method(self: Tensor, mat2: Tensor) -> Tensor:
    """As fastnn.mm."""
    return mm(self, mat2)


def _shaped(name: str, *operands: tuple[str, Tensor, int]) -> None:
    """ValueError unless every operand has its number of dimensions."""
    for said, x, ndim in operands:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected {said} as a tensor, got {class_of(x)}")
        if x.ndim != ndim:
            raise ValueError(
                f"{name}: expected {said} of {ndim} dimension{'s' * (ndim > 1)}, got "
                f"shape {x.shape}"
            )


@public(method=True, composite=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Matrix (m, k) times vector (k,), giving (m,). As matmul."""
    _shaped("mv", ("input", input, 2), ("vec", vec, 1))
    return matmul(input, vec)


@public(method=True, composite=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of products of two vectors (n,), a tensor (). As matmul."""
    _shaped("dot", ("input", input, 1), ("tensor", tensor, 1))
    return matmul(input, tensor)


@public(method=True, composite=True)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """y_ij = input_i vec2_j of two vectors. Gradient: gy vec2; input gy."""
    _shaped("outer", ("input", input, 1), ("vec2", vec2, 1))
    return op("mul")(unsqueeze(input, 1), vec2)


@public(method=True, composite=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two batches of matrices, (b, m, k) and (b, k, n). As matmul."""
    _shaped("bmm", ("input", input, 3), ("mat2", mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ValueError(
            f"bmm: expected equal batches, got shapes {input.shape} and {mat2.shape}"
        )
    return _matmul(input, mat2)


@public(method=True, composite=True)
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta input + alpha mat1 mat2; input broadcasts. As matmul and add.

    Parameters: input : broadcasts to (m, n); not read where beta is 0. mat1 : (m, k).
        mat2 : (k, n).
    """
    _shaped("addmm", ("mat1", mat1, 2), ("mat2", mat2, 2))
    y = _matmul(mat1, mat2)
    y = y if alpha == 1 else op("mul")(y, alpha)
    if beta == 0:
        return y
    x = op("expand")(input, y.shape)
    return op("add")(x if beta == 1 else op("mul")(x, beta), y)


@public(method=True, composite=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """input on and below a diagonal of its last two dimensions, 0 above it; fresh.

    Parameters: diagonal : 0 the main one, above 0 higher, below 0 lower.
    Gradient: gy there, 0 elsewhere. Raises: ValueError below two dimensions.
    """
    return _triangle("tril", input, diagonal)


@public(method=True, composite=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """input on and above a diagonal of its last two dimensions, 0 below it. As tril."""
    return _triangle("triu", input, diagonal)


def _triangle(name: str, x: Tensor, diagonal: int) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"{name}: expected at least two dimensions, got {x.shape}")
    ones = np.ones(x.shape[-2:], bool)
    kept = np.tril(ones, diagonal) if name == "tril" else np.triu(ones, diagonal)
    return op("where")(tensor_from(kept, None, False), x, False)


@public()
def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    """y = act(input weight^T + bias), bias and activation in the GEMM's last pass.

    Parameters: input : (..., in). weight : (out, in). bias : (out,) or None, same dtype.
        activation : None, "relu", "sigmoid", "tanh" or "gelu".
    Returns: (..., out); fresh.
    Gradient: with gz = gy act'(z): gz weight; gz^T input; sum of gz over rows.
    Raises: ValueError for shapes that do not fit; TypeError for mixed dtypes.
    Example:
        >>> fastnn.nn.functional.linear(fastnn.ones(1, 2), fastnn.ones(3, 2))
        tensor([[2., 2., 2.]])
    """
    if bias is not None and not bias.is_contiguous():
        bias = bias.contiguous()
    if activation is None:
        return _linear(input, weight, bias)
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"linear: expected activation out of {list(ACTIVATIONS)}, got {activation!r}"
        )
    if activation == "gelu" and (
        input.requires_grad
        or weight.requires_grad
        or (bias is not None and bias.requires_grad)
    ):
        return op("gelu")(_linear(input, weight, bias))  # its gradient needs z, not y
    return _linear_act(input, weight, bias, None, ACTIVATIONS[activation])


@gradient("matmul", saves={"a": "b", "b": "a"})
def _(node: Node, gy: Tensor) -> Gradients:
    a, b = node.saved
    ga = _matmul(gy, transpose(b, -2, -1)) if node.needs(0) else None
    gb = None
    if node.needs(1):
        if len(node.shape(1)) == 2 and a.ndim > 2:  # one GEMM sums over the batch
            a, gy = _rows(a), _rows(gy)
        gb = _matmul(transpose(a, -2, -1), gy)
    return ga, gb


def _rows(x: Tensor) -> Tensor:
    """x as a matrix: all dimensions but the last made one, also where there is nothing."""
    return reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _linear_gradient(node: Node, x: Tensor, weight: Tensor, gz: Tensor) -> Gradients:
    gx = gw = gb = None
    if node.needs(0):
        gx = _matmul(gz, weight) if gz.ndim > 1 else matmul(gz, weight)
    rows = gz if gz.ndim == 2 else _rows(gz)
    if node.needs(1):
        gw = _matmul(transpose(rows, 0, 1), x if x.ndim == 2 else _rows(x))
    if node.needs(2):
        gb = _sum(rows, 0)
    return gx, gw, gb


@gradient("linear", saves={"x": "weight", "weight": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, weight = node.saved
    return _linear_gradient(node, x, weight, gy)


@gradient(
    "linear_act",
    saves={"x": "weight", "weight": "x", "y": "x weight bias residual"},
)
def _(node: Node, gy: Tensor) -> Gradients:
    x, weight, y = node.saved
    name = _NAMES[node.attrs[0]]
    if name == "gelu":
        raise RuntimeError(
            "linear: expected gelu as an op of its own where gradients flow"
        )
    gz = gy if name is None else _BACKWARD[name](gy, y)
    return (*_linear_gradient(node, x, weight, gz), gz)


no_gradient("panels", "linear_panels")  # of inference
install("matmul", matmul)


@reference("matmul")
def _(a: Any, b: Any) -> Any:
    return np.matmul(a, b)


@reference("linear")
def _(x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T + (0 if bias is None else bias)


@reference("linear_act")
def _(x: Any, weight: Any, bias: Any, residual: Any, activation: int) -> Any:
    from fastnn.ops._registry import REFERENCES

    z = x @ weight.T + (0 if bias is None else bias)
    z = z + (0 if residual is None else residual)
    name = _NAMES[activation]
    return z if name is None else REFERENCES[name](z)


@reference("panels")
def _(weight: Any) -> Any:
    n, k = weight.shape
    padded = np.concatenate([weight, np.zeros((-n % PANEL, k), weight.dtype)])
    return padded.reshape(-(-n // PANEL), PANEL, k).swapaxes(1, 2)


@reference("linear_panels")
def _(x: Any, weight: Any, bias: Any, residual: Any, activation: int, out: int) -> Any:
    from fastnn.ops._registry import REFERENCES

    rows = weight.swapaxes(1, 2).reshape(len(weight) * PANEL, weight.shape[1])[:out]
    return REFERENCES["linear_act"](x, rows, bias, residual, activation)


reference("mv")(lambda a, b: a @ b)
reference("dot")(lambda a, b: a @ b)
reference("outer")(lambda a, b: np.outer(a, b))
reference("bmm")(lambda a, b: a @ b)
reference("tril")(lambda x, diagonal=0: np.tril(x, diagonal))
reference("triu")(lambda x, diagonal=0: np.triu(x, diagonal))


@reference("addmm")
def _(x: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return (beta * x if beta else 0) + alpha * (a @ b)
