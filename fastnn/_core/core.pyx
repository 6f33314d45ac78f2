# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, freethreading_compatible=False
"""fastnn._core: Tensor, tape and the way into the op table. No arithmetic lives here.

One extension module from a few parts:
    c.pxi        what is used of the C core
    types.pxi    dtype, device, errors
    tensor.pxi   Tensor
    op.pxi       Op: check, allocate, run, record
    writes.pxi   what a call writes: collisions, permission, versions
    tape.pxi     Node: a recorded call
    backward.pxi the backward pass over nodes
    interop.pxi  NumPy, DLPack, scalars, pickling
    capture.pxi  what recording a function needs of tensors
    program.pxi  programs, and the memory that they run in
    replay.pxi   a program bound to shapes
    compiled.pxi the way into a compiled function
    group.pxi    groups of calls by themselves, for tests
"""

import cython
import numpy as np

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from cpython.pycapsule cimport (
    PyCapsule_GetPointer,
    PyCapsule_IsValid,
    PyCapsule_New,
    PyCapsule_SetName,
)
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cnp.import_array()

include "c.pxi"
include "types.pxi"
include "tensor.pxi"
include "op.pxi"
include "writes.pxi"
include "tape.pxi"
include "backward.pxi"
include "rows.pxi"
include "interop.pxi"
include "capture.pxi"
include "program.pxi"
include "replay.pxi"
include "compiled.pxi"
include "group.pxi"
include "convolution.pxi"


def _start():
    cdef fnn_error err
    cdef fnn_status status = fnn_init(&err)
    if status != FNN_OK:
        error(status, err.text)
    make_dtypes()
    make_ops()


_start()
globals().update({d.name: d for d in DTYPES})  # fastnn._core.float32, ...

# ---- the machine ------------------------------------------------------------------------


def get_num_threads():
    """How many threads kernels may use (int)."""
    return fnn_num_threads()


def set_num_threads(n):
    """Sets how many threads kernels may use, 1 to 256. Results do not depend on it.

    Raises: ValueError if n is not in that range.
    """
    n = PyNumber_Index(n)
    if not 1 <= n <= 256:
        raise ValueError(f"set_num_threads: expected 1 to 256, got {n}")
    fnn_set_num_threads(n)


def isa():
    """The kernels in force (str): 'generic', 'avx2', 'avx512' or 'neon'."""
    return fnn_isa_name().decode()


def isas():
    """The kernels that this CPU can run (list of str), slowest first."""
    names = []
    while fnn_isa_available(<int> len(names)) != NULL:
        names.append(fnn_isa_available(<int> len(names)).decode())
    return names


def set_isa(str name):
    """Switches kernels, for tests and benchmarks; FASTNN_ISA does so at start.

    Raises: ValueError if the name is unknown or this CPU lacks it.
    """
    cdef fnn_error err
    cdef bytes text = name.encode()
    cdef fnn_status status = fnn_isa_select(text, &err)
    if status != FNN_OK:
        error(status, err.text)


def cgroup_cpu_limit(str proc_self_cgroup="/proc/self/cgroup", str root="/sys/fs/cgroup"):
    """CPUs that the control group grants, rounded up (int); 0 where there is no limit."""
    cdef bytes a = proc_self_cgroup.encode(), b = root.encode()
    return fnn_cgroup_cpu_limit(a, b)


def fma_loop(ptrdiff_t rounds, dtype):
    """Fused multiply-adds in registers on one thread, to time; returns the flops done."""
    cdef double flops, sink
    cdef int wide = dtype_code(dtype) == FNN_FLOAT64
    with nogil:
        flops = fnn_k.peak[wide](rounds, &sink)
    return flops


def memory_stats():
    """Bytes and counts of the caching allocator (dict of str to int).

    Keys: allocated_bytes (in use), cached_bytes (kept for reuse), peak_bytes (most ever in
    use), allocations, cache_hits, cache_limit (bytes; FASTNN_CACHE_BYTES at start).
    """
    cdef fnn_memory_stats s
    fnn_memory_stats_read(&s)
    return {"allocated_bytes": s.allocated_bytes, "cached_bytes": s.cached_bytes,
            "peak_bytes": s.peak_bytes, "allocations": s.allocations,
            "cache_hits": s.cache_hits, "cache_limit": s.cache_limit}


def empty_cache():
    """Returns the allocator's unused blocks to the system."""
    fnn_memory_empty_cache()
