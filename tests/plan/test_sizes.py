"""Ten thousand batch sizes and a thousand other shapes through one compiled model."""

from __future__ import annotations

import resource
from collections import deque

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn import nn

MIB = 1 << 20
# Beyond what was resident after the warm-up: 64 plans of 32 replays at most, whose tables
# take some kilobytes each, and room for what the allocator keeps.
BOUND = 32 * MIB


def resident():
    """Bytes resident now."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


class Tailed(nn.Module):
    """Any number of rows of any number of vectors of 8."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3))

    def forward(self, x):
        COUNT.append(1)
        return fastnn.softmax(self.net(x), -1)


COUNT: deque[int] = deque()  # a list that grows would be refused


@pytest.mark.slow
@pytest.mark.unsanitized
def test_ten_thousand_batches_and_a_thousand_shapes():
    fastnn.manual_seed(0)
    model = Tailed()
    predict = fastnn.compile(model)
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((12000, 8)).astype(np.float32)
    COUNT.clear()
    with fastnn.no_grad():
        expected = model(fastnn.from_numpy(whole))
        COUNT.clear()
        for k, n in enumerate(rng.permutation(np.arange(2, 10002)).tolist()):
            y = predict(whole[:n])
            if k % 97 == 0:
                assert_same_bits(y, expected[:n], f"batch {n}")
            if k == 500:
                before = resident()
        assert len(COUNT) <= 3
        grown = [resident() - before]
        for k in range(1, 1001):
            x = whole[: 2 * k].reshape(2, k, 8)
            for _ in range(3):
                y = predict(x)
            if k % 97 == 0:
                assert_same_bits(y.reshape(2 * k, 3), expected[: 2 * k], f"shape {k}")
        grown.append(resident() - before)
        assert len(COUNT) <= 3 + 2 * 1000  # two recordings for each shape
        for k in range(1, 1001):
            predict(whole[: 2 * k].reshape(2, k, 8))
        grown.append(resident() - before)
    assert len(predict.plans) <= 64
    assert max(grown) < BOUND, [g / MIB for g in grown]
