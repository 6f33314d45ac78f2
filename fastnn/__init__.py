"""fastnn: train and run neural networks on CPUs, from one small wheel.

The names are PyTorch's: change the import and keep the program.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from fastnn import _load  # isort: skip (first: it loads the extension)
from fastnn import accelerator as accelerator
from fastnn import autograd as autograd
from fastnn import backends as backends
from fastnn import cuda as cuda
from fastnn import nn as nn
from fastnn import ops as ops
from fastnn import optim as optim
from fastnn._core import RowGradient as RowGradient
from fastnn._core import Tensor as Tensor
from fastnn._core import bool as bool
from fastnn._core import device as device
from fastnn._core import dtype as dtype
from fastnn._core import empty_cache as empty_cache
from fastnn._core import float32 as float
from fastnn._core import float32 as float32
from fastnn._core import float64 as double
from fastnn._core import float64 as float64
from fastnn._core import from_dlpack as from_dlpack
from fastnn._core import from_numpy as from_numpy
from fastnn._core import get_num_threads as get_num_threads
from fastnn._core import int32 as int
from fastnn._core import int32 as int32
from fastnn._core import int64 as int64
from fastnn._core import int64 as long
from fastnn._core import isa as isa
from fastnn._core import memory_stats as memory_stats
from fastnn._core import set_num_threads as set_num_threads
from fastnn._core import uint8 as uint8
from fastnn._numbers import e as e
from fastnn._numbers import finfo as finfo
from fastnn._numbers import iinfo as iinfo
from fastnn._numbers import inf as inf
from fastnn._numbers import nan as nan
from fastnn._numbers import pi as pi
from fastnn._version import __version__ as __version__
from fastnn.autograd import enable_grad as enable_grad
from fastnn.autograd import inference_mode as inference_mode
from fastnn.autograd import is_grad_enabled as is_grad_enabled
from fastnn.autograd import no_grad as no_grad
from fastnn.autograd import set_grad_enabled as set_grad_enabled
from fastnn.ops import *  # noqa: F403
from fastnn.ops.random import Generator as Generator
from fastnn.ops.random import default_generator as default_generator
from fastnn.serialization import load as load
from fastnn.serialization import save as save


def use_deterministic_algorithms(mode: _Any, *, warn_only: _Any = False) -> None:
    """Nothing: every algorithm here is deterministic, and mode False cannot change that.

    Parameters: mode, warn_only : bool, as in PyTorch.
    """


def are_deterministic_algorithms_enabled() -> _Any:
    """True: every algorithm here is deterministic (bool)."""
    return True


if _TYPE_CHECKING:
    from fastnn import data as data
    from fastnn import datasets as datasets
    from fastnn import models as models
    from fastnn import plan as plan
    from fastnn import train as train
    from fastnn import transforms as transforms
    from fastnn.plan import compile as compile

_LAZY = (
    "data",
    "datasets",
    "models",
    "plan",
    "train",
    "transforms",
)  # parts that `import fastnn` need not wait for

if not _TYPE_CHECKING:

    def __getattr__(name: str) -> _Any:
        if name in _LAZY:
            import importlib

            return importlib.import_module(f"fastnn.{name}")
        if name == "compile":
            from fastnn.plan import compile

            return compile
        from fastnn._absent import absent

        raise absent("fastnn", name)
