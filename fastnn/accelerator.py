"""What programs ask of accelerators: there is none; the CPU does not count as one."""

from __future__ import annotations

from fastnn._core import device


def is_available() -> bool:
    """False: this build has no backend but the CPU."""
    return False


def current_accelerator(check_available: bool = False) -> device | None:
    """None: there is no accelerator.

    Parameters:
        check_available : bool: whether one that is built in has to be there, too.

    Example:
        >>> import fastnn
        >>> if fastnn.accelerator.is_available():
        ...     device = fastnn.accelerator.current_accelerator().type
        ... else:
        ...     device = "cpu"
        >>> device
        'cpu'
    """
    return None


def device_count() -> int:
    """0: there is no accelerator."""
    return 0
