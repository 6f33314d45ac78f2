"""Loads the extension: before anything else, and with words where it is missing."""

import os

# libgomp's threads spin for long before they sleep, which on a busy machine takes the time
# of those that have work: forty times the run was seen. It reads this as it loads, once.
_ours = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
if _ours:
    os.environ["GOMP_SPINCOUNT"] = "1000"
try:
    # in a source tree _core is a folder: importable, and empty
    from fastnn._core import Tensor as _Tensor  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastnn: expected the compiled extension fastnn._core, got none. In the source "
        "tree, run `python -m pip install .` and start Python from another folder, or "
        "install with `python -m pip install -e .`"
    ) from error
finally:
    if _ours:
        del os.environ["GOMP_SPINCOUNT"]
