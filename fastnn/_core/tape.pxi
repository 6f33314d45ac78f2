# The tape: a Node for every recorded call, numbered as they are made.

import weakref

cdef uint64_t node_count = 0


cdef struct Meta:
    int32_t dtype
    int32_t ndim
    int64_t shape[8]


# What dying nodes held. A node that died inside another's death would recurse as deep as the
# graph; instead it leaves its belongings here, and the first one takes them apart in a loop.
cdef list remains = []
cdef bint burying = False


cdef void bury(Node node) noexcept:
    global burying
    remains.append(node.edges)
    remains.append(node.kept)
    if node.op is None:  # a custom function, whose context may hold tensors
        remains.append(node.function)
    node.edges = node.kept = node.function = None
    if burying:
        return
    burying = True
    while remains:
        remains.pop()
    burying = False


@cython.final
@cython.freelist(128)
cdef class Node:
    """A recorded call, as gradient functions see it.

    Attributes:
        saved : what set_gradient's saves named, in that order (Tensor, number, or None
            where no wanted gradient needs it).
        attrs : the op's attributes as they were passed (tuple).
    """

    cdef readonly str name
    cdef uint64_t number
    cdef object op          # Op, or None for a custom function
    cdef object function    # gradient(node, *gy)
    cdef readonly tuple attrs
    cdef tuple edges        # per input: Node, leaf Tensor or None
    cdef Meta *meta         # per input
    cdef int *edge_output   # per input: which output of the edge's node
    cdef int n_in, n_out
    cdef tuple kept         # saved tensors and numbers
    cdef uint64_t *versions # of the saved tensors
    cdef uint32_t kept_output  # bit i: kept[i] is an output
    cdef tuple kept_from       # which one, by i; None: output 0
    cdef list asked         # during a pass for some inputs alone: which edges lead there
    cdef bint freed
    cdef dict output_hooks  # output -> {id: hook}
    cdef dict retained      # output -> weakref to the tensor
    cdef object __weakref__

    def __dealloc__(self):
        fnn_free(self.meta)
        bury(self)

    @property
    def saved(self):
        return self.unpack()

    @property
    def next_functions(self):
        """The calls that made the inputs: tuple of (Node or leaf Tensor or None, output)."""
        return tuple([(self.edges[i], self.edge_output[i]) for i in range(self.n_in)])

    def needs(self, int i):
        """Whether the gradient of input i is wanted (bool)."""
        return self.edges[i] is not None and (self.asked is None or self.asked[i])

    def shape(self, int i):
        """Shape of input i (tuple of int)."""
        cdef int d
        return tuple([self.meta[i].shape[d] for d in range(self.meta[i].ndim)])

    def dtype(self, int i):
        """dtype of input i."""
        return DTYPES[self.meta[i].dtype]

    def __repr__(self):
        return f"<{self.name}>"

    cdef tuple unpack(self):
        cdef Py_ssize_t i
        cdef Tensor x, again
        if self.freed:
            raise RuntimeError(f"backward: expected the graph of {self.name}, which an "
                               "earlier backward has freed (hint: retain_graph=True)")
        for i in range(len(self.kept)):
            if isinstance(self.kept[i], Tensor):
                x = <Tensor> self.kept[i]
                if x.t.storage.version != self.versions[i]:
                    raise RuntimeError(
                        f"backward: expected the tensor of shape {x.shape} that {self.name} "
                        f"saved, but it was changed in place (version {self.versions[i]}, "
                        f"now {x.t.storage.version}; hint: clone() before the change)")
        if self.kept_output == 0 or not fnn_grad_enabled:
            return self.kept
        result = list(self.kept)
        for i in range(len(result)):
            if self.kept_output >> i & 1 and result[i] is not None:
                again = alias(<Tensor> result[i])
                again.tracked = True
                again.node = self
                if self.kept_from is not None:
                    again.output = self.kept_from[i]
                result[i] = again
        return tuple(result)

    cdef dict hooks_of(self, int output):
        if self.output_hooks is None:
            self.output_hooks = {}
        return self.output_hooks.setdefault(output, {})

    cdef bint keeps(self, Tensor x):
        ref = None if self.retained is None else self.retained.get(x.output)
        return ref is not None and ref() is x

    cdef int keep(self, Tensor x) except -1:
        if self.retained is None:
            self.retained = {}
        self.retained[x.output] = weakref.ref(x)
        return 0

    cdef void free(self):
        self.kept = ()
        self.freed = True


