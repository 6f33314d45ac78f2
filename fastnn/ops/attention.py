"""Scaled dot-product attention, fused: no matrix of all scores is ever in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors, number
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
    saved_for,
    wanted,
)
from fastnn.ops.creation import arange
from fastnn.ops.random import dropout
from fastnn.ops.views import reshape, transpose, unsqueeze

_attention, _attention_backward = op("attention"), op("attention_backward")
_matmul, _softmax, _mul, _add = op("matmul"), op("softmax"), op("mul"), op("add")
_where, _amax, _eq, _le = op("where"), op("amax"), op("eq"), op("le")
_expand = op("expand")


@public()
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale query key^T + attn_mask) value, a block of scores at a time.

    Parameters:
        query : float Tensor (..., l, e). key : (..., s, e). value : (..., s, f). Leading
            dimensions broadcast; what has its last dimension contiguous is read in place.
        attn_mask : broadcasts to (..., l, s). bool: True takes part; or query's dtype:
            added to the scores.
        dropout_p : float: probability of each weight of the softmax to be 0; the others are
            divided by 1 - dropout_p. Above 0 the matrix of weights is in memory, and the
            default generator draws.
        is_causal : bool: query i sees keys 0 to i; not along with attn_mask.
        scale : float; None is 1 / sqrt(e).
        enable_gqa : bool: dimension -3, the heads, may be larger in query; each head of key
            and value then serves as many of its heads, one after the other.
    Returns: (..., l, f); fresh. Zeros for a query that sees no key.
    Gradient: of query, key and value by blocks, from scores made again; of a float
        attn_mask, and second gradients, by plain ops.
    Raises: ValueError for shapes that do not fit, for is_causal along with attn_mask and for
        dropout_p out of range; TypeError for dtypes that do not fit.
    Source: Vaswani et al., arXiv:1706.03762, section 3.2.1; by blocks as in Dao et al.,
        arXiv:2205.14135; enable_gqa: Ainslie et al., arXiv:2305.13245.
    Example:
        >>> x = fastnn.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> fastnn.scaled_dot_product_attention(x, x, x, is_causal=True)[0].tolist()
        [1.0, 0.0]
    """
    name = "scaled_dot_product_attention"
    expect_tensors(name, query=query, key=key, value=value)
    if attn_mask is not None:
        expect_tensors(name, attn_mask=attn_mask)
        if is_causal:
            raise ValueError(f"{name}: expected attn_mask or is_causal, got both")
        if attn_mask.ndim < 2:
            attn_mask = reshape(
                attn_mask, (1,) * (2 - attn_mask.ndim) + attn_mask.shape
            )
    for said, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim < 2:
            raise ValueError(
                f"{name}: expected {said} with at least 2 dimensions, got shape {x.shape}"
            )
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1] or 1)
    scale, causal = number(name, "scale", scale), bool(is_causal)
    groups = None
    if enable_gqa:
        groups = _heads_of(name, query, key, value)
        query, key, value = _grouped(query, key, value, groups)
        if attn_mask is not None and attn_mask.ndim > 2:
            attn_mask = _grouped_mask(attn_mask, groups)
    y = attend(query, key, value, attn_mask, dropout_p, scale, causal)
    if groups is not None:
        y = reshape(y, (*y.shape[:-4], y.shape[-4] * groups, *y.shape[-2:]))
    return y


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    scale: float,
    causal: bool,
    heads: bool = False,
) -> Tensor:
    """Attention of checked arguments; heads: of tensors (..., l, heads, e)."""
    if not 0 <= dropout_p <= 1:
        raise ValueError(
            "scaled_dot_product_attention: expected dropout_p from 0 to 1, got "
            f"{dropout_p}"
        )
    if dropout_p == 0:
        result: Tensor = _attention(q, k, v, mask, scale, causal, heads)[0]
        return result
    return _plain(q, k, v, mask, scale, causal, heads, dropout_p)


