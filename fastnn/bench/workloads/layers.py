"""Layers of convolutional networks and their normalisation: forward, and with gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastnn.bench.modules import windows
from fastnn.bench.workloads.rows import Form, Goal, Kernel, Layer, Workload

Shape = tuple[int, ...]
NORM, NORM_BACK = (
    5,
    7,
)  # arithmetic an element: statistics and result; sums and gradient


def alike(form: Any) -> dict[str, Form]:
    """A function of nn.functional under the names of both libraries."""
    return {
        "fastnn": lambda f, *xs: form(f, f.nn.functional, *xs),
        "torch": lambda t, *xs: form(t, t.nn.functional, *xs),
    }


def convolution(
    shape: Shape,
    outputs: int,
    size: int,
    forward: float,
    both: float,
    *,
    stride: int = 1,
    groups: int = 1,
) -> list[Workload]:
    """Two rows: the result, and with the gradients of x and weight.

    Parameters:
        shape : (n, c, h, w). outputs : channels. size : of the kernel, both ways.
        forward, both : shares of the fastest other library's time.
    """
    n, c, *sides = shape
    padding = size // 2
    x, w = shape, (outputs, c // groups, size, size)
    y = (n, outputs, *(windows(side, size, stride, padding) for side in sides))
    words = f"{size}x{size}" if groups == 1 else f"depthwise {size}x{size}"
    words += f" stride {stride}" if stride > 1 else ""
    words += f", {shape}" + (f" to {outputs}" if groups == 1 else "")
    flops = 2.0 * math.prod(y) * math.prod(w[1:])
    bytes = 4.0 * sum(map(math.prod, (x, w, y)))
    forms = alike(
        lambda lib, F, x, w: F.conv2d(
            x, w, stride=stride, padding=padding, groups=groups
        )
    )
    forms["jax"] = lambda j, x, w: j.lax.conv_general_dilated(
        x, w, (stride,) * 2, [(padding,) * 2] * 2, feature_group_count=groups
    )
    forms["onnx"] = lambda graph, x, w: graph.node(
        "Conv", x, w, strides=[stride] * 2, pads=[padding] * 4, group=groups
    )
    return [
        Kernel(
            name=f"{words}, forward",
            group="layers",
            flops=flops,
            bytes=bytes,
            shapes=(x, w),
            forms=forms,
            goals=[Goal(peer=forward)],
        ),
        with_gradients(words, (x, w), 2, y, 3 * flops, 2 * bytes, forms, both),
    ]


def with_gradients(
    name: str,
    shapes: tuple[Shape, ...],
    wanted: int,
    result: Shape,
    flops: float,
    bytes: float,
    forms: Mapping[str, Form],
    peer: float,
) -> Workload:
    """A row."""
    return Layer(
        name=f"{name}, with gradients",
        group="layers",
        flops=flops,
        bytes=bytes,
        shapes=shapes,
        wanted=wanted,
        result=result,
        forms=forms,
        goals=[Goal(peer=peer)],
    )


def norm(
    name: str,
    shape: Shape,
    parameters: Shape,
    peer: float,
    forms: dict[str, Form],
    vectors: int = 2,
) -> Workload:
    """A row: x, weight and bias have gradients, further vectors have none. x and its
    gradient, y and its gradient are read or written once."""
    return with_gradients(
        f"{name}, {shape}",
        (shape, *(parameters,) * vectors),
        3,
        shape,
        float((NORM + NORM_BACK) * math.prod(shape)),
        4.0 * (4 * math.prod(shape) + 4 * math.prod(parameters)),
        forms,
        peer,
    )


def batch_norm(shape: Shape, peer: float, *, relu: bool = False) -> Workload:
    """A row: by the batch's statistics, which move the running ones."""

    def form(lib: Any, F: Any, x: Any, w: Any, b: Any, mean: Any, variance: Any) -> Any:
        y = F.batch_norm(x, mean, variance, w, b, training=True)
        return lib.relu(y) if relu else y

    def jax(j: Any, x: Any, w: Any, b: Any, mean: Any, variance: Any) -> Any:
        y = normalised(j, x, (0, 2, 3), w[:, None, None], b[:, None, None])
        return j.nn.relu(y) if relu else y

    name = "batch norm and ReLU" if relu else "batch norm"
    forms = {**alike(form), "jax": jax}
    return norm(name, shape, shape[1:2], peer, forms, 4)


