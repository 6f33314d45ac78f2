"""Gradients: modes, grad(), custom functions, and checks against finite differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from fastnn import _core
from fastnn._core import Tensor, is_grad_enabled

__all__ = [
    "Function",
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]

F = TypeVar("F", bound=Callable[..., Any])


class set_grad_enabled:  # noqa: N801 (PyTorch's name)
    """Switches recording on or off in this thread, at once and until the block ends."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self.previous = [_core.set_grad_enabled(mode)]

    def __enter__(self) -> None:
        _core.set_grad_enabled(self.mode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core.set_grad_enabled(self.previous[0])

    def __call__(self, function: F) -> F:
        """As a decorator: the mode holds inside function, and nowhere else."""
        _core.set_grad_enabled(self.previous[0])

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with set_grad_enabled(self.mode):
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class _Mode:
    """A mode as context manager and decorator."""

    mode: bool

    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        if function is None:
            return mode
        mode.__init__()  # type: ignore[misc]
        return mode(function)  # @no_grad without brackets

    def __init__(self, function: Any = None) -> None:
        self.previous: list[bool] = []

    def __enter__(self) -> None:
        self.previous.append(_core.set_grad_enabled(self.mode))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core.set_grad_enabled(self.previous.pop())

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_Mode):  # noqa: N801
    """Nothing is recorded inside `with no_grad():` or a function under @no_grad()."""

    mode = False


class enable_grad(_Mode):  # noqa: N801
    """Calls are recorded again inside a no_grad block."""

    mode = True


class inference_mode(_Mode):  # noqa: N801
    """As no_grad; inference_mode(False) changes nothing."""

    mode = False

    def __new__(cls, mode: Any = True) -> Any:
        return super().__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self.on = bool(mode)

    def __enter__(self) -> None:
        self.previous.append(_core.set_grad_enabled(is_grad_enabled() and not self.on))

    def __call__(self, function: F) -> F:
        return super().__call__(function) if self.on else function


def _sequence(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (tuple, list)) else [x]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Adds the gradient of sum_i <grad_i, tensor_i> into .grad of the leaves.

    See Tensor.backward. Raises: RuntimeError if nothing was recorded.
    """
    roots = _sequence(tensors)
    seeds = [None] * len(roots) if grad_tensors is None else _sequence(grad_tensors)
    if len(seeds) != len(roots):
        raise ValueError(f"backward: expected {len(roots)} gradients, got {len(seeds)}")
    _core.backward(
        roots,
        seeds,
        retain_graph,
        create_graph,
        None if inputs is None else _sequence(inputs),
    )


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """Gradients of sum_i <grad_i, output_i> with respect to inputs; .grad stays as it is.

    Parameters: outputs, inputs : Tensor or sequence. grad_outputs : of the outputs' shapes
        (default 1 for single elements). create_graph : record, so that the result can be
        differentiated again. allow_unused : None for inputs that outputs do not depend on.
    Returns: tuple of Tensors, one for each input.
    Raises: RuntimeError for an unused input, or a graph that was freed.
    """
    roots, leaves = _sequence(outputs), _sequence(inputs)
    seeds = [None] * len(roots) if grad_outputs is None else _sequence(grad_outputs)
    if len(seeds) != len(roots):
        raise ValueError(f"grad: expected {len(roots)} gradients, got {len(seeds)}")
    return _core.grad(roots, leaves, seeds, retain_graph, create_graph, allow_unused)


def _zeros(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return _core.tensor_from(np.zeros(shape), dtype, True)


# ---- custom functions -------------------------------------------------------------------


class _Context:
    """What Function.forward leaves for Function.backward."""

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self._node: Any = None
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors; a change in place before the backward pass raises there."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What save_for_backward kept."""
        if self._node is None:
            return self._saved
        node = self._node()
        if node is None:
            raise RuntimeError("saved_tensors: expected the graph, which is gone")
        saved: tuple[Any, ...] = node.saved
        return saved


