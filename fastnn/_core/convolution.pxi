# What a convolution would do, without doing it.

def convolution_algorithm(Op op not None, int dtype, tuple shapes, tuple attrs):
    """The number of the algorithm that a call of conv, conv_act, conv_transpose or
    conv_weight takes for two operands of these shapes (fnn_conv_algorithm)."""
    cdef fnn_call c
    cdef fnn_tensor operands[2]
    cdef fnn_tensor *ins[6]
    cdef fnn_tensor out
    cdef fnn_attr attrs_[8]
    cdef fnn_error err
    cdef int i, d
    if op.op.run[0] != fnn_run_conv or len(shapes) != 2:
        raise TypeError(f"convolution_algorithm: expected a convolution, got {op.name}")
    for i in range(6):
        ins[i] = NULL
    for i in range(2):
        operands[i].storage, operands[i].data = NULL, NULL
        operands[i].dtype = dtype
        operands[i].ndim = <int32_t> min(len(shapes[i]), 8)
        for d in range(operands[i].ndim):
            operands[i].shape[d] = shapes[i][d]
        fnn_set_contiguous(&operands[i])
        ins[i] = &operands[i]
    c.op, c.n_in, c.count, c.in_, c.weak_in = op.op, op.op.n_in, 0, ins, 0
    c.attr, c.out, c.workspace, c.threads, c.err = attrs_, &out, NULL, 1, &err
    pack_attrs(op, attrs, 0, attrs_)
    cdef fnn_status status = op.op.infer(&c)
    if status != FNN_OK:
        error(status, err.text)
    return fnn_conv_chosen(&c)
