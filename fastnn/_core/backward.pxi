# The backward pass: from roots, over pending nodes, to the leaves.
#
# It always takes the pending node with the highest number: every call that used its outputs
# came later, so its gradient is complete. No recursion, so depth is bounded by memory alone.

import os
import threading

cdef int push(list heap, Node node) except -1:
    """Into a binary heap, highest number first."""
    cdef Py_ssize_t i, parent
    heap.append(node)
    i = len(heap) - 1
    while i > 0:
        parent = (i - 1) >> 1
        if (<Node> heap[parent]).number >= node.number:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = node
    return 0


cdef Node pop(list heap):
    cdef Node top = <Node> heap[0]
    cdef Node last = <Node> heap.pop()
    cdef Py_ssize_t n = len(heap), i = 0, child
    if n == 0:
        return top
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and (<Node> heap[child + 1]).number > (<Node> heap[child]).number:
            child += 1
        if (<Node> heap[child]).number <= last.number:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = last
    return top


cdef Tensor fit(Tensor g, const Meta *meta):
    """g summed over the dimensions that were broadcast, in the input's dtype."""
    cdef int extra = g.t.ndim - meta.ndim
    cdef int d
    cdef bint same = extra == 0
    cdef list dims
    if same:
        for d in range(meta.ndim):
            same = same and g.t.shape[d] == meta.shape[d]
    if not same:
        dims = list(range(max(extra, 0)))
        for d in range(meta.ndim):
            if extra + d >= 0 and g.t.shape[extra + d] != meta.shape[d]:
                if meta.shape[d] != 1:
                    return None
                dims.append(extra + d)
        if dims:
            g = run_op(SUM, (g, tuple(dims), True), None)
        if extra > 0:
            g = run_op(<Op> RESHAPE, (g, tuple([meta.shape[d] for d in range(meta.ndim)])),
                       None)
        elif extra < 0:
            return None
    if g.t.dtype != meta.dtype:
        g = run_op(COPY, (g, meta.dtype), None)
    return g


cdef object RESHAPE = None


cdef Tensor add_up(object a, Tensor b):
    return b if a is None else run_op(ADD, (a, b), None)


cdef int send(dict pending, list heap, Node node, int output, Tensor g) except -1:
    """Adds g to the gradient of a node's output; a node that gets its first becomes pending."""
    cdef list gys = pending.get(node)
    if gys is None:
        gys = pending[node] = [None] * node.n_out
        push(heap, node)
    gys[output] = add_up(gys[output], g)
    return 0


cdef object apply_hooks(dict hooks, object g):
    for hook in list(hooks.values()):
        if recorder is not None:
            recorder.effect("a hook on a gradient was called")
        replaced = hook(g)
        if replaced is not None:
            if not isinstance(replaced, type(g)):
                kind = "tensor" if isinstance(g, Tensor) else "RowGradient"
                raise TypeError(f"hook: expected a {kind} or None, got "
                                f"{type(replaced).__name__}")
            if replaced.dtype is not g.dtype or replaced.shape != g.shape:
                raise ValueError(f"hook: expected a gradient of {g.dtype.name} {g.shape}, "
                                 f"got {replaced.dtype.name} {replaced.shape}")
            g = replaced
    return g


cdef int accumulate(Tensor leaf, object g, bint create_graph, set taken) except -1:
    """leaf.grad += g. The first gradient is kept as it is if no one else can see it.

    Under a lock: another thread may add to the same leaf, and kernels run without the GIL.
    """
    with leaf_lock:
        tell_read(leaf)
        if isinstance(g, RowGradient):
            add_rows_to_leaf(leaf, <RowGradient> g, taken)
        else:
            add_to_leaf(leaf, <Tensor> g, create_graph, taken)
    return 0


leaf_lock = threading.RLock()


def _new_lock():
    global leaf_lock
    leaf_lock = threading.RLock()


os.register_at_fork(after_in_child=_new_lock)  # its holder may not exist in the child


cdef int add_to_leaf(Tensor leaf, Tensor g, bint create_graph, set taken) except -1:
    cdef object held = held_gradient(leaf)
    cdef Tensor old = None
    if isinstance(held, RowGradient):
        hold_gradient(leaf, dense_rows(<RowGradient> held))
    old = leaf.gradient
    if old is not None:
        if not create_graph and not old.tracked and old.t.storage.refs == 1 and \
                not old.t.storage.read_only:
            run_op(ADD_, (old, g), None)
        else:
            hold_gradient(leaf, run_op(ADD, (old, g), None))
    elif create_graph:
        hold_gradient(leaf, run_op(COPY, (g,), None))  # g may be the user's, or another leaf's
    else:
        hold_gradient(leaf, own(g, taken))
    return 0