class Function:
    """A function with its own gradient.

    Subclass with static methods forward(ctx, *args) -> Tensor(s) and backward(ctx, *gy) ->
    one gradient (or None) for each argument; call Sub.apply(*args). Gradients are written
    in ops, so create_graph works.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """The result; runs without recording."""
        raise NotImplementedError("Function: expected a subclass with forward")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """One gradient for each argument of forward."""
        raise NotImplementedError("Function: expected a subclass with backward")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """forward(*args), recorded."""
        import weakref

        ctx = _Context()
        ctx.needs_input_grad = tuple(
            isinstance(a, Tensor) and a.requires_grad for a in args
        )
        with no_grad():
            result = cls.forward(ctx, *args)
        if not (is_grad_enabled() and any(ctx.needs_input_grad)):
            return result
        outputs = _sequence(result)
        # an argument handed back, or one of several names for one tensor, gets its own
        seen = {id(a) for a in args}
        for i, y in enumerate(outputs):
            if id(y) in seen:
                outputs[i] = y.detach()
            seen.add(id(y))
        # a saved result would hold its own node: keep it without
        which = [
            next((i for i, y in enumerate(outputs) if x is y), -1) for x in ctx._saved
        ]
        saved = [
            x if i < 0 else x.detach() for i, x in zip(which, ctx._saved, strict=True)
        ]

        def run(node: Any, *gys: Any) -> Any:
            filled = [
                _zeros(y_shape, y_dtype) if g is None else g
                for g, (y_shape, y_dtype) in zip(gys, described, strict=True)
            ]
            return cls.backward(ctx, *filled)

        described = [(y.shape, y.dtype) for y in outputs]
        node = _core.record_function(cls.__name__, args, outputs, run, saved, which)
        ctx._node = weakref.ref(node)
        ctx._saved = ()
        return tuple(outputs) if isinstance(result, (tuple, list)) else outputs[0]


def composite_gradient(
    node: Any, composite: Any, saved: tuple[Any, ...], gy: Any
) -> tuple[Tensor | None, ...]:
    """Gradients through an op's composite form, recorded.

    gy : a Tensor; or where composite returns several, one for each, None for those that
        have no gradient.
    """
    inputs = list(saved[: len(node.next_functions)])
    wanted = [i for i in range(len(inputs)) if node.needs(i)]
    with enable_grad():
        for i in wanted:  # stop there: beyond are hooks, which the outer pass will call
            inputs[i] = inputs[i].view(inputs[i].shape)
        y = composite(*inputs, *node.attrs)
    asked = [inputs[i] for i in wanted]
    if isinstance(gy, tuple):
        both = zip(y, gy, strict=True)
        pairs = [(a, g) for a, g in both if g is not None and a.requires_grad]
        y, gy = [a for a, _ in pairs], [g for _, g in pairs]
    found = grad(y, asked, gy, create_graph=is_grad_enabled(), allow_unused=True)
    result: list[Tensor | None] = [None] * len(inputs)
    for i, g in zip(wanted, found, strict=True):
        result[i] = g
    return tuple(result)


_core.set_composite_gradient(composite_gradient)


# ---- checks -----------------------------------------------------------------------------


def _jacobian(function: Callable[[], Tensor], x: Tensor, eps: float) -> Any:
    """d function() / d x by central differences, (outputs, inputs)."""
    flat = x.detach().numpy().reshape(-1)
    assert np.shares_memory(flat, x.detach().numpy()) or flat.size == 0
    columns = []
    for i in range(flat.size):
        old = flat[i]
        flat[i] = old + eps
        high = function().detach().numpy().astype(np.float64).reshape(-1)
        flat[i] = old - eps
        low = function().detach().numpy().astype(np.float64).reshape(-1)
        flat[i] = old
        columns.append((high - low) / (2 * eps))
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0))


def gradcheck(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether backward agrees with central differences, for every input and output element.

    Parameters: function(*inputs) -> Tensor or sequence of them. inputs : float64 tensors
        that require grad are checked; others are passed on. eps : step. atol, rtol : limit
        on |difference| is atol + rtol |numerical|.
    Returns: bool. Raises: AssertionError with the worst element unless raise_exception is
        False; ValueError if no input can be checked.
    """
    args = _sequence(inputs)
    checked = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
    if not checked or any(a.dtype is not _core.float64 for a in checked):
        raise ValueError("gradcheck: expected float64 inputs that require grad")
    if any(not a.is_contiguous() for a in checked):
        raise ValueError("gradcheck: expected contiguous inputs")

    def outputs() -> list[Tensor]:
        return [
            y
            for y in _sequence(function(*args))
            if isinstance(y, Tensor) and y.is_floating_point()
        ]

    if not outputs():
        raise ValueError("gradcheck: expected a function with a float result")
    for k, y in enumerate(outputs()):
        numerical = []
        with no_grad():
            for x in checked:
                numerical.append(_jacobian(lambda k=k: outputs()[k], x, eps))  # type: ignore[misc]
        if not y.requires_grad:
            analytical = [np.zeros((y.numel(), x.numel())) for x in checked]
        else:
            rows: list[list[Any]] = [[] for _ in checked]
            for i in range(y.numel()):
                one = np.zeros(y.numel())
                one[i] = 1
                seed = _core.tensor_from(one.reshape(y.shape), y.dtype, True)
                found = grad(y, checked, seed, retain_graph=True, allow_unused=True)
                for row, g, x in zip(rows, found, checked, strict=True):
                    row.append(
                        np.zeros(x.numel())
                        if g is None
                        else g.detach().numpy().reshape(-1)
                    )
            analytical = [
                np.array(r).reshape(y.numel(), x.numel())
                for r, x in zip(rows, checked, strict=True)
            ]
        for j, (a, n) in enumerate(zip(analytical, numerical, strict=True)):
            n = n.reshape(a.shape)
            bad = ~(np.abs(a - n) <= atol + rtol * np.abs(n))
            if bad.any():
                if not raise_exception:
                    return False
                at = np.argwhere(bad)[0]
                raise AssertionError(
                    f"gradcheck: output {k}, input {j}: expected d y[{at[0]}] / d x[{at[1]}] "
                    f"= {n[tuple(at)]:.8g} (finite differences), got {a[tuple(at)]:.8g}"
                )
    return True