def _heads_of(name: str, query: Tensor, key: Tensor, value: Tensor) -> int:
    """How many heads of query a head of key and value serves."""
    if min(query.ndim, key.ndim, value.ndim) < 3:
        raise ValueError(
            f"{name}: expected heads, at least 3 dimensions, for enable_gqa, got shapes "
            f"{query.shape}, {key.shape} and {value.shape}"
        )
    q, k, v = (x.shape[-3] for x in (query, key, value))
    if k != v or k == 0 or q % k != 0:
        raise ValueError(
            f"{name}: expected as many heads in key as in value, and a multiple of them in "
            f"query, got {q}, {k} and {v}"
        )
    return int(q // k)


def _grouped(
    query: Tensor, key: Tensor, value: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The heads as (heads of key, groups)."""
    shape = query.shape
    query = reshape(query, (*shape[:-3], shape[-3] // groups, groups, *shape[-2:]))
    return query, unsqueeze(key, -3), unsqueeze(value, -3)


def _grouped_mask(mask: Tensor, groups: int) -> Tensor:
    heads = mask.shape[-3]
    if heads == 1:
        return unsqueeze(mask, -3)
    shape = (*mask.shape[:-3], heads // groups, groups, *mask.shape[-2:])
    return reshape(mask, shape)


# ---- gradients ---------------------------------------------------------------------------


def weights(
    q: Tensor, k: Tensor, mask: Tensor | None, scale: float, causal: bool
) -> Tensor:
    """softmax(scale q k^T + mask) in plain ops, zeros for a query that sees no key."""
    s = _matmul(_mul(q, scale), transpose(k, -2, -1))
    if causal:
        seen = _le(arange(s.shape[-1]), unsqueeze(arange(s.shape[-2]), 1))
        s = _where(seen, s, -math.inf)
    if mask is not None:
        s = _add(s, mask) if mask.is_floating_point() else _where(mask, s, -math.inf)
    elif not causal:
        return s if s.shape[-1] == 0 else _softmax(s)
    if s.shape[-1] == 0:
        return s
    none = _eq(_amax(s.detach(), -1, True), -math.inf)
    return _where(none, 0.0, _softmax(_where(none, 0.0, s)))


def _plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float,
    causal: bool,
    heads: bool,
    dropout_p: float = 0.0,
) -> Tensor:
    """Attention in plain ops."""
    if heads:
        q, k, v = (transpose(x, -3, -2) for x in (q, k, v))
    p = dropout(weights(q, k, mask, scale, causal), dropout_p)
    y: Tensor = _matmul(p, v)
    return transpose(y, -3, -2) if heads else y


def _composite(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float,
    causal: bool,
    heads: bool,
) -> Tensor:
    return _plain(q, k, v, mask, scale, causal, heads)


@gradient(
    "attention",
    saves=saved_for("q k v mask y top total", "q k v mask"),
    composite=_composite,
)
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    q, k, v, mask, y, top, total = node.saved
    if mask is not None and node.needs(3):
        from fastnn.autograd import composite_gradient

        return composite_gradient(node, _composite, (q, k, v, mask), gy)
    made = _attention_backward(gy, q, k, v, mask, y, top, total, *node.attrs)
    return (*wanted(node, *made), None)


no_gradient("attention_backward")


# ---- references --------------------------------------------------------------------------


def _in_numpy(
    q: Any, k: Any, v: Any, mask: Any, scale: float, causal: bool, heads: bool
) -> tuple[Any, ...]:
    """q, k and v with heads in front; exponentials, the largest scores and totals."""
    if heads:
        q, k, v = (np.swapaxes(x, -3, -2) for x in (q, k, v))
    s = np.matmul(q * scale, np.swapaxes(k, -2, -1))
    s = np.broadcast_to(
        s, (*np.broadcast_shapes(s.shape[:-2], v.shape[:-2]), *s.shape[-2:])
    )
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if causal:
        s = np.where(np.tri(*s.shape[-2:]) > 0, s, -np.inf)
    top = np.fmax.reduce(s, -1, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(s - np.where(top == -np.inf, 0, top)[..., None])
    return q, k, v, e, top, e.sum(-1)


@reference("attention")
def _(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    scale: float = 1.0,
    causal: bool = False,
    heads: bool = False,
) -> Any:
    q, k, v, e, top, total = _in_numpy(q, k, v, mask, scale, causal, heads)
    y = np.matmul(e, v) / np.where(total == 0, 1, total)[..., None]
    return np.swapaxes(y, -3, -2) if heads else y, top, total


@reference("attention_backward")
def _(
    gy: Any,
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    y: Any,
    top: Any,
    total: Any,
    scale: float = 1.0,
    causal: bool = False,
    heads: bool = False,
) -> Any:
    q, k, v, e, _, _ = _in_numpy(q, k, v, mask, scale, causal, heads)
    if heads:
        gy, y = np.swapaxes(gy, -3, -2), np.swapaxes(y, -3, -2)
    g = gy / np.where(total == 0, np.inf, total)[..., None]
    d = e * (np.matmul(g, np.swapaxes(v, -2, -1)) - (g * y).sum(-1, keepdims=True))
    made = (
        np.matmul(d, k) * scale,
        np.matmul(np.swapaxes(d, -2, -1), q * scale),
        np.matmul(np.swapaxes(e, -2, -1), g),
    )
    return tuple(np.swapaxes(x, -3, -2) for x in made) if heads else made
