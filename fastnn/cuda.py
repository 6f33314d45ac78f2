"""What programs ask of CUDA: there is none, and `"cuda" if is_available() else "cpu"` works."""


def is_available() -> bool:
    """False: this build has no backend but the CPU.

    Example:
        >>> import fastnn
        >>> fastnn.device("cuda" if fastnn.cuda.is_available() else "cpu")
        device(type='cpu')
    """
    return False


def device_count() -> int:
    """0: there is no CUDA device."""
    return 0
