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


def manual_seed(seed: int) -> None:
    """Nothing: there is no CUDA device to seed. fastnn.manual_seed seeds the CPU's."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no CUDA device to seed. fastnn.manual_seed seeds the CPU's."""


def empty_cache() -> None:
    """Nothing: there is no CUDA memory. fastnn.empty_cache returns the CPU's."""


def synchronize(device: object = None) -> None:
    """Nothing: there is no CUDA device to wait for."""
