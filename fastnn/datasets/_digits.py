"""The bundled handwritten digits: 1,797 images of 8x8 pixels.

Optical Recognition of Handwritten Digits, test set; E. Alpaydin, C. Kaynak, UCI Machine
Learning Repository, doi:10.24432/C50P49, CC BY 4.0. See DIGITS-LICENSE.txt beside this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastnn
from fastnn.datasets._split import Split, Splits


def digits(*, flatten: bool = True) -> Splits:
    """The bundled handwritten digits, scaled to [0, 1].

    The held-out fifth is the same in every version: 360 images chosen at random. They
    share their 13 writers with the rest, so strangers' digits would be harder.

    Parameters:
        flatten : bool: images as rows (n, 64), or else as (n, 1, 8, 8).

    Returns: Splits(train, test) of 1,437 and 360 images, each Split(images, labels),
        float32 and int64; fresh.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
        Machine Learning Repository, 1998, doi:10.24432/C50P49.

    Example:
        >>> from fastnn.datasets import digits
        >>> train, test = digits()
        >>> tuple(train.images.shape), tuple(test.labels.shape)
        ((1437, 64), (360,))
    """
    with np.load(Path(__file__).with_name("digits.npz")) as archive:
        pixels, labels = archive["images"], archive["labels"].astype(np.int64)
        held_out = np.zeros(len(labels), dtype=bool)
        held_out[archive["held_out"]] = True
    # Pixels count 0 to 16, so the division is exact.
    images = pixels.astype(np.float32) / np.float32(16)
    images = images.reshape((-1, 64) if flatten else (-1, 1, 8, 8))

    def split(rows: np.ndarray) -> Split:
        return Split(fastnn.from_numpy(images[rows]), fastnn.from_numpy(labels[rows]))

    return Splits(train=split(~held_out), test=split(held_out))
