"""compile(): a function that is recorded while it runs, and then replayed."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, overload

import fastnn
from fastnn import _core
from fastnn._core import Arena, Compiled, Tensor
from fastnn.ops import _record
from fastnn.plan.arguments import (
    LEAF,
    contiguous,
    copied,
    copies_overlap,
    flatten,
    is_argument,
    key_of,
    rebuild,
)
from fastnn.plan.capture import Recording
from fastnn.plan.compare import Comparison, Difference
from fastnn.plan.errors import CaptureError
from fastnn.plan.graph import Graph
from fastnn.plan.plan import Plan
from fastnn.plan.variables import changed, variables

ATTEMPTS = 4  # recordings of one kind of call, before it is given up
PENDING = 8  # sizes whose recordings wait for a partner
ALONE = 32  # recordings without a partner, before there is a warning
Sizes = tuple[int | None, ...]


class Seen(NamedTuple):
    """A call that was recorded: its recording, what it returned, and its sizes."""

    recording: Recording
    returned: Any
    sizes: Sizes


class Family:
    """Calls that differ in the first dimensions of their arguments at most.

    Attributes:
        plans : newest first.
        pending : what has found no partner yet, by sizes.
        alone : how many calls found none.
        dynamic : whether a plan may serve other batch sizes.
    """

    def __init__(self, dynamic: bool) -> None:
        self.dynamic = dynamic
        self.plans: list[Plan] = []
        self.pending: OrderedDict[Sizes, list[Seen]] = OrderedDict()
        self.alone = 0


class CompiledFunction(Compiled):
    """What compile() returns: call it as the function.

    Attributes:
        function : what was compiled.
        plans : the plans there are, those used last first (list of Plan).
        plan : the one used last. Raises: RuntimeError before there is one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        dynamic: bool = True,
        passes: Any = None,
        cache_size: int = 64,
        fallback: Callable[[CaptureError], None] | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"compile: expected a function or a Module, got {type(function).__name__}"
            )
        if cache_size < 1:
            raise ValueError(
                f"compile: expected cache_size of at least 1, got {cache_size}"
            )
        self.function = function
        self.dynamic = dynamic
        self.passes = passes
        self.cache_size = cache_size
        self.fallback = fallback
        self.eager = False
        self._arena = Arena()
        self._used: list[Any] = []  # modules of the last recording
        self._families: OrderedDict[Hashable, Family] = OrderedDict()
        functools.update_wrapper(self, function, updated=())

    # ---- calls ----

    def dispatch(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """A call that no recent replay fits."""
        if self.eager or _record.active is not None:
            return self._plainly(args, kwargs, out)
        leaves: list[Any] = []
        structure = flatten((args, kwargs), leaves, is_argument)
        flat = [contiguous(x) for x in leaves]
        if copies_overlap(leaves, flat):
            return self._plainly(args, kwargs, out)
        sizes = tuple(x.shape[0] if x.ndim else None for x in flat)
        key = (
            key_of(structure),
            fastnn.is_grad_enabled(),
            *((_core.dtype_number(x.dtype), tuple(x.shape[1:]), x.ndim) for x in flat),
        )
        family = self._families.setdefault(key, Family(self.dynamic))
        self._families.move_to_end(key)
        if len(self._families) > 2 * self.cache_size:
            self._families.popitem(last=False)
            self.forget()
        misfits = []
        for plan in family.plans:
            if plan.takes(sizes) and plan.is_valid():
                try:
                    replay = plan.replay(flat)
                except (ValueError, TypeError, IndexError):
                    misfits.append(plan)  # an error of the function, or no such batch
                    continue
                if not replay.fits(*flat) or any(
                    copied(leaves[i], flat[i]) for i in replay.arguments_written
                ):  # it would write what another argument reads, or a copy
                    return self._plainly(args, kwargs, out)
                if structure == ((LEAF,) * len(flat), {}):
                    self.remember(replay)
                self._to_front(family, plan)
                return replay(*flat, out=out)
        result = self._record(family, structure, leaves, flat, sizes, out)
        if misfits:  # it does decide by the batch's size
            family.dynamic = False
            family.plans = [p for p in family.plans if p not in misfits]
            self.forget()
        return result

    def _plainly(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        leaves: list[Any] = []
        structure = flatten((args, kwargs), leaves, is_argument)
        tensors = (x if isinstance(x, Tensor) else fastnn.as_tensor(x) for x in leaves)
        args, kwargs = rebuild(structure, tensors)
        return into(self.function(*args, **kwargs), out)

    def _record(
        self,
        family: Family,
        structure: Any,
        leaves: list[Any],
        flat: list[Any],
        sizes: Sizes,
        out: Any,
    ) -> Any:
        """Runs the function eagerly; makes a plan where recordings agree."""
        tensors = [x if isinstance(x, Tensor) else fastnn.as_tensor(x) for x in flat]
        shields = [_core.shield(x) for x in tensors]
        args, kwargs = rebuild(structure, iter(shields))
        recording = Recording(shields, strict=self.fallback is None)
        before = variables(self.function, self._used)
        with _record.watching(recording):
            result = self.function(*args, **kwargs)
        self._used = list(recording.used)
        recording.variables = variables(self.function, self._used)
        name = changed(before, recording.variables)
        if name:
            recording.effects.append(f"variable {name!r} was changed")
        results: list[Tensor] = []
        returned = flatten(result, results, lambda x: isinstance(x, Tensor))
        recording.finish(results)
        for original, x, shield in zip(leaves, tensors, shields, strict=True):
            if shield._version:
                _core.bump_version(x)
                copy_back(original, x)
        owners = {_core.layout(s)[0]: x for s, x in zip(shields, tensors, strict=True)}
        detached = []
        for y in results:
            owner = owners.get(_core.layout(y)[0])
            y = y.detach()
            detached.append(y if owner is None else _core.unshield(y, owner))
        seen = Seen(recording, returned, sizes)
        problem = recording.problem or self._learn(family, seen, flat)
        if problem is not None:
            if self.fallback is None:
                raise problem
            self.eager = True
            self.forget()
            self._families.clear()
            self.fallback(problem)
        return into(rebuild(returned, iter(detached)), out)

    # ---- plans ----

    def _learn(self, family: Family, new: Seen, flat: list[Any]) -> CaptureError | None:
        """Makes a plan of a recording that agrees with one before."""
        if family.dynamic:
            for plan in list(family.plans):
                if not plan.surroundings.unchanged():
                    continue
                batch = following(Seen(plan.recording, plan.structure, plan.sizes), new)
                if batch is not None and plan.batch in (batch, frozenset()):
                    if not new.recording.effects:
                        family.plans.remove(plan)
                    return self._add(family, new, batch, flat)
            for others in list(family.pending.values()):
                batch = following(others[-1], new)
                if batch is not None:
                    family.pending.clear()
                    return self._add(family, new, batch, flat)
        before = family.pending.setdefault(new.sizes, [])
        why = None
        if before:
            try:
                Comparison(before[-1].recording, new.recording)
                if key_of(before[-1].returned) != key_of(new.returned):
                    raise Difference("it returned something else")
            except Difference as difference:
                why = str(difference)
            else:
                del family.pending[new.sizes]
                return self._add(family, new, frozenset(), flat)
        before.append(new)
        if len(before) >= ATTEMPTS:
            del family.pending[new.sizes]
            return CaptureError(
                f"compile: expected calls that do the same, but after {ATTEMPTS} they "
                f"still differ: {why} (hint: what changes from call to call must be a "
                "tensor, given as an argument)"
            )
        family.alone += 1
        if family.alone == ALONE:
            warnings.warn(
                f"compile: {ALONE} calls of {self!r} were recorded that had no partner: "
                "their batch sizes differ, and what they do follows the batch in a way "
                "that no plan can, or sizes never come twice (hint: slices and constants "
                "that depend on the batch size)",
                RuntimeWarning,
                stacklevel=4,
            )
        if len(family.pending) > PENDING:
            family.pending.popitem(last=False)
        return None

    def _add(
        self, family: Family, seen: Seen, batch: frozenset[int], flat: list[Any]
    ) -> CaptureError | None:
        """Makes a plan, unless a replay would leave something out."""
        if seen.recording.effects:
            return CaptureError(
                f"compile: {seen.recording.effects[0]}, which a replay would not repeat "
                "(hint: return what is needed, and do the rest outside)"
            )
        plan = Plan(*seen, batch, self._optimise, self._arena)
        plan.replay(flat)
        family.plans.insert(0, plan)
        while sum(len(f.plans) for f in self._families.values()) > self.cache_size:
            oldest = next(f for f in self._families.values() if f.plans)
            oldest.plans.pop()
            self.forget()
        return None

    def _to_front(self, family: Family, plan: Plan) -> None:
        if family.plans[0] is not plan:
            family.plans.remove(plan)
            family.plans.insert(0, plan)

    def _optimise(self, graph: Graph, *, inference: bool) -> Graph:
        from fastnn.plan.passes import optimise

        return optimise(graph, inference=inference, passes=self.passes)

    # ---- what there is ----

    @property
    def plans(self) -> list[Plan]:
        """All plans, those of the kinds of calls used last first."""
        return [p for f in reversed(self._families.values()) for p in f.plans]

    @property
    def plan(self) -> Plan:
        """The plan used last."""
        plans = self.plans
        if not plans:
            raise RuntimeError(
                "compile: expected a function that was called often enough to have a plan "
                "(two calls that agree; four at most)"
            )
        return plans[0]

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"<compiled {name}, {len(self.plans)} plans>"


def following(old: Seen, new: Seen) -> frozenset[int] | None:
    """The arguments that follow the batch, where two calls are one at two batch sizes; sizes
    of 0 and 1 are special, since they broadcast."""
    moved = [
        i for i, (m, n) in enumerate(zip(old.sizes, new.sizes, strict=True)) if m != n
    ]
    if not moved:
        return None
    if old.recording.is_cut or new.recording.is_cut:
        return None
    pairs = {(old.sizes[i], new.sizes[i]) for i in moved}
    before, after = next(iter(pairs))
    if len(pairs) != 1 or before is None or after is None or min(before, after) < 2:
        return None
    if key_of(old.returned) != key_of(new.returned):
        return None
    try:
        Comparison(old.recording, new.recording, (before, after))
    except Difference:
        return None
    return frozenset(moved)


def into(result: Any, out: Any) -> Any:
    """result, or out with it written there."""
    if out is None:
        return result
    found: list[Tensor] = []
    flatten(result, found, lambda x: isinstance(x, Tensor))
    targets: list[Any] = []
    flatten(out, targets, lambda x: not isinstance(x, tuple | list | dict))
    if len(found) != len(targets):
        raise ValueError(
            f"compile: expected out with {len(found)} tensors, got {len(targets)}"
        )
    with fastnn.no_grad():
        for target, y in zip(targets, found, strict=True):
            copy_back(target, y.detach())
    return out


def copy_back(target: Any, x: Tensor) -> None:
    """Writes x into the tensor or array that it stands for."""
    to = target if isinstance(target, Tensor) else fastnn.from_numpy(target)
    if to.shape != x.shape or to.dtype is not x.dtype:
        raise ValueError(
            f"compile: expected out of {x.dtype.name} {x.shape}, got {to.dtype.name} "
            f"{to.shape}"
        )
    if to.data_ptr() != x.data_ptr():
        with fastnn.no_grad():
            to.detach().copy_(x)


@overload
def compile(
    function: Callable[..., Any],
    *,
    dynamic: bool = True,
    passes: Any = None,
    cache_size: int = 64,
    fallback: Callable[[CaptureError], None] | None = None,
) -> CompiledFunction: ...


@overload
def compile(
    function: None = None,
    *,
    dynamic: bool = True,
    passes: Any = None,
    cache_size: int = 64,
    fallback: Callable[[CaptureError], None] | None = None,
) -> Callable[[Callable[..., Any]], CompiledFunction]: ...


def compile(function: Any = None, **options: Any) -> Any:
    """A function, model or training step as a plan: recorded, optimised, replayed from C.

    The first calls run as they are and are recorded, until two agree (at most four). From
    then on a call with arguments of that kind runs the recorded ops in one call of C, with
    the same bits. What changes between calls must be a tensor or NumPy array among the
    arguments, a parameter, an optimizer's option or state, or a generator's state; other
    arguments belong to a plan's key. Changed attributes and modes of modules, and variables
    that the function uses, are noticed; elements of a list outside are not, and what is
    printed or written is so in recorded calls alone. Results carry no graph: gradients
    belong inside.

    Parameters:
        function : function or Module; its arguments and results may be nested in tuples,
            lists and dicts. None: a decorator.
        dynamic : bool: whether one plan serves all batch sizes (first dimensions) above 1,
            where recordings at two sizes agree; False where the function decides by the
            batch's size, as `if len(x) > 50` does, which no recording shows.
        passes : names of the optimisations to run; None: all.
        cache_size : int: how many plans are kept, the ones used last.
        fallback : callable(CaptureError): told once of what cannot be compiled, instead of
            raising; calls run eagerly from then on.

    Returns: CompiledFunction, called as function is; out= takes tensors or arrays to write
        the results into.

    Raises: CaptureError in a call whose function cannot be repeated: it reads a value, sets
        an attribute, or goes on doing something else.

    Example:
        >>> import fastnn
        >>> model = fastnn.nn.Linear(4, 2)
        >>> predict = fastnn.compile(model)
        >>> x = fastnn.ones(3, 4)
        >>> all((predict(x) == model(x)).all().item() for _ in range(4))
        True
    """
    if function is None:
        return lambda f: CompiledFunction(f, **options)
    return CompiledFunction(function, **options)
