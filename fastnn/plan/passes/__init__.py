"""Passes: functions that make a graph do less and mean the same, bit for bit."""

from fastnn.plan.passes._optimise import PASSES, optimise

__all__ = ["PASSES", "optimise"]