cdef Node new_node(str name, tuple inputs, Py_ssize_t n_in, Py_ssize_t n_saved):
    """A node whose edges lead to the inputs that require grad."""
    global node_count
    cdef Node node = Node.__new__(Node)
    cdef Py_ssize_t i
    cdef Tensor x
    cdef list edges = [None] * n_in
    cdef Meta *meta
    node.meta = <Meta *> fnn_alloc(n_in * (sizeof(Meta) + sizeof(int)) +
                                   n_saved * sizeof(uint64_t))
    if node.meta == NULL:
        raise MemoryError("tape: expected memory for a node")
    node.versions = <uint64_t *> (node.meta + n_in)
    node.edge_output = <int *> (node.versions + n_saved)
    node.name = name
    node.number = node_count
    node_count += 1
    node.n_in = <int> n_in
    for i in range(n_in):
        if i >= len(inputs) or not isinstance(inputs[i], Tensor):
            continue
        x = <Tensor> inputs[i]
        meta = &node.meta[i]
        meta.dtype = x.t.dtype
        meta.ndim = x.t.ndim
        memcpy(meta.shape, x.t.shape, x.t.ndim * sizeof(int64_t))
        if x.tracked:
            edges[i] = x if x.node is None else x.node
            node.edge_output[i] = x.output
    node.edges = tuple(edges)
    return node


cdef int record(Op op, tuple inputs, Py_ssize_t n_in, tuple attrs, object result,
                Tensor first, Tensor before) except -1:
    """Puts a call on the tape; output 0 is differentiable, and those that the op's gradient
    names beside it. `before` is what input 0 held, where the call wrote it and its gradient
    needs it."""
    cdef Py_ssize_t n_saved = len(op.saved), i
    cdef Node node
    cdef list kept
    cdef int index
    cdef uint32_t mask, wanted = 0
    cdef Tensor x
    if not fnn_is_float(first.t.dtype):
        return 0
    node = new_node(op.name, inputs, n_in, n_saved)
    node.op = op
    node.function = op.gradient
    node.attrs = attrs
    node.n_out = op.op.n_out
    if n_saved:
        for i in range(min(n_in, 32)):
            if node.edges[i] is not None:
                wanted |= 1u << i
        kept = [None] * n_saved
        for i in range(n_saved):
            index, mask = op.saved[i]
            if not mask & wanted:
                continue
            if index < n_in:
                obj = inputs[index] if index < len(inputs) else None
                if index == 0 and before is not None:
                    obj = before
            elif index == n_in:
                obj = alias(first)  # without the node: no cycle
                node.kept_output |= 1u << i
            else:
                obj = result[index - n_in]
            kept[i] = obj
            if isinstance(obj, Tensor):
                x = <Tensor> obj
                node.versions[i] = x.t.storage.version
                if op.op.flags & FNN_INPLACE and index < n_in and \
                        x.t.storage == first.t.storage:
                    node.versions[i] -= 1  # this very call wrote it: no longer what it was
        node.kept = tuple(kept)
    else:
        node.kept = ()
    if first.node is not None and first.node.keeps(first):
        first.node.retained.pop(first.output)  # changed in place: .grad is of what it is now
        node.keep(first)
    if op.op.flags & FNN_INPLACE:
        first.t.storage.history += 1
    first.node = node
    first.output = 0
    first.tracked = True
    for i in op.further:
        x = <Tensor> result[i]
        x.node = node
        x.output = <int> i
        x.tracked = True
    return 0


def record_function(str name, inputs, outputs, backward, saved, saved_from):
    """Puts a custom function on the tape: backward(*gy) gives the inputs' gradients.

    saved_from : for each of saved, which output it is, or -1.
    """
    cdef Node node = new_node(name, tuple(inputs), len(inputs), len(saved))
    cdef Tensor y
    cdef Py_ssize_t i
    node.function = lambda n, *gy: backward(n, *gy)
    node.attrs = ()
    node.n_out = <int> len(outputs)
    node.kept = tuple(saved)
    node.kept_from = tuple(saved_from)
    for i in range(len(saved)):
        if isinstance(saved[i], Tensor):
            check_made(<Tensor> saved[i])
            node.versions[i] = (<Tensor> saved[i]).t.storage.version
            if node.kept_from[i] >= 0 and i < 32 and fnn_is_float((<Tensor> saved[i]).t.dtype):
                node.kept_output |= 1u << i
    for i in range(len(outputs)):
        y = as_recorded(outputs[i])
        if fnn_is_float(y.t.dtype):
            y.node = node
            y.output = <int> i
            y.tracked = True
    return node


def is_grad_enabled():
    """Whether calls are recorded for gradients in this thread (bool)."""
    return bool(fnn_grad_enabled)


def set_grad_enabled(bint mode):
    """Switches recording in this thread; returns what it was (bool)."""
    global fnn_grad_enabled
    old = bool(fnn_grad_enabled)
    fnn_grad_enabled = mode
    return old