def gradgradcheck(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    seed: int = 0,
) -> bool:
    """gradcheck of the gradient: inputs and random output gradients are both checked.

    See gradcheck. seed : of the random output gradients.
    """
    args = _sequence(inputs)
    with no_grad():
        shapes = [
            y.shape
            for y in _sequence(function(*args))
            if isinstance(y, Tensor) and y.is_floating_point()
        ]
    random = np.random.default_rng(seed)
    gys = [
        _core.tensor_from(
            random.standard_normal(s), _core.float64, True
        ).requires_grad_()
        for s in shapes
    ]

    def first(*everything: Any) -> tuple[Tensor, ...]:
        xs, gs = everything[: len(args)], everything[len(args) :]
        with enable_grad():
            ys = [
                y
                for y in _sequence(function(*xs))
                if isinstance(y, Tensor) and y.is_floating_point()
            ]
            used = [(y, g) for y, g in zip(ys, gs, strict=True) if y.requires_grad]
            leaves = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
            found = grad(
                [y for y, _ in used],
                leaves,
                [g for _, g in used],
                create_graph=True,
                allow_unused=True,
            )
        return tuple(
            _zeros(x.shape, x.dtype) if g is None else g
            for x, g in zip(leaves, found, strict=True)
        )

    return gradcheck(first, [*args, *gys], eps=eps, atol=atol, rtol=rtol)
