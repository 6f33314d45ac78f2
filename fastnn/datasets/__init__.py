"""Data to learn from: the bundled digits."""

from fastnn.datasets._digits import Digits, Split, digits

__all__ = ["Digits", "Split", "digits"]
