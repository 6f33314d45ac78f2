"""What programs ask of PyTorch's backends: `cudnn.deterministic = True` and its like.

There is one backend, the CPU, and it always gives the same bits; so these switches may be
set, and change nothing.
"""

from __future__ import annotations


class Absent:
    """A backend that is not there: its switches may be set, and change nothing.

    Example:
        >>> import fastnn
        >>> fastnn.backends.cudnn.benchmark = False
        >>> fastnn.backends.mps.is_available()
        False
    """

    enabled = False
    deterministic = True
    benchmark = False
    allow_tf32 = False

    def is_available(self) -> bool:
        """False: there is none."""
        return False

    def is_built(self) -> bool:
        """False: there is none."""
        return False


cudnn = Absent()
mps = Absent()
