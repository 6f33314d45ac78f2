# Compiled: the way into a compiled function. And tensors or arrays, as replays see them.

cdef class Compiled:
    """The way into a compiled function: the last replay if it fits, else dispatch()."""

    cdef list replays  # that were used last, newest first
    cdef object __weakref__

    def __cinit__(self):
        self.replays = []

    def __call__(self, *args, out=None, **kwargs):
        cdef char *few[FEW]
        cdef Replay r
        cdef Py_ssize_t i
        if not kwargs and recorder is None and len(args) <= FEW:
            for i in range(len(self.replays)):
                r = <Replay> self.replays[i]
                if r.take(args, few) and r.current():
                    return r.run(args, few, out)
        return self.dispatch(args, kwargs, out)

    def dispatch(self, tuple args, dict kwargs, out):
        """Finds or makes what a call needs, and calls it."""
        raise NotImplementedError

    def remember(self, Replay r not None):
        """Makes r the first to be tried."""
        if r in self.replays:
            self.replays.remove(r)
        self.replays.insert(0, r)
        del self.replays[8:]

    def forget(self):
        """Tries none before dispatch."""
        self.replays.clear()


# ---- tensors or arrays ------------------------------------------------------------------

cdef char **room(char **few, Py_ssize_t n) except NULL:
    """Place for n addresses: few, or memory for more."""
    cdef char **data = few
    if n > FEW:
        data = <char **> PyMem_Malloc(n * sizeof(char *))
        if data == NULL:
            raise MemoryError()
    return data


cdef void leave_room(char **few, char **data):
    if data != few:
        PyMem_Free(data)


cdef char *address(object x):
    if isinstance(x, Tensor):
        return (<Tensor> x).t.data
    return <char *> cnp.PyArray_DATA(<cnp.ndarray> x)


cdef fnn_tensor tensor_at(object x):
    """The layout of a tensor or contiguous array."""
    cdef fnn_tensor t
    cdef int d
    if isinstance(x, Tensor):
        return (<Tensor> x).t
    cdef cnp.ndarray a = <cnp.ndarray> x
    if not cnp.PyArray_ISCARRAY_RO(a):
        t = from_array(a).t  # only its layout
        t.storage = NULL
        return t
    t.data = <char *> cnp.PyArray_DATA(a)
    t.dtype = -1
    for d in range(FNN_N_DTYPES):
        if NUMPY_NUMBER[d] == cnp.PyArray_TYPE(a):
            t.dtype = d
    t.ndim = min(cnp.PyArray_NDIM(a), FNN_MAX_DIMS)
    for d in range(t.ndim):
        t.shape[d] = cnp.PyArray_DIM(a, d)
    fnn_set_contiguous(&t)
    return t


cdef bint within(const fnn_tensor *t, const fnn_storage *s):
    cdef const char *lo
    cdef const char *hi
    cdef const char *base = <const char *> s.data
    fnn_byte_range(t, &lo, &hi)
    return lo < base + s.nbytes and base < hi


cdef int written_to(object x) except -1:
    if isinstance(x, Tensor):
        (<Tensor> x).t.storage.version += 1
    return 0


cdef int copy_out(object to, Tensor y) except -1:
    run_op(COPY_, (to if isinstance(to, Tensor) else from_array(<cnp.ndarray> to), y), None)
    return 0
