# What a call writes: apart from what it reads, allowed at all, and seen by whoever saved the
# old values. Included by core.pyx after op.pxi.


cdef inline bint is_written(const fnn_call *c, int i) noexcept:
    """Whether tensor i of a call is written."""
    if c.op.writes == 0:
        return False
    return c.op.writes >> (fnn_input_of(c, i) if c.op.many else i) & 1


cdef bint overlap(const fnn_tensor *a, const fnn_tensor *b):
    cdef const char *a_lo
    cdef const char *a_hi
    cdef const char *b_lo
    cdef const char *b_hi
    fnn_byte_range(a, &a_lo, &a_hi)
    fnn_byte_range(b, &b_lo, &b_hi)
    return a_lo < b_hi and b_lo < a_hi


cdef bint collides(const fnn_op *op, const fnn_tensor *read, const fnn_tensor *written):
    """Whether writing could change what is still to be read. By address: two storages may
    wrap one array's memory. Elementwise ops read an element before they write it."""
    if read == NULL or read.storage == NULL or read == written:
        return False
    if op.flags & FNN_ELEMENTWISE and fnn_same_layout(read, written):
        return False
    return overlap(read, written)


cdef bint lists_overlap(const fnn_call *c, const fnn_tensor *target,
                        bint only_written) except -1:
    """Whether a tensor of a call with lists overlaps with another that is written."""
    cdef fnn_range *ranges = <fnn_range *> PyMem_Malloc((c.n_in + 1) * sizeof(fnn_range))
    cdef int i, n = 0
    cdef bint found, written
    if ranges == NULL:
        raise MemoryError()
    for i in range(c.n_in):
        written = is_written(c, i)
        if c.in_[i] != NULL and (written or not only_written):
            fnn_byte_range(c.in_[i], &ranges[n].lo, &ranges[n].hi)
            ranges[n].written = written
            n += 1
    if target != NULL:
        fnn_byte_range(target, &ranges[n].lo, &ranges[n].hi)
        ranges[n].written = True
        n += 1
    found = fnn_any_overlap(ranges, n)
    PyMem_Free(ranges)
    return found


cdef object with_lists_apart(Op op, const fnn_call *c, tuple args, Tensor out):
    """run_op with the lists that are only read replaced by copies."""
    cdef list copied = list(args)
    cdef int i
    if lists_overlap(c, NULL, True):
        raise ValueError(f"{op.name}: expected tensors with memory of their own, got some "
                         "that overlap with what else is written")
    for i in range(op.op.n_in):
        if not op.op.writes >> i & 1 and args[i] is not None:
            copied[i] = [run_op(COPY, (x,), None) for x in args[i]] \
                if op.op.many >> i & 1 else run_op(COPY, (args[i],), None)
    return run_op(op, tuple(copied), out)


cdef uint32_t collisions(const fnn_call *c, const fnn_tensor *target):
    """Bit i: input i must be copied before the call writes."""
    cdef uint32_t found = 0
    cdef int i, k
    for i in range(c.n_in):
        if target != NULL and collides(c.op, c.in_[i], target):
            found |= 1u << i
        for k in range(c.n_in if c.op.writes else 0):
            if k != i and c.op.writes >> k & 1 and c.in_[k] != NULL and \
                    collides(c.op, c.in_[i], c.in_[k]):
                found |= 1u << i
    return found


cdef object without_collisions(Op op, tuple args, uint32_t found, Tensor out):
    """run_op with the inputs that collide with what is written replaced by copies."""
    cdef list copied = list(args)
    cdef int i
    for i in range(op.op.n_in):
        if found >> i & 1:
            if op.op.writes >> i & 1:
                raise ValueError(f"{op.name}: expected {op.inputs[i]} with memory of its own, "
                                 "got some that overlaps with what else is written")
            copied[i] = run_op(COPY, (copied[i],), None)
    return run_op(op, tuple(copied), out)


cdef Tensor before_write(Op op, Tensor target, tuple inputs):
    """What target holds, where another input's gradient will need it; else None."""
    cdef Tensor kept
    for index, mask in op.saved:
        if index == 0:
            for i in range(1, len(inputs)):
                if mask >> i & 1 and isinstance(inputs[i], Tensor) and \
                        (<Tensor> inputs[i]).tracked:
                    kept = run_op(COPY, (alias(target),), None)
                    kept.node = target.node
                    kept.output = target.output
                    kept.tracked = target.tracked
                    return kept
    return None


cdef int check_out(Op op, Tensor out, const fnn_tensor *expected, bint track) except -1:
    check_made(out)
    if out.t.dtype != expected.dtype or shape_tuple(&out.t) != shape_tuple(expected):
        raise ValueError(f"{op.name}: expected out of {DTYPES[expected.dtype].name} "
                         f"{shape_tuple(expected)}, got {out.dtype.name} {out.shape}")
    if fnn_grad_enabled and (track or out.tracked):
        raise RuntimeError(f"{op.name}: expected no gradients with out= (hint: no_grad())")
    for d in range(out.t.ndim if fnn_numel(&out.t) else 0):
        if out.t.stride[d] == 0 and out.t.shape[d] > 1:
            raise ValueError(f"{op.name}: expected out with memory for every element, got an "
                             "expanded view")
    return 0


cdef int check_writes(Op op, fnn_call *c, Tensor target, bint track) except -1:
    cdef int i
    for i in range(c.n_in):
        if is_written(c, i) and c.in_[i] != NULL and c.in_[i].storage.read_only:
            name = op.inputs[fnn_input_of(c, i)]
            raise ValueError(f"{op.name}: expected {name} that may be written, got "
                             "read-only memory (hint: clone())")
    if target is None:
        return 0
    if target.t.storage.read_only:
        raise ValueError(f"{op.name}: expected memory that may be written, got read-only "
                         "memory (hint: clone())")
    if fnn_grad_enabled and target.unrecorded:
        raise RuntimeError(f"{op.name}: expected a view whose change can be recorded, got one "
                           "taken under no_grad of a tensor that requires grad (hint: change "
                           "it under no_grad, or detach())")
    if fnn_grad_enabled and (target.tracked or track):
        if target.tracked and target.node is None:
            raise RuntimeError(f"{op.name}: expected a result or a tensor that does not "
                               "require grad, got a leaf that does (hint: no_grad())")
        if target.is_view and target.t.storage.refs == 1:
            target.is_view = False  # all that it was a view of is gone
        if target.is_view:
            raise RuntimeError(f"{op.name}: expected a whole tensor, got a view, whose "
                               "change in place cannot be recorded (hint: where or cat "
                               "build the result, no_grad() or detach() leave the graph)")
    return 0


cdef void bump_versions(fnn_call *c, Tensor target) noexcept:
    cdef int i
    for i in range(c.n_in):
        if is_written(c, i) and c.in_[i] != NULL:
            c.in_[i].storage.version += 1
    if target is not None and not c.op.flags & FNN_INPLACE:
        c.out[0].storage.version += 1


cdef inline int check_view(str name, Tensor x) except -1:
    """A view's own history ends where a change of its base was recorded."""
    if x.is_view and x.view_history != x.t.storage.history:
        stale_view(name)
    return 0


cdef int stale_view(str name) except -1:
    raise RuntimeError(f"{name}: expected a view of what is there now, got one taken before "
                       "a recorded change in place of its memory (hint: take the view again)")
