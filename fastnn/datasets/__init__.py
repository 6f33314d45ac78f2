"""Data to learn from: the bundled digits, and MNIST from files or the network."""

from fastnn.datasets._digits import digits
from fastnn.datasets._mnist import mnist
from fastnn.datasets._split import Split, Splits

__all__ = ["Split", "Splits", "digits", "mnist"]