cdef Tensor own(Tensor g, set taken):
    """g, or a copy of it where others can see its memory."""
    if g.t.storage.refs > 1 or g.is_view or not fnn_is_contiguous(&g.t) or \
            <size_t> g.t.storage in taken:
        g = run_op(COPY, (g,), None)
    taken.add(<size_t> g.t.storage)
    return alias(g)


cdef int add_rows_to_leaf(Tensor leaf, RowGradient g, set taken) except -1:
    """What was there is not added to: the two are put together."""
    cdef object old = held_gradient(leaf)
    if isinstance(old, RowGradient):
        hold_gradient(leaf, join_rows([old, g]))
    elif old is not None:
        hold_gradient(leaf, run_op(ADD, (old, dense_rows(g)), None))
    else:
        hold_gradient(leaf, RowGradient(own(g.indices, taken), own(g.values, taken), g.shape))
    return 0


cdef Tensor as_recorded(object x):
    """x as a Tensor that a pass can start from or lead to."""
    if not isinstance(x, Tensor):
        raise TypeError(f"backward: expected tensors, got {type(x).__name__}")
    check_made(<Tensor> x)
    return <Tensor> x


cdef object seed(Tensor root, gradient):
    """The gradient that a root starts from."""
    cdef Tensor g
    if not root.tracked:
        raise RuntimeError("backward: expected a tensor that was recorded, got one that does "
                           "not require grad (hint: results of a compiled function carry no "
                           "graph; call backward() inside it)")
    check_view("backward", root)
    if gradient is None:
        if fnn_numel(&root.t) != 1:
            raise RuntimeError("backward: expected gradient= for a result of more than one "
                               f"element, got shape {root.shape}")
        g = run_op(COPY, (1.0, root.t.dtype), None)
        return run_op(<Op> RESHAPE, (g, root.shape), None) if root.t.ndim else g
    if not isinstance(gradient, Tensor):
        raise TypeError(f"backward: expected gradient as a tensor, got "
                        f"{type(gradient).__name__}")
    g = <Tensor> gradient
    if g.shape != root.shape or g.t.dtype != root.t.dtype:
        raise ValueError(f"backward: expected gradient of {root.dtype.name} {root.shape}, "
                         f"got {g.dtype.name} {g.shape}")
    return g if fnn_grad_enabled and g.tracked else alias(g)


cdef set leading_to(list roots, list inputs):
    """The nodes and leaves between roots and inputs, these included."""
    cdef set found = set(), seen = set()
    cdef Tensor x
    cdef Node node
    cdef list stack = []
    for x in inputs:
        found.add(x if x.node is None else x.node)
    for x in roots:
        if x.node is not None:
            stack.append((x.node, False))
    while stack:
        node, done = stack.pop()
        if done:
            for edge in node.edges:
                if edge is not None and edge in found:
                    found.add(node)
                    break
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            for edge in node.edges:
                if isinstance(edge, Node) and edge not in seen:
                    stack.append((edge, False))
    return found


cdef object run_node(Node node, list gys, bint create_graph):
    """The gradients of a node's inputs (tuple), through its composite if need be."""
    cdef Op op
    if create_graph and node.op is not None and (<Op> node.op).composite is not None:
        op = <Op> node.op
        return installed["composite_gradient"](node, op.composite, node.unpack(), gys[0])
    grads = node.function(node, *gys)
    if not isinstance(grads, (tuple, list)):
        grads = (grads,)
    if len(grads) != node.n_in:
        raise RuntimeError(f"backward of {node.name}: expected {node.n_in} gradients, got "
                           f"{len(grads)}")
    return grads


def set_composite_gradient(function):
    """Supplies function(node, composite, saved, gy) -> input gradients."""
    installed["composite_gradient"] = function


