"""Attention of several heads as a layer."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn import init
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.ops.attention import attend, weights

Weights = tuple[Tensor, Tensor | None]


class MultiheadAttention(Module):
    """Attention in num_heads subspaces at once, and a Linear that mixes them.

    Head h reads query, key and value through its own embed_dim / num_heads rows of three
    weights, attends, and the heads' results side by side go through out_proj.

    Parameters:
        embed_dim : int: length of query's last dimension, and of the result's.
        num_heads : int: divides embed_dim.
        dropout : float in [0, 1]: probability, in training, of each weight of the softmax
            to be 0.
        bias : bool: whether all four maps have biases.
        add_bias_kv : bool: whether a learned key and value follow those of every sequence.
        add_zero_attn : bool: whether a key and a value of zeros follow.
        kdim, vdim : int: last dimensions of key and value; None is embed_dim.
        batch_first : bool: whether inputs are (batch, time, features) instead of (time,
            batch, features).
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Saved as in PyTorch: in_proj_weight holds the three weights one below the other, or
    where kdim or vdim differ q_proj_weight, k_proj_weight and v_proj_weight do.

    Raises: TypeError, ValueError for sizes that are no integers, not positive or that do not
        divide; ValueError in forward() for shapes that do not fit.

    Source: Vaswani et al., arXiv:1706.03762, section 3.2.2; first values as in PyTorch.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.MultiheadAttention(8, 2, batch_first=True)
        >>> x = fastnn.ones(3, 5, 8)
        >>> y, weights = layer(x, x, x)
        >>> y.shape, weights.shape
        ((3, 5, 8), (3, 5, 5))
    """

    in_proj_weight: Parameter | None  # (3 embed_dim, embed_dim)
    q_proj_weight: Parameter | None  # (embed_dim, embed_dim)
    k_proj_weight: Parameter | None  # (embed_dim, kdim)
    v_proj_weight: Parameter | None  # (embed_dim, vdim)
    in_proj_bias: Parameter | None  # (3 embed_dim,)
    bias_k: Parameter | None  # (1, 1, embed_dim)
    bias_v: Parameter | None  # (1, 1, embed_dim)

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = "MultiheadAttention"
        self.embed_dim = checks.size(name, "embed_dim", embed_dim, 1)
        self.num_heads = checks.size(name, "num_heads", num_heads, 1)
        self.kdim = embed_dim if kdim is None else checks.size(name, "kdim", kdim)
        self.vdim = embed_dim if vdim is None else checks.size(name, "vdim", vdim)
        if embed_dim % num_heads:
            raise ValueError(
                f"{name}: expected num_heads to divide embed_dim, got {num_heads} and "
                f"{embed_dim}"
            )
        self.dropout = checks.probability(name, dropout)
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        like = {"device": device, "dtype": checks.floating(name, dtype)}

        def parameter(*shape: int) -> Parameter:
            return Parameter(fastnn.empty(shape, **like))

        e = self.embed_dim
        same = self.kdim == e and self.vdim == e
        self.in_proj_weight = parameter(3 * e, e) if same else None
        self.q_proj_weight = None if same else parameter(e, e)
        self.k_proj_weight = None if same else parameter(e, self.kdim)
        self.v_proj_weight = None if same else parameter(e, self.vdim)
        self.in_proj_bias = parameter(3 * e) if bias else None
        self.bias_k = parameter(1, 1, e) if add_bias_kv else None
        self.bias_v = parameter(1, 1, e) if add_bias_kv else None
        self.out_proj = Linear(e, e, bias=bias, **like)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew; biases become 0."""
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Weights:
        """Query attends to key and value.

        Parameters:
            query : (l, n, embed_dim), or (n, l, embed_dim) with batch_first, or without a
                batch (l, embed_dim). key, value : likewise, (s, n, kdim) and (s, n, vdim).
            key_padding_mask : (n, s) or (s,): bool, True for keys that are left out, or
                added to their scores.
            need_weights : bool: whether the weights are returned too: then the matrix of
                them is in memory, and the fused op is not used.
            attn_mask : (l, s) or (n num_heads, l, s): bool, True where a query must not see
                a key (the opposite of scaled_dot_product_attention), or added to scores.
            average_attn_weights : bool: whether weights are averaged over the heads.
            is_causal : bool: query i sees keys 0 to i; attn_mask is then not read.
        Returns: query's shape, and weights (n, l, s), (n, num_heads, l, s) where they are
            not averaged, without n where there is no batch, or None. Of queries that see no
            key, both are as of zeros.
        """
        self._expect(query, key, value)
        batched = query.ndim == 3
        first = self.batch_first and batched
        q, k, v = (
            x if first else x.unsqueeze(0) if not batched else x.transpose(0, 1)
            for x in self._project(query, key, value)
        )
        n, length, size = q.shape[0], q.shape[1], k.shape[1]
        mask = self._mask(key_padding_mask, n, 1, size, "key_padding_mask")
        if not is_causal:
            mask = _join(mask, self._mask(attn_mask, n, length, size, "attn_mask"))
        if self.bias_k is not None or self.add_zero_attn:
            if is_causal:
                mask = _join(mask, _causal(length, size))
                is_causal = False
            k, v, extra = self._longer(k, v)
            mask = None if mask is None else _padded(mask, extra)
        q, k, v = (x.reshape(*x.shape[:2], self.num_heads, -1) for x in (q, k, v))
        p = self.dropout if self.training else 0.0
        scale = 1 / math.sqrt(q.shape[-1])
        w = None
        if need_weights:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            w = F.dropout(weights(q, k, mask, scale, is_causal), p)
            y = (w @ v).transpose(1, 2)
            w = w.mean(1) if average_attn_weights else w
            w = w if batched else w.squeeze(0)
        else:
            y = attend(q, k, v, mask, p, scale, is_causal, True)
        y = y.reshape(n, length, self.embed_dim)
        y = y if first else y.squeeze(0) if not batched else y.transpose(0, 1)
        return self.out_proj(y), w

    def _expect(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        dims = query.ndim
        batch = 0 if self.batch_first else 1
        fit = dims in (2, 3) and key.ndim == dims and value.ndim == dims
        if fit:
            fit = (query.shape[-1], key.shape[-1], value.shape[-1]) == (
                self.embed_dim,
                self.kdim,
                self.vdim,
            ) and key.shape[:-1] == value.shape[:-1]
        if fit and dims == 3:
            fit = query.shape[batch] == key.shape[batch]
        if not fit:
            form = "(n, l, " if self.batch_first else "(l, n, "
            other = form.replace("l", "s")
            raise ValueError(
                f"MultiheadAttention: expected query of shape {form}{self.embed_dim}), key "
                f"{other}{self.kdim}) and value {other}{self.vdim}), or all without n, got "
                f"{query.shape}, {key.shape} and {value.shape}"
            )

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """The three maps. One product where the inputs are one and nothing is recorded:
        else gradients of its parts would have to be joined."""
        e, bias = self.embed_dim, self.in_proj_bias
        whole = self.in_proj_weight
        own: list[Any]
        if whole is None:
            own = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        elif query is key is value and not fastnn.is_grad_enabled():
            y = F.linear(query, whole, bias)
            return [y[..., i * e : (i + 1) * e] for i in range(3)]
        else:
            own = [whole[i * e : (i + 1) * e] for i in range(3)]
        return [
            F.linear(x, w, None if bias is None else bias[i * e : (i + 1) * e])
            for i, (x, w) in enumerate(zip((query, key, value), own, strict=True))
        ]

    def _mask(
        self, mask: Tensor | None, n: int, rows: int, size: int, name: str
    ) -> Tensor | None:
        """What is in the way as what the op reads, (n or 1, heads or 1, rows, size)."""
        if mask is None:
            return None
        heads = self.num_heads
        if name == "attn_mask":
            shapes = {(rows, size): (1, 1), (n * heads, rows, size): (n, heads)}
        else:
            shapes = {(n, size): (n, 1)}
            if n == 1:
                shapes[(size,)] = (1, 1)
        if tuple(mask.shape) not in shapes:
            raise ValueError(
                f"MultiheadAttention: expected {name} of shape "
                f"{' or '.join(str(s) for s in shapes)}, got {mask.shape}"
            )
        mask = mask.reshape(*shapes[tuple(mask.shape)], rows, size)
        if mask.is_floating_point():
            return mask.to(self.out_proj.weight.dtype)
        if mask.dtype is not fastnn.bool:
            raise TypeError(
                f"MultiheadAttention: expected {name} as bool or float, got "
                f"{mask.dtype.name}"
            )
        return ~mask

    def _longer(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values with those that follow every sequence, and how many these are."""
        n, e = k.shape[0], self.embed_dim
        keys, values = [k], [v]
        if self.bias_k is not None and self.bias_v is not None:
            keys.append(self.bias_k.expand(n, 1, e))
            values.append(self.bias_v.expand(n, 1, e))
        if self.add_zero_attn:
            zeros = fastnn.zeros(n, 1, e, dtype=k.dtype)
            keys.append(zeros)
            values.append(zeros)
        return fastnn.cat(keys, 1), fastnn.cat(values, 1), len(keys) - 1

    def extra_repr(self) -> str:
        """The sizes, and the arguments that are not as usual."""
        text = f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        if self.in_proj_weight is None:
            text += f", kdim={self.kdim}, vdim={self.vdim}"
        return text + (", batch_first=True" if self.batch_first else "")


def _join(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Both masks in one: bool ones say what takes part, others are added."""
    if a is None or b is None:
        return b if a is None else a
    if a.is_floating_point() and b.is_floating_point():
        return a + b
    if a.is_floating_point():
        a, b = b, a
    return fastnn.where(a, b, -math.inf) if b.is_floating_point() else a & b


def _causal(rows: int, size: int) -> Tensor:
    return fastnn.arange(size) <= fastnn.arange(rows).unsqueeze(1)


def _padded(mask: Tensor, extra: int) -> Tensor:
    """The mask with keys that all see."""
    shape = (*mask.shape[:-1], extra)
    if mask.is_floating_point():
        return fastnn.cat([mask, fastnn.zeros(shape, dtype=mask.dtype)], -1)
    return fastnn.cat([mask, fastnn.ones(shape, dtype=fastnn.bool)], -1)
