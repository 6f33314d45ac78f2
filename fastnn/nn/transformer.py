"""The encoder of the Transformer, and its positions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn.attention import MultiheadAttention
from fastnn.nn.container import ModuleList
from fastnn.nn.dropout import Dropout
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.normalization import LayerNorm

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class TransformerEncoderLayer(Module):
    """Self-attention, then two Linear with an activation between; a sum and a LayerNorm
    around each.

    Parameters:
        d_model : int: length of the last dimension, of the input and of the result.
        nhead : int: heads; divides d_model.
        dim_feedforward : int: features between the two Linear.
        dropout : float in [0, 1]: of the attention's weights, of the activation, and of what
            is added to the input.
        activation : "relu", "gelu" or a function of a tensor.
        layer_norm_eps : float: eps of both LayerNorm.
        batch_first : bool: whether inputs are (batch, time, features).
        norm_first : bool: whether LayerNorm comes before attention and before the Linear
            pair instead of after the sums.
        bias : bool: whether Linear, LayerNorm and attention have biases.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Raises: as MultiheadAttention; ValueError for another activation's name.

    Source: Vaswani et al., arXiv:1706.03762, section 3.1; norm_first: Xiong et al.,
        arXiv:2002.04745.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> tuple(layer(fastnn.ones(3, 5, 8), is_causal=True).shape)
        (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        like = {"device": device, "dtype": dtype}
        if isinstance(activation, str):
            if activation not in _ACTIVATIONS:
                raise ValueError(
                    'TransformerEncoderLayer: expected activation "relu", "gelu" or a '
                    f"function, got {activation!r}"
                )
            activation = _ACTIVATIONS[activation]
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, **like
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, **like)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **like)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **like)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **like)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(time, batch, d_model), or (batch, time, d_model), or without a batch, to the same.

        Parameters: as MultiheadAttention's attn_mask, key_padding_mask and is_causal.
        """

        def attended(x: Tensor) -> Tensor:
            y, _ = self.self_attn(
                x,
                x,
                x,
                attn_mask=src_mask,
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
                is_causal=is_causal,
            )
            z: Tensor = self.dropout1(y)
            return z

        def fed(x: Tensor) -> Tensor:
            x = self.dropout(self.activation(self.linear1(x)))
            z: Tensor = self.dropout2(self.linear2(x))
            return z

        x = src
        if self.norm_first:
            x = x + attended(self.norm1(x))
            return x + fed(self.norm2(x))
        x = self.norm1(x + attended(x))
        y: Tensor = self.norm2(x + fed(x))
        return y


class TransformerEncoder(Module):
    """Copies of a layer one after another, and a last norm.

    Parameters:
        encoder_layer : Module: what is copied, with its values, num_layers times.
        num_layers : int.
        norm : Module or None: what the result goes through.
        enable_nested_tensor, mask_check : bool: PyTorch's; they change nothing here.

    Raises: TypeError, ValueError for a num_layers that is no integer or negative.

    Source: Vaswani et al., arXiv:1706.03762, section 3.1.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.TransformerEncoderLayer(8, 2, 16)
        >>> encoder = fastnn.nn.TransformerEncoder(layer, 2)
        >>> tuple(encoder(fastnn.ones(5, 3, 8)).shape)
        (5, 3, 8)
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.num_layers = checks.size("TransformerEncoder", "num_layers", num_layers)
        self.layers = ModuleList(
            copy.deepcopy(encoder_layer) for _ in range(num_layers)
        )
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """src through all layers. mask, src_key_padding_mask, is_causal : as theirs; None is
        False: a mask that happens to be causal is read as any other."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class SinusoidalPositions(Module):
    """Adds to the features at time t sin(t ω_i) at 2 i and cos(t ω_i) at 2 i + 1.

    ω_i = base^(-2 i / features): wavelengths from 2 π to nearly base 2 π.

    Parameters:
        features : int: length of the last dimension.
        max_length : int: longest sequence; so many rows the table has.
        dropout : float in [0, 1]: of the sum, in training.
        batch_first : bool: whether inputs are (batch, time, features) instead of (time,
            batch, features).
        base : float: above.
        device : "cpu" or None.
        dtype : of the table; None is float32.

    The table is a buffer that is not saved: it follows from the arguments.

    Raises: TypeError, ValueError for sizes that are no integers or negative, and in
        forward() for inputs that do not fit.

    Source: Vaswani et al., arXiv:1706.03762, section 3.5.

    Example:
        >>> import fastnn
        >>> positions = fastnn.nn.SinusoidalPositions(2, 10, batch_first=True)
        >>> positions(fastnn.zeros(1, 2, 2))
        tensor([[[0.    , 1.    ],
                 [0.8415, 0.5403]]])
    """

    table: Tensor  # (max_length, features)

    def __init__(
        self,
        features: int,
        max_length: int = 5000,
        dropout: float = 0.0,
        batch_first: bool = False,
        base: float = 10000.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = "SinusoidalPositions"
        self.features = checks.size(name, "features", features)
        self.max_length = checks.size(name, "max_length", max_length)
        self.dropout = Dropout(dropout)
        self.batch_first = batch_first
        if not (base > 0 and math.isfinite(base)):
            raise ValueError(f"{name}: expected base above 0, got {base}")
        self.base = float(base)
        rates = self.base ** (-2 * (np.arange(features) // 2) / max(features, 1))
        angles = np.arange(max_length)[:, None] * rates
        table = np.where(np.arange(features) % 2 == 0, np.sin(angles), np.cos(angles))
        made = fastnn.tensor(table, dtype=checks.floating(name, dtype), device=device)
        self.register_buffer("table", made, persistent=False)

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        """(time, batch, features), or (batch, time, features), or (time, features), to the
        same; start : the time of the first."""
        dim = 1 if self.batch_first and input.ndim == 3 else 0
        length = input.shape[dim] if input.ndim > 1 else 0
        if input.ndim not in (2, 3) or input.shape[-1] != self.features:
            form = "(n, time, " if self.batch_first else "(time, n, "
            raise ValueError(
                f"SinusoidalPositions: expected input {form}{self.features}) or (time, "
                f"{self.features}), got shape {input.shape}"
            )
        if start < 0 or start + length > self.max_length:
            raise ValueError(
                f"SinusoidalPositions: expected times from 0 to {self.max_length - 1}, got "
                f"{start} to {start + length - 1}"
            )
        rows = self.table[start : start + length]
        if input.ndim == 3 and dim == 0:
            rows = rows.unsqueeze(1)
        y: Tensor = self.dropout(input + rows)
        return y

    def extra_repr(self) -> str:
        """The sizes, and the arguments that are not as usual."""
        text = f"{self.features}, max_length={self.max_length}"
        if self.base != 10000:
            text += f", base={self.base}"
        return text + (", batch_first=True" if self.batch_first else "")
