"""What a call costs: arithmetic and bytes, from its shapes alone."""

from __future__ import annotations

import math

from fastnn.ops.products import ACTIVATIONS
from fastnn.plan.graph import Call, Value

# Arithmetic an element, about: what the kernels' polynomials and divisions come to. What
# is not here counts 1.
_ELEMENT = {
    "exp": 12, "expm1": 14, "log": 14, "log1p": 16, "tanh": 14, "sigmoid": 14, "erf": 20,
    "gelu": 24, "gelu_tanh": 20, "silu": 15, "elu": 16, "celu": 16, "softplus": 30,
    "pow": 40, "sqrt": 4, "div": 4, "squared_error": 2, "squared_error_backward": 3,
    "huber": 5, "huber_backward": 4, "binary_cross_entropy": 34,
    "binary_cross_entropy_backward": 10, "bce_with_logits": 40,
    "bce_with_logits_backward": 18, "sigmoid_backward": 3, "tanh_backward": 3,
    "gelu_backward": 36, "gelu_tanh_backward": 26, "silu_backward": 18, "elu_backward": 16,
    "celu_backward": 16, "softplus_backward": 20, "leaky_relu": 2,
    "leaky_relu_backward": 2, "hardtanh": 2, "hardtanh_backward": 2, "copy": 0, "copy_": 0,
    "softmax": 18, "log_softmax": 18, "softmax_backward": 4, "log_softmax_backward": 16,
    "cross_entropy": 18, "cross_entropy_backward": 16, "uniform": 12, "normal": 30,
    "dropout": 14, "permutation": 20,
    "cat": 0, "index_select": 0, "gather": 0, "scatter": 0, "unslice": 0, "index_copy_": 0,
    "panels": 0, "batch_norm": 8, "batch_norm_backward": 10, "scale_shift": 2,
    "layer_norm": 8, "layer_norm_backward": 12, "group_norm": 8, "group_norm_backward": 10,
    "max_pool_index": 0, "max_pool_gather": 0, "pad": 0, "unfold": 0, "grid_sample": 30,
    "affine_sample": 30, "embedding": 0, "grid_sample_input": 30, "grid_sample_grid": 40,
}  # fmt: skip
# where kernel and adaptive are among the attributes of what has windows
_WINDOWS = {
    "max_pool": (0, 5), "max_pool_values": (0, 5), "max_pool_backward": (1, 5),
    "avg_pool": (0, 4), "avg_pool_backward": (1, 4),
}  # fmt: skip
PRODUCTS = ("matmul", "linear", "linear_act", "linear_panels")
RECURRENT = {"rnn": (1, 14), "gru": (3, 50), "lstm": (4, 75)}  # gates; beside products
CONVOLUTIONS = ("conv", "conv_act", "conv_transpose", "conv_weight")
_STEP = {
    "sgd_step": 5, "adagrad_step": 10, "adadelta_step": 20, "rmsprop_step": 14,
    "adam_step": 18, "nadam_step": 24, "radam_step": 22,
    "sgd_rows_step": 6, "adagrad_rows_step": 11, "adam_rows_step": 19,
    "sparse_adam_rows_step": 19,
}  # fmt: skip
_OF_ROWS = {
    "embedding", "sgd_rows_step", "adagrad_rows_step", "adam_rows_step",
    "sparse_adam_rows_step",
}  # fmt: skip
_INPUT = {  # families that cost by what they read
    "sum", "mean", "amax", "amin", "argmax", "argmin", "cumsum", "cross_entropy", "nll",
    "index_add", "scatter_add", "pad_backward", "fold",
}  # fmt: skip
ACTIVATION_NAMES = {code: name for name, code in ACTIVATIONS.items()}


def _size(v: Value | None) -> int:
    return 0 if v is None else math.prod(v.shape)


def flops(call: Call) -> int:
    """Floating-point operations of a call: 2 m n k for a product, a multiply-add being
    two; about what the formula takes elsewhere. Views cost nothing."""
    name = call.op.name
    if call.is_view:
        return 0
    if name in _STEP:
        counted = "gradients" if name in _OF_ROWS else "parameters"
        sizes = (_size(v) for n, v in call.spread() if n == counted)
        return _STEP[name] * sum(sizes)
    size = _size(call.outputs[0]) if call.outputs else 0
    first = call.inputs[0] if call.inputs else None
    if name in PRODUCTS:
        assert first is not None
        total = 2 * size * first.shape[-1]
        total += size * sum(v is not None for v in call.inputs[2:])
        if name not in ("matmul", "linear") and call.attrs[0]:
            total += size * _ELEMENT.get(ACTIVATION_NAMES[call.attrs[0]] or "none", 1)
        return total
    if name in CONVOLUTIONS:
        return _convolution_flops(call, size)
    if name in ("attention", "attention_backward"):
        return _attention_flops(call)
    if name.removesuffix("_backward") in RECURRENT:
        return _recurrent_flops(call)
    if name in _WINDOWS:
        kernel, adaptive = (call.attrs[k] for k in _WINDOWS[name])
        back = name.endswith("_backward")
        windows, image = (_size(first), size) if back else (size, _size(first))
        return image if adaptive else windows * math.prod(kernel)
    if name in ("resize", "resize_backward"):
        linear = call.attrs[1] == 1
        return max(size, _size(first)) * (6 if linear else int(name != "resize"))
    if name == "filter2":
        return 2 * size * sum(v.shape[1] for v in call.inputs[1:] if v is not None)
    if name == "argsort":
        return 2 * _size(first) * max(1, _size(first).bit_length())
    if name in _INPUT:
        size = _size(first)
    elif call.op.lists:
        size = sum(_size(v) for n, v in call.spread() if n in call.op.lists)
    return size * _ELEMENT.get(name, 1)


