"""Fair timing: contestants take turns in one process; figures are medians with quartiles.

What disturbs a machine disturbs it for a while. Turns of some milliseconds, over and over,
give every contestant its share of that, where runs one after the other would not.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
ROUNDS, BUDGET = 15, 0.02


@dataclass(frozen=True)
class Times:
    """Seconds of a call, one figure a round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        """The least: what the machine does undisturbed."""
        return min(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Half of the rounds lie between these."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, as a share of the median."""
        low, high = self.quartiles
        return (high - low) / 2 / self.median if self.median else 0.0

    def less(self, other: Times, per: int = 1) -> Times:
        """(this - other) / per, round by round."""
        pairs = zip(self.samples, other.samples, strict=True)
        return Times(tuple((a - b) / per for a, b in pairs))


def seconds(function: Callable[[], Any], calls: int) -> float:
    """Time of one call, over `calls` of them."""
    turns = range(calls)
    start = time.perf_counter()
    for _ in turns:
        function()
    return (time.perf_counter() - start) / calls


def race(
    contestants: Mapping[Key, Callable[[], Any]],
    *,
    rounds: int = ROUNDS,
    budget: float = BUDGET,
) -> dict[Key, Times]:
    """Time the contestants in turns.

    Parameters:
        contestants : functions without arguments, by name.
        rounds : int >= 1: turns of each.
        budget : float, seconds: how long a turn lasts, about; one call at least. A call
            that is not timed precedes each turn.

    Returns: Times of a call for each.

    Example:
        >>> from fastnn.bench import race
        >>> times = race({"sum": lambda: sum(range(99)), "none": lambda: None}, rounds=3)
        >>> times["none"].median < times["sum"].median
        True
    """
    calls = {}
    for name, function in contestants.items():
        function()
        calls[name] = max(1, int(budget / max(seconds(function, 3), 1e-9)))
    samples: dict[Key, list[float]] = {name: [] for name in contestants}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, function in contestants.items():
                function()
                samples[name].append(seconds(function, calls[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(s)) for name, s in samples.items()}