def layer_norm(shape: Shape, peer: float) -> Workload:
    """A row: over the last dimension."""
    last = shape[-1:]
    forms = alike(lambda lib, F, x, w, b: F.layer_norm(x, last, w, b))
    forms["jax"] = lambda j, x, w, b: normalised(j, x, -1, w, b)
    return norm("layer norm", shape, last, peer, forms)


def group_norm(shape: Shape, groups: int, peer: float) -> Workload:
    """A row: over groups of channels."""
    n, c, *sides = shape

    def jax(j: Any, x: Any, w: Any, b: Any) -> Any:
        split = (groups, c // groups, 1, 1)
        y = normalised(
            j,
            x.reshape(n, groups, c // groups, *sides),
            (2, 3, 4),
            w.reshape(split),
            b.reshape(split),
        )
        return y.reshape(shape)

    forms = alike(lambda lib, F, x, w, b: F.group_norm(x, groups, w, b))
    forms["jax"] = jax
    return norm(f"group norm of {groups} groups", shape, (c,), peer, forms)


def normalised(j: Any, x: Any, axes: Any, w: Any, b: Any) -> Any:
    """In JAX's terms."""
    mean = x.mean(axes, keepdims=True)
    variance = x.var(axes, keepdims=True)
    return (x - mean) * (j.lax.rsqrt(variance + 1e-5) * w) + b


def max_pool(shape: Shape, peer: float) -> Workload:
    """A row: windows of 3 x 3, stride 2, padding 1."""
    size, stride, padding = 3, 2, 1
    y = (*shape[:2], *(windows(side, size, stride, padding) for side in shape[2:]))
    forms = alike(lambda lib, F, x: F.max_pool2d(x, size, stride, padding))
    forms["jax"] = lambda j, x: pooled(j, x, size, stride, padding)
    return with_gradients(
        f"max pool {size}x{size} stride {stride}, {shape}",
        (shape,),
        1,
        y,
        float(size * size * math.prod(y)),
        8.0 * (math.prod(shape) + math.prod(y)),
        forms,
        peer,
    )


def pooled(j: Any, x: Any, size: int, stride: int, padding: int) -> Any:
    """In JAX's terms."""
    whole, sides = (0, 0), (padding, padding)
    return j.lax.reduce_window(
        x,
        -j.numpy.inf,
        j.lax.max,
        (1, 1, size, size),
        (1, 1, stride, stride),
        (whole, whole, sides, sides),
    )


def attention(n: int, heads: int, length: int, width: int, peer: float) -> Workload:
    """A row: causal, of float32 (n, heads, length, width)."""
    shape = (n, heads, length, width)
    forms = alike(
        lambda lib, F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    )
    forms["jax"] = causal_attention
    scores = n * heads * length * (length + 1) // 2
    return with_gradients(
        f"attention, causal, {shape}",
        (shape,) * 3,
        3,
        shape,
        scores * (14.0 * width + 18),
        4.0 * 8 * math.prod(shape),
        forms,
        peer,
    )


def causal_attention(j: Any, q: Any, k: Any, v: Any) -> Any:
    """In JAX's terms."""
    length, width = q.shape[-2:]
    s = q @ j.numpy.swapaxes(k, -2, -1) / math.sqrt(width)
    seen = j.numpy.tri(length, dtype=bool)
    return j.nn.softmax(j.numpy.where(seen, s, -j.numpy.inf), axis=-1) @ v


ROWS: list[Workload] = [
    *convolution((8, 64, 56, 56), 64, 3, 0.45, 0.42),
    *convolution((8, 128, 28, 28), 128, 3, 0.45, 0.42),
    *convolution((8, 256, 14, 14), 256, 3, 0.45, 0.42),
    *convolution((8, 512, 7, 7), 512, 3, 0.45, 0.42),
    *convolution((8, 64, 56, 56), 256, 1, 0.95, 0.50),
    *convolution((8, 128, 56, 56), 256, 3, 1.00, 0.85, stride=2),
    *convolution((8, 64, 56, 56), 64, 3, 0.90, 0.35, groups=64),
    *convolution((1, 3, 224, 224), 64, 7, 1.00, 0.50, stride=2),
    batch_norm((32, 64, 56, 56), 0.28),
    batch_norm((32, 64, 56, 56), 0.22, relu=True),
    layer_norm((1024, 512), 0.60),
    group_norm((16, 64, 28, 28), 32, 0.60),
    max_pool((8, 64, 112, 112), 0.40),
    attention(8, 4, 256, 32, 0.80),
]
