# Groups (csrc/plan/group.h) by themselves, for tests: a plan makes its own.

cdef struct group_call:
    fnn_call call
    fnn_tensor out
    fnn_tensor scalar[4]
    double number[4]
    fnn_tensor *ins[4]
    fnn_attr attrs[8]


cdef int infer_in_group(group_call *calls, int i, Op op, tuple inputs, tuple attrs,
                        fnn_error *err) except -1:
    """Call i on tensors, numbers and ("result", earlier call), with its result's shape."""
    cdef group_call *g = &calls[i]
    cdef int k
    if op.op.n_out != 1 or op.op.many or not len(inputs) == op.op.n_in <= 4:
        raise TypeError(f"{op.name}: expected an op of one result and its inputs")
    g.call.op = op.op
    g.call.n_in = op.op.n_in
    g.call.in_ = g.ins
    g.call.attr = g.attrs
    g.call.out = &g.out
    g.call.threads = fnn_num_threads()
    g.call.err = err
    for k in range(op.op.n_in):
        value = inputs[k]
        if isinstance(value, Tensor):
            check_made(<Tensor> value)
            g.ins[k] = &(<Tensor> value).t
        elif isinstance(value, tuple):
            if not 0 <= value[1] < i:
                raise IndexError(f"{op.name}: expected an earlier result, got {value[1]}")
            g.ins[k] = &calls[<int> value[1]].out
        else:
            g.ins[k] = &g.scalar[k]
            g.scalar[k].data = <char *> &g.number[k]
            g.call.weak_in |= 1u << k
            if isinstance(value, float):
                g.scalar[k].dtype = FNN_FLOAT64
                g.number[k] = value
            else:
                set_integer(op, &g.scalar[k], value)
    pack_attrs(op, attrs, 0, g.attrs)
    cdef fnn_status status = op.op.infer(&g.call)
    if status != FNN_OK:
        error(status, err.text)
    return 0


def run_group(calls, scratch, into=None):
    """Runs calls (op, inputs, attributes) as a group, see csrc/plan/group.h.

    An input is a tensor, a number, or ("result", i): what call i made. scratch says of each
    call whether its result needs no memory; into maps calls to tensors of the right dtype
    and shape that their results are written to. Returns the results, None for those (list of
    Tensor or None); None where the calls do not fit a group.
    """
    cdef int i, n = <int> len(calls)
    cdef fnn_error err
    cdef fnn_group g
    cdef void *workspace = NULL
    cdef group_call *each = <group_call *> PyMem_Calloc(n, sizeof(group_call))
    cdef fnn_call **pointers = <fnn_call **> PyMem_Calloc(n, sizeof(fnn_call *))
    cdef cbool *without = <cbool *> PyMem_Calloc(n, sizeof(cbool))
    cdef fnn_group_plan *plan = <fnn_group_plan *> PyMem_Calloc(1, fnn_group_bytes(n))
    try:
        if each == NULL or pointers == NULL or without == NULL or plan == NULL:
            raise MemoryError()
        for i in range(n):
            op, inputs, attrs = calls[i]
            infer_in_group(each, i, op, tuple(inputs), tuple(attrs), &err)
            pointers[i] = &each[i].call
            without[i] = scratch[i]
        g = fnn_group(pointers, n, without)
        if not fnn_group_prepare(plan, &g, fnn_num_threads()):
            return None
        for i in range(n):
            if into is not None and i in into:
                each[i].out = (<Tensor> into[i]).t
                fnn_storage_retain(each[i].out.storage)
            elif not without[i]:
                each[i].out.storage = fnn_storage_new(
                    fnn_numel(&each[i].out) * fnn_dtype_size(each[i].out.dtype))
                if each[i].out.storage == NULL:
                    raise MemoryError()
                each[i].out.data = <char *> each[i].out.storage.data
        workspace = fnn_alloc(fnn_group_workspace(plan))
        if workspace == NULL:
            raise MemoryError()
        with nogil:
            fnn_group_run(plan, workspace)
        results = []
        for i in range(n):
            results.append(None if without[i] else wrap(&each[i].out))
            each[i].out.storage = NULL
        return results
    finally:
        if workspace != NULL:
            fnn_free(workspace)
        for i in range(n):
            if each != NULL and each[i].out.storage != NULL:
                fnn_storage_release(each[i].out.storage)
        PyMem_Free(each)
        PyMem_Free(pointers)
        PyMem_Free(without)
        PyMem_Free(plan)
