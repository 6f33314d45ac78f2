"""Embedding: a table of vectors, looked up by integers."""

from __future__ import annotations

from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn import init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class Embedding(Module):
    """y[..., :] = weight[input[...], :].

    Parameters:
        num_embeddings : int: rows of the table.
        embedding_dim : int: length of each vector.
        padding_idx : int: a row that begins as zeros and gets no gradient; negative counts
            from the end.
        max_norm : number: rows that are read and longer are first scaled to this length, in
            place.
        norm_type : number: p of the p-norm for max_norm.
        scale_grad_by_freq : bool: divide gradients by how often the input names the row.
        sparse : bool: weight.grad is a RowGradient, and backward pass and step cost what
            the rows that were read cost, however large the table is. For SGD without
            momentum, Adagrad, Adam and SparseAdam.
        _weight : Tensor (num_embeddings, embedding_dim) to use as it is.
        _freeze : bool: the table is not trained.
        device : "cpu" or None.
        dtype : of the table; None is float32.

    Weight (num_embeddings, embedding_dim) starts normal with deviation 1, drawn from
    fastnn's generator, as in PyTorch.

    Raises: TypeError, ValueError for sizes that are no integers or negative, a padding_idx
        out of range, or a _weight of another shape.

    Source: Bengio, Ducharme, Vincent, Jauvin, "A Neural Probabilistic Language Model", JMLR
        3 (2003), section 2.

    Example:
        >>> import fastnn
        >>> table = fastnn.nn.Embedding(10, 3, padding_idx=0)
        >>> tuple(table(fastnn.tensor([[1, 2], [4, 0]])).shape)
        (2, 2, 3)
        >>> table(fastnn.tensor(0)).tolist()
        [0.0, 0.0, 0.0]
    """

    weight: Parameter  # (num_embeddings, embedding_dim)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = checks.size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = checks.size("Embedding", "embedding_dim", embedding_dim)
        self.padding_idx = self._padding(padding_idx)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if sparse and scale_grad_by_freq:
            raise ValueError(
                "Embedding: expected sparse or scale_grad_by_freq, got both"
            )
        shape = (self.num_embeddings, self.embedding_dim)
        if _weight is None:
            dtype = checks.floating("Embedding", dtype)
            made = fastnn.empty(shape, device=device, dtype=dtype)
            self.weight = Parameter(made, requires_grad=not _freeze)
            self.reset_parameters()
            return
        if not isinstance(_weight, Tensor):
            raise TypeError(
                f"Embedding: expected _weight as a tensor, got {type(_weight).__name__}"
            )
        if tuple(_weight.shape) != shape:
            raise ValueError(
                f"Embedding: expected _weight of shape {shape}, got {_weight.shape}"
            )
        self.weight = Parameter(_weight, requires_grad=not _freeze)

    def _padding(self, index: int | None) -> int | None:
        if index is None:
            return None
        n = self.num_embeddings
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"Embedding: expected padding_idx as an int, got {index!r}")
        if not -n <= index < n:
            raise ValueError(
                f"Embedding: expected padding_idx from {-n} to {n - 1}, got {index}"
            )
        return index % n

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer over a table that there is.

        Parameters:
            embeddings : Tensor (num_embeddings, embedding_dim); the layer shares its memory.
            freeze : bool: the table is not trained.
            padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse : as in Embedding;
                row padding_idx stays as it is.

        Raises: ValueError for a tensor of other than two dimensions.
        """
        if not isinstance(embeddings, Tensor) or embeddings.ndim != 2:
            got = (
                f"shape {embeddings.shape}"
                if isinstance(embeddings, Tensor)
                else type(embeddings).__name__
            )
            raise ValueError(
                "Embedding.from_pretrained: expected a tensor (num_embeddings, "
                f"embedding_dim), got {got}"
            )
        rows, columns = embeddings.shape
        return cls(
            rows,
            columns,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight=embeddings,
            _freeze=freeze,
        )

    def reset_parameters(self) -> None:
        """Draw the table anew; row padding_idx is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with fastnn.no_grad():
                self.weight[self.padding_idx].fill_(0.0)

    def forward(self, input: Tensor) -> Tensor:
        """(...) integers from 0 to num_embeddings - 1, to (..., embedding_dim)."""
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    def extra_repr(self) -> str:
        """Sizes, and what is not as it is by itself."""
        usual = {
            "padding_idx": None,
            "max_norm": None,
            "norm_type": 2.0,
            "scale_grad_by_freq": False,
            "sparse": False,
        }
        said = [f"{self.num_embeddings}, {self.embedding_dim}"]
        for name, value in usual.items():
            if getattr(self, name) != value:
                said.append(f"{name}={getattr(self, name)}")
        return ", ".join(said)
