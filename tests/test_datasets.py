"""The bundled digits: what is in them, and that it never changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

import fastnn
from fastnn import datasets


def test_shapes_dtypes_and_range():
    data = datasets.digits()
    assert [tuple(t.shape) for split in data for t in split] == [
        (1437, 64),
        (1437,),
        (360, 64),
        (360,),
    ]
    for images, labels in data:
        assert images.dtype is fastnn.float32
        assert labels.dtype is fastnn.int64
        x, y = images.numpy(), labels.numpy()
        assert x.min() == 0
        assert x.max() == 1
        assert set(np.unique(x * 16)) == set(range(17))
        assert set(np.unique(y)) == set(range(10))
    square = datasets.digits(flatten=False)
    assert tuple(square.test.images.shape) == (360, 1, 8, 8)
    assert square.test.images.reshape(360, 64).tolist() == data.test.images.tolist()


def test_the_cut_is_fixed():
    data = datasets.digits()
    key = hashlib.sha256()
    for split in data:
        key.update((split.images.numpy() * 16).astype(np.uint8).tobytes())
        key.update(split.labels.numpy().astype(np.uint8).tobytes())
    assert key.hexdigest() == (
        "4867db0a43da379f992e040572aebf73456a8c66416adb325289560c59c68693"
    )
    assert np.bincount(data.test.labels.numpy()).tolist() == [
        27, 35, 36, 29, 30, 40, 44, 39, 39, 41,
    ]  # fmt: skip


def test_every_call_gives_fresh_tensors():
    images = datasets.digits().train.images
    images.zero_()
    assert float(datasets.digits().train.images.sum()) > 0


def test_the_file_is_small_and_licensed():
    folder = Path(datasets.__file__).parent
    assert (folder / "digits.npz").stat().st_size < 100_000
    licence = (folder / "DIGITS-LICENSE.txt").read_text()
    assert "CC BY 4.0" in licence
    assert "10.24432/C50P49" in licence
