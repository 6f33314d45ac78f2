"""What a data set gives: a part to learn from and a part held out."""

from __future__ import annotations

from typing import NamedTuple

from fastnn._core import Tensor


class Split(NamedTuple):
    """One part of a data set; unpacks as (images, labels)."""

    images: Tensor  # (n, pixels) or (n, 1, height, width), float32 in [0, 1]
    labels: Tensor  # (n,) int64


class Splits(NamedTuple):
    """A data set, cut once and for all; unpacks as (train, test)."""

    train: Split
    test: Split
