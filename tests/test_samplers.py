"""Samplers: what they draw, how often, from where, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastnn
from fastnn import Generator, data


def test_random_sampler():
    s = data.RandomSampler(range(50), generator=Generator(3))
    first, second = list(s), list(s)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == fastnn.randperm(50, generator=Generator(3)).tolist()
    assert list(data.RandomSampler(range(50), generator=Generator(3))) == first
    more = data.RandomSampler(range(5), num_samples=12, generator=Generator(0))
    drawn = list(more)
    assert len(more) == len(drawn) == 12
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == list(range(5))
    assert len(set(data.RandomSampler(range(9), num_samples=4))) == 4
    assert list(data.RandomSampler([])) == []
    for n in (1, 7, 1000):
        s = data.RandomSampler(range(n), True, 20_000, Generator(5))
        counts = np.bincount(list(s), minlength=n)
        assert len(counts) == n
        assert abs(counts - 20_000 / n).max() < 6 * math.sqrt(20_000 / n)


def test_weighted_sampler():
    weights = [1.0, 0.0, 3.0, 4.0]
    s = data.WeightedRandomSampler(weights, 40_000, generator=Generator(1))
    share = np.bincount(list(s), minlength=4) / 40_000
    np.testing.assert_allclose(share, np.array(weights) / 8, atol=0.01)
    assert share[1] == 0
    # Without replacement the first draw has the same odds.
    s = data.WeightedRandomSampler(weights, 3, False, Generator(2))
    drawn = [list(s) for _ in range(8000)]
    assert all(sorted(d) == [0, 2, 3] for d in drawn)
    share = np.bincount([d[0] for d in drawn], minlength=4) / 8000
    np.testing.assert_allclose(share, np.array(weights) / 8, atol=0.02)
    # Once the largest is gone, the others go by their weights: P(2 | 3 first) = 3 / 4.
    after = [d[1] for d in drawn if d[0] == 3]
    assert abs(after.count(2) / len(after) - 0.75) < 0.03
    huge = data.WeightedRandomSampler([1e308] * 4, 100, generator=Generator(0))
    assert set(huge) == {0, 1, 2, 3}
    for wrong in ([-1, 2], [math.nan, 1], [math.inf], [[1.0]], [0, 0]):
        with pytest.raises(ValueError, match="WeightedRandomSampler: expected"):
            data.WeightedRandomSampler(wrong, 1)
    with pytest.raises(ValueError, match="at most 3 draws"):
        data.WeightedRandomSampler(weights, 4, replacement=False)


def test_other_samplers():
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]
    s = data.SubsetRandomSampler([9, 8, 7], Generator(0))
    assert len(s) == 3 and sorted(s) == [7, 8, 9]
    assert list(data.SubsetRandomSampler([])) == []
    with pytest.raises(TypeError, match=r"SubsetRandomSampler: .*float64"):
        list(data.SubsetRandomSampler([0.5]))
    for drop, expected in ((False, [[5, 4], [3]]), (True, [[5, 4]])):
        b = data.BatchSampler([5, 4, 3], 2, drop)
        assert list(b) == expected and len(b) == len(expected)
    assert list(data.BatchSampler(iter("abc"), 2, False)) == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: data.RandomSampler("ab", num_samples=0), ValueError),
        (lambda: data.RandomSampler("ab", num_samples=1.5), TypeError),
        (lambda: data.RandomSampler("ab", replacement="yes"), TypeError),
        (lambda: list(data.RandomSampler("", num_samples=2)), ValueError),
        (lambda: data.BatchSampler("ab", 0, False), ValueError),
        (lambda: data.BatchSampler("ab", True, False), TypeError),
        (lambda: data.BatchSampler("ab", 2, "no"), TypeError),
        (lambda: data.WeightedRandomSampler([1.0], 0), ValueError),
    ],
)
def test_samplers_refuse(make, error):
    with pytest.raises(error, match="Sampler: expected"):
        make()
