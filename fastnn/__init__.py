"""fastnn: train and run neural networks on CPUs, from one small wheel.

The names are PyTorch's: change the import and keep the program.
"""

try:
    from fastnn import _core
except ImportError as error:
    raise ImportError(
        "fastnn: expected the compiled extension fastnn._core, got none. In the source tree, "
        "run `python -m pip install .` and start Python from another folder, or install "
        "with `python -m pip install -e .`"
    ) from error

from fastnn import autograd, nn, ops, optim
from fastnn._core import (
    Tensor,
    bool,
    device,
    dtype,
    empty_cache,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    get_num_threads,
    int32,
    int64,
    isa,
    memory_stats,
    set_num_threads,
    uint8,
)
from fastnn._version import __version__
from fastnn.autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from fastnn.ops import *  # noqa: F403
from fastnn.ops.random import Generator, default_generator