def _recurrent_flops(call: Call) -> int:
    """Of all steps of all sequences, as if none were padded; backward's products with the
    state, and those of the gradients that are asked for."""
    name = call.op.name.removesuffix("_backward")
    back = name != call.op.name
    given = dict(call.spread())
    x, w_hh = given["x"], given["w_hh"]
    assert x is not None and w_hh is not None
    rows = math.prod(x.shape[:2])
    parts = [_size(given["w_ih"]), _size(w_hh), _size(given.get("w_hr"))]
    products = sum(parts)
    if back:
        needs = call.attrs[-1]
        wanted = (
            (needs & 1) + (needs >> 2 & 1),
            1 + (needs >> 3 & 1),
            1 + (needs >> 6 & 1),
        )
        products = sum(n * part for n, part in zip(wanted, parts, strict=True))
    gates, cell = RECURRENT[name]
    return rows * (2 * products + cell * (w_hh.shape[0] // gates))


def _convolution_flops(call: Call, size: int) -> int:
    """Of plain sums, whatever the algorithm: each result of the convolution that the call
    is, or is a gradient of, sums over a kernel."""
    a, b = call.inputs[:2]
    assert a is not None and b is not None
    name = call.op.name
    if name == "conv_weight":
        return 2 * _size(b) * math.prod(call.outputs[0].shape[1:])
    total = 2 * (_size(a) if name == "conv_transpose" else size)
    total *= math.prod(b.shape[1:])
    total += size * sum(v is not None for v in call.inputs[2:])
    if name == "conv_act" and call.attrs[-1]:
        total += size * _ELEMENT.get(ACTIVATION_NAMES[call.attrs[-1]] or "none", 1)
    return total


def _attention_flops(call: Call) -> int:
    """Two products forward and five backward, of which a causal mask leaves a half."""
    back = call.op.name == "attention_backward"
    q, k, v = call.inputs[int(back) :][:3]
    assert q is not None and k is not None and v is not None
    time = -3 if call.attrs[2] else -2
    size, e, f = k.shape[time], q.shape[-1], v.shape[-1]
    rows = _size(call.inputs[-1]) if back else _size(call.outputs[1])
    scores = rows * size // (2 if call.attrs[1] else 1)
    return scores * (2 * (3 * e + 2 * f) + 18 if back else 2 * (e + f) + 18)


def bytes_moved(call: Call) -> int:
    """Bytes that a call reads and writes, each once: the least that it can move."""
    if call.is_view:
        return 0
    total = 0
    written = call.op.written
    for name, v in call.spread():
        if v is not None and v.number is None:
            total += _touched(v) * (2 if name in written else 1)
    if call.op.name in _OF_ROWS:
        total -= _untouched(call)
    if not call.in_place:
        total += sum(_touched(v) for v in call.outputs)
    if call.op.name == "linear_panels":  # nobody reads what fills up the last panel
        panels, out = call.inputs[1], call.attrs[1]
        assert panels is not None
        total -= _touched(panels) - out * panels.shape[1] * panels.dtype.itemsize
    return total


def _untouched(call: Call) -> int:
    """Bytes of tables that the call leaves out: it touches rows, at most as many as it is
    given."""
    pairs: list[tuple[Value | None, Value | None, int]]
    if call.op.name == "embedding":
        pairs = [(call.inputs[0], call.outputs[0], 1)]
    else:
        lists: dict[str, list[Value | None]] = {}
        for name, v in call.spread():
            lists.setdefault(name, []).append(v)
        pairs = [
            (table, g, 2)
            for name in call.op.written
            for table, g in zip(lists.get(name, []), lists["gradients"], strict=False)
            if table is not None and table.shape
        ]
    return sum(
        times * max(_touched(table) - _touched(rows), 0)
        for table, rows, times in pairs
        if table is not None and rows is not None
    )


def _touched(v: Value) -> int:
    """Bytes of the elements that lie apart: a stride of zero repeats them."""
    sizes = (n for n, s in zip(v.shape, v.strides, strict=True) if s or n == 0)
    return v.dtype.itemsize * math.prod(sizes)
