# Programs: graphs in C; the memory that they run in, and what was made ahead for them.

HOMES = {"argument": FNN_ARGUMENT, "external": FNN_HELD, "constant": FNN_HELD,
         "folded": FNN_HELD, "internal": FNN_ARENA, "fresh": FNN_FRESH}


@cython.final
cdef class Program:
    """A graph in C, see csrc/plan/plan.h.

    Parameters:
        buffers : (home, index, Tensor or None); homes are HOMES' values.
        values : (buffer or -1, given, dtype code, shape, strides, offset in bytes, {position:
            factor} of sizes that follow the batch, number or None, factor of the number);
            a call's outputs stand one after another.
        calls : (Op, inputs (-1 where absent), outputs, attributes, count, into, {(attribute,
            position): factor}).
        arguments : values of the arguments.
        groups : (first call, one past the last).
    """

    cdef fnn_program *p
    cdef readonly list calls

    def __init__(self, list buffers, list values, list calls, list arguments, list groups):
        cdef Py_ssize_t i, k
        cdef fnn_plan_buffer *b
        cdef fnn_plan_value *v
        cdef fnn_plan_call *c
        cdef Tensor x
        cdef Op op
        if self.p != NULL:
            raise RuntimeError("Program: expected to be made once")
        self.p = fnn_program_new(<int> len(buffers), <int> len(values), <int> len(calls),
                                 <int> len(arguments), <int> len(groups))
        if self.p == NULL:
            raise MemoryError("plan: expected memory for the program")
        self.calls = calls
        for i in range(len(buffers)):
            home, index, tensor = buffers[i]
            b = &self.p.buffers[i]
            b.home = home
            b.index = index
            if home == FNN_HELD:
                x = <Tensor> tensor
                check_made(x)
                b.storage = x.t.storage
                fnn_storage_retain(b.storage)
            elif home == FNN_FRESH:
                self.p.n_fresh = max(self.p.n_fresh, b.index + 1)
        for i in range(len(values)):
            buffer, given, code, shape, strides, offset, scales, number, scale = values[i]
            v = &self.p.values[i]
            v.buffer = buffer
            v.given = given
            v.layout.dtype = code
            v.layout.ndim = <int32_t> len(shape)
            v.layout.data = <char *> <size_t> offset
            for k in range(len(shape)):
                v.layout.shape[k] = shape[k]
                v.layout.stride[k] = strides[k]
            for position, factor in scales.items():
                v.factor[position] = factor
            if number is not None:
                v.number_factor = scale
                if isinstance(number, bool):
                    v.number.b = number
                elif isinstance(number, int):
                    v.number.i = number
                else:
                    v.number.f = number
        for i in range(len(calls)):
            op, ins, outs, attrs, count, into, scales, weak = calls[i]
            if not fnn_program_call(self.p, <int> i, op.op, <int> len(ins),
                                    <int> len(scales)):
                raise MemoryError("plan: expected memory for the program")
            c = &self.p.calls[i]
            c.count = count
            c.into = into
            c.weak_in = weak
            for k in range(len(ins)):
                c.in_[k] = ins[k]
            for k in range(len(outs)):
                c.out[k] = outs[k]
            pack_attrs(op, attrs, 0, c.attr)
            for k, (place, factor) in enumerate(scales.items()):
                c.scales[k].attr = place[0]
                c.scales[k].at = place[1]
                c.scales[k].factor = factor
        for i in range(len(arguments)):
            self.p.arguments[i] = arguments[i]
        for i in range(len(groups)):
            self.p.groups[i][0] = groups[i][0]
            self.p.groups[i][1] = groups[i][1]

    def __dealloc__(self):
        fnn_program_free(self.p)


cdef int64_t LARGE_ARENA = 16 << 20  # bytes that are worth giving others back for


@cython.final
cdef class Arena:
    """Memory that replays run in, one at a time. It grows, and never moves while busy."""

    cdef char *data
    cdef readonly int64_t nbytes
    cdef bint busy

    def __dealloc__(self):
        fnn_free(self.data)

    cdef int reach(self, int64_t nbytes) except -1:
        if nbytes > self.nbytes or self.data == NULL:
            fnn_free(self.data)
            self.data, self.nbytes = NULL, 0
            if nbytes > LARGE_ARENA:  # what the recorded calls have used and kept
                fnn_memory_empty_cache()
            self.data = <char *> fnn_alloc(nbytes)
            if self.data == NULL:
                raise MemoryError(f"plan: expected {nbytes} bytes of memory")
            self.nbytes = nbytes
        return 0


@cython.final
cdef class Folded:
    """What was made ahead from tensors that outlive calls; all replays of a plan share it.

    Parameters:
        sources : the Tensors that it was made from, as they are now.
        refold : callable(): makes it again.
    """

    cdef readonly list sources
    cdef uint64_t *versions  # of the sources, when they were looked at
    cdef uint64_t *lent      # how often they were lent to NumPy and others by then
    cdef bint was_lent       # others could write a source then
    cdef bint done           # nothing went wrong when it was made
    cdef object refold

    def __init__(self, list sources, refold):
        if self.versions != NULL:
            raise RuntimeError("Folded: expected to be made once")
        self.versions = <uint64_t *> PyMem_Malloc(2 * (len(sources) + 1) * sizeof(uint64_t))
        if self.versions == NULL:
            raise MemoryError()
        self.lent = self.versions + len(sources) + 1
        self.sources, self.refold = sources, refold
        self.look()
        self.done = False  # a source may have changed since the passes ran

    def __dealloc__(self):
        PyMem_Free(self.versions)

    cdef bint look(self):
        """Takes down how the sources are; whether one has changed, or may have."""
        cdef Py_ssize_t i
        cdef bint moved = self.was_lent, lent = False
        cdef fnn_storage *s
        for i in range(len(self.sources)):
            s = (<Tensor> self.sources[i]).t.storage
            moved = moved or s.version != self.versions[i] or s.lent != self.lent[i]
            lent = lent or exposed(s)
            self.versions[i] = s.version
            self.lent[i] = s.lent
        self.was_lent = lent
        return moved or lent

    cdef int renew(self) except -1:
        """Makes it again where a source has changed, or may have."""
        if self.look() or not self.done:
            self.done = False  # until it is, whatever happens
            self.refold()
            self.done = True
        return 0