cdef list run_backward(list roots, list gradients, retain_graph, bint create_graph,
                       inputs, bint accumulates):
    """The pass behind backward() and grad(). Gradients of `inputs`, or None if not asked."""
    global fnn_grad_enabled
    cdef bint retain = create_graph if retain_graph is None else retain_graph
    cdef bint old_mode = fnn_grad_enabled
    cdef dict pending = {}   # Node -> [gradient of each output]
    cdef dict leaves = {}    # leaf Tensor -> gradient
    cdef dict wanted = {}    # (Node, output) -> index into inputs
    cdef list heap = []
    cdef list result = None if inputs is None else [None] * len(inputs)
    cdef list gys
    cdef set useful = None
    cdef Tensor root, g, x
    cdef RowGradient rows
    cdef Node node
    cdef int i
    for item in roots:
        as_recorded(item)
    if inputs is not None:
        for i in range(len(inputs)):
            x = as_recorded(inputs[i])
            if not x.tracked:
                raise RuntimeError("grad: expected inputs that require grad, got one that "
                                   f"does not (input {i})")
            if x.node is not None:
                wanted.setdefault((x.node, x.output), []).append(i)
        useful = leading_to(roots, inputs)
    fnn_grad_enabled = create_graph
    try:
        for item, gradient in zip(roots, gradients):
            root = <Tensor> item
            g = seed(root, gradient)
            if root.node is None:
                if useful is None or root in useful:
                    leaves[root] = add_up(leaves.get(root), g)
                continue
            send(pending, heap, root.node, root.output, g)
        while heap:
            node = pop(heap)
            gys = pending.pop(node)
            if node.output_hooks is not None:
                for output, hooks in node.output_hooks.items():
                    if gys[output] is not None:
                        gys[output] = apply_hooks(hooks, gys[output])
            if node.retained is not None and accumulates:
                for output, ref in node.retained.items():
                    x = ref()
                    if x is not None and gys[output] is not None:
                        accumulate(x, alias(gys[output]) if not create_graph
                                   else gys[output], create_graph, set())
            if wanted:
                for i in range(node.n_out):
                    for k in wanted.get((node, i), ()):
                        result[k] = gys[i]
                        if accumulates and gys[i] is not None and \
                                not (<Tensor> inputs[k]).retains_grad:
                            accumulate(inputs[k], alias(gys[i]) if not create_graph
                                       else gys[i], create_graph, set())
            if useful is not None:
                node.asked = [edge is not None and edge in useful for edge in node.edges]
                if True not in node.asked:
                    node.asked = None
                    continue
            try:
                grads = run_node(node, gys, create_graph)
            finally:
                node.asked = None
            for i in range(node.n_in):
                edge = node.edges[i]
                if edge is None or grads[i] is None:
                    continue
                if useful is not None and edge not in useful:
                    continue
                if isinstance(grads[i], RowGradient):
                    rows = rows_for(<RowGradient> grads[i], node, i)
                    if isinstance(edge, Tensor):
                        leaves[edge] = add_to_either(leaves.get(edge), rows)
                    else:  # the table is a result
                        send(pending, heap, <Node> edge, node.edge_output[i],
                             dense_rows(rows))
                    continue
                if not isinstance(grads[i], Tensor):
                    raise TypeError(f"backward of {node.name}: expected tensors, got "
                                    f"{type(grads[i]).__name__} for input {i}")
                g = fit(<Tensor> grads[i], &node.meta[i])
                if g is None:
                    raise RuntimeError(
                        f"backward of {node.name}: expected a gradient of shape "
                        f"{node.shape(i)} for input {i}, got {grads[i].shape}")
                if node.op is None and not create_graph and g is grads[i]:
                    g = alias(g)  # the custom function may hold on to it
                if isinstance(edge, Tensor):
                    leaves[edge] = add_to_either(leaves.get(edge), g)
                    continue
                send(pending, heap, <Node> edge, node.edge_output[i], g)
            if not retain:
                node.free()
        g = None
        gys = grads = None
        finish_leaves(leaves, inputs, result, create_graph, accumulates)
    finally:
        fnn_grad_enabled = old_mode
    return result


cdef int finish_leaves(dict leaves, inputs, list result, bint create_graph,
                       bint accumulates) except -1:
    """Hooks, then .grad or the results of grad(). Only leaves that were asked for are here."""
    cdef Tensor leaf
    cdef object g
    cdef set taken = set()
    cdef int i
    for leaf in list(leaves):
        g = leaves.pop(leaf)
        if type(g) is list:
            g = join_rows(<list> g)
        if leaf.hooks:
            g = apply_hooks(leaf.hooks, g if create_graph or isinstance(g, RowGradient)
                            else alias(<Tensor> g))
        if inputs is not None:
            for i, x in enumerate(inputs):
                if x is leaf:
                    result[i] = g
        if accumulates:
            accumulate(leaf, g, create_graph, taken)
    return 0


def backward(tensors, gradients, retain_graph, create_graph, inputs):
    """autograd.backward; see there."""
    run_backward(list(tensors), list(gradients), retain_graph, create_graph,
                 None if inputs is None else list(inputs), True)


def grad(outputs, inputs, gradients, retain_graph, create_graph, allow_unused):
    """autograd.grad; see there."""
    result = run_backward(list(outputs), list(gradients), retain_graph, create_graph,
                          list(inputs), False)
    if not allow_unused:
        for i, g in enumerate(result):
            if g is None:
                raise RuntimeError(f"grad: expected outputs that depend on every input, got "
                                   f"none that depends on input {i} (hint: "
                                   "allow_unused=True)")
    return tuple(result)
