"""The kinds of workload. A workload is one row: what is done, in which sizes, how much
arithmetic and memory that takes at least. How, says each contestant for its kind.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Array = Any
Form = Callable[..., Any]  # f(library, *arrays): one op in that library's terms
CHECKED_STEPS = 8  # more than a plan needs to be recorded
LR = {"adam": 1e-3, "sgd": 1e-2}
MOMENTUM = 0.9


class Run(NamedTuple):
    """A workload, ready to be run by one contestant.

    Parameters:
        call : what is timed.
        result : runs it, and returns what must agree among contestants, as arrays.
        less : its time is taken off; None where there is nothing to take off.
        per : the rest is divided by this.
    """

    call: Callable[[], Any]
    result: Callable[[], list[Array]]
    less: Callable[[], Any] | None = None
    per: int = 1


class Goal(NamedTuple):
    """A promise: all that is given here holds.

    Parameters:
        seconds : float: it takes no longer.
        against : dict: it takes at most such a share of that contestant's time.
        peer : float: it takes at most that share of the fastest other library's time.
        floor : (float, float): the floor is at least that share of its time, on one
            thread, and on more.
    """

    seconds: float | None = None
    against: Mapping[str, float] | None = None
    peer: float | None = None
    floor: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What all rows have.

    Parameters:
        name : says what is done, and its sizes; unique in its group.
        group : overhead, products, kernels, layers, sequences, train or infer.
        flops, bytes : what has to be computed; what has to be read and written at least.
            Of convolutions the sums as they are defined, though there are ways around them.
        dtype : of the numbers.
        tolerance : results agree to this share of the largest number; None: not compared.
        goals : what is promised; to meet one of them is enough.
        without : keys of contestants that are not asked, as they would take minutes to
            prepare.
    """

    name: str
    group: str
    flops: float
    bytes: float
    dtype: str = "float32"
    tolerance: float | None = 1e-4
    goals: Sequence[Goal] = ()
    without: Sequence[str] = ()

    kind = ""

    def normal(self, *shape: int, key: int = 0) -> Array:
        """Normal numbers, the same for every contestant."""
        seed = zlib.crc32(f"{self.name} {key}".encode())
        dtype: Any = np.dtype(self.dtype)
        return np.random.default_rng(seed).standard_normal(shape, dtype)


@dataclass(frozen=True, kw_only=True)
class Kernel(Workload):
    """One function of arrays.

    Parameters:
        shapes : of its inputs, which are normal numbers; or integers below the second
            entry, for (shape, limit).
        forms : the function in each library's terms; those without one do not take part.
        out : shape of an output that is there before the call, the forms' out=; None
            where each call makes one.
        arrays : NumPy arrays go in and come out, whoever computes.
        scales : of each input, that normal numbers are multiplied by; () for 1.
    """

    shapes: tuple[Any, ...]
    forms: Mapping[str, Form]
    out: tuple[int, ...] | None = None
    arrays: bool = False
    scales: tuple[float, ...] = ()
    kind = "kernel"

    def inputs(self) -> list[Array]:
        """Fresh NumPy arrays."""
        made = []
        for k, shape in enumerate(self.shapes):
            if shape and isinstance(shape[0], tuple):
                sizes, limit = shape
                seed = zlib.crc32(f"{self.name} {k}".encode())
                made.append(np.random.default_rng(seed).integers(0, limit, sizes))
            else:
                made.append(self.normal(*shape, key=k))
                if self.scales:
                    made[-1] *= np.float32(self.scales[k])
        return made


@dataclass(frozen=True, kw_only=True)
class Chain(Workload):
    """What one op costs inside a program: f(x, w) over and over, from `length` calls and
    from twice as many."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    forms: Mapping[str, Form]
    length: int = 100
    kind = "chain"

    def inputs(self) -> list[Array]:
        """x, w; w is orthogonal, or of ones and minus ones, so that nothing grows."""
        x, w = (self.normal(*s, key=k) for k, s in enumerate(self.shapes))
        return [x, np.linalg.qr(w)[0] if w.ndim == 2 else np.sign(w)]

    def program(self, language: str, lib: Any, length: int) -> Callable[..., Any]:
        """(x, w) -> that many calls of a language's form, each on what the last one gave."""
        form = self.forms[language]

        def run(x: Any, w: Any) -> Any:
            for _ in range(length):
                x = form(lib, x, w)
            return x

        return run


@dataclass(frozen=True, kw_only=True)
class Gradient(Kernel):
    """A scalar function of x, ...: the value's gradient by x. NumPy's form returns it."""

    kind = "gradient"


@dataclass(frozen=True, kw_only=True)
class Layer(Kernel):
    """A function of arrays, and back: from a gradient of its result, those of its inputs.

    Parameters:
        wanted : how many inputs' gradients, of the first ones.
        result : shape of what the function returns, and of the gradient that is given.
    """

    wanted: int
    result: tuple[int, ...]
    kind = "layer"

    @property
    def cotangent(self) -> Array:
        """The gradient of the result, afresh."""
        return self.normal(*self.result, key=-1)


@dataclass(frozen=True, kw_only=True)
class Update(Workload):
    """A step of an optimizer on one tensor of `size` numbers.

    Parameters:
        optimizer : PyTorch's name.
        options : PyTorch's arguments.
    """

    optimizer: str
    options: Mapping[str, float]
    size: int
    kind = "update"

    def inputs(self) -> list[Array]:
        """A parameter and its gradient."""
        return [self.normal(self.size), 1e-2 * self.normal(self.size, key=1)]


@dataclass(frozen=True, kw_only=True)
class Network(Workload):
    """Linear layers of these sizes with ReLU between them, and a batch."""

    sizes: tuple[int, ...]
    batch: int

    @cached_property
    def weights(self) -> list[tuple[Array, Array]]:
        """(out, in) and (out,) of each layer, as Kaiming He starts them."""
        return [
            (
                self.normal(n, k, key=k) * np.float32((2 / k) ** 0.5),
                0.1 * self.normal(n, key=-n),
            )
            for k, n in itertools.pairwise(self.sizes)
        ]

    @cached_property
    def x(self) -> Array:
        """The batch."""
        return self.normal(self.batch, self.sizes[0], key=-1)


@dataclass(frozen=True, kw_only=True)
class Inference(Network):
    """A batch through the network: NumPy array in, NumPy array out."""

    kind = "inference"


@dataclass(frozen=True, kw_only=True)
class Training(Network):
    """zero_grad, forward, cross entropy, backward, optimizer step; tensors in.

    Parameters: optimizer : "adam", or "sgd" with momentum 0.9.
    """

    optimizer: str
    kind = "training"

    @cached_property
    def batch_of_pairs(self) -> tuple[Array, Array]:
        """x and its classes."""
        return pairs(self.x, self.sizes[-1])


@dataclass(frozen=True, kw_only=True)
class Modular(Workload):
    """A network of modules that libraries have under PyTorch's names, and a batch.

    Parameters:
        module : function of such an nn: the network.
        shape : of the batch.
        classes : how many logits.
    """

    module: Callable[[Any], Any]
    shape: tuple[int, ...]
    classes: int

    @property
    def x(self) -> Array:
        """The batch, afresh."""
        return self.normal(*self.shape, key=-1)

    def state(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """What a state dict of these shapes holds, but for the count of batches.

        Weights are as Kaiming He starts them, scales near 1, shifts near 0; running
        statistics as after some training.
        """
        made = {}
        for name, sizes in shapes.items():
            if name.endswith("num_batches_tracked"):
                continue
            numbers = self.normal(*sizes, key=zlib.crc32(name.encode()))
            if name.endswith("running_var"):
                numbers = np.exp(np.float32(0.3) * numbers)
            elif len(sizes) > 1:
                numbers *= np.float32((2 / np.prod(sizes[1:])) ** 0.5)
            else:
                numbers *= np.float32(0.1)
                numbers += np.float32(name.endswith("weight"))
            made[name] = numbers
        return made


@dataclass(frozen=True, kw_only=True)
class ModularInference(Modular):
    """As Inference."""

    kind = "modular_inference"


@dataclass(frozen=True, kw_only=True)
class ModularTraining(Modular):
    """As Training.

    Parameters:
        optimizer : "adam", or "sgd" with momentum 0.9.
        clip : norm that gradients are clipped to; None: they are not.
    """

    optimizer: str
    clip: float | None = None
    kind = "modular_training"

    @property
    def batch_of_pairs(self) -> tuple[Array, Array]:
        """x and its classes, afresh."""
        return pairs(self.x, self.classes)


@dataclass(frozen=True, kw_only=True)
class TokenTraining(ModularTraining):
    """Of a network that reads tokens (batch, steps) and tells the next ones, logits
    (batch steps, classes)."""

    kind = "token_training"

    @property
    def batch_of_pairs(self) -> tuple[Array, Array]:
        """Random tokens, and the same one step later."""
        batch, steps = self.shape
        tokens = np.random.default_rng(7).integers(0, self.classes, (batch, steps + 1))
        return tokens[:, :-1].copy(), tokens[:, 1:].reshape(-1).copy()


def pairs(x: Array, classes: int) -> tuple[Array, Array]:
    """x and its classes: each sample comes twice, in two classes.

    Nobody can learn that, so that in a hundred thousand steps on one batch the numbers
    stay as they are in training.
    """
    half = len(x) // 2
    first = np.random.default_rng(7).integers(0, classes, half)
    x = x.copy()
    x[half:] = x[:half]
    return x, np.concatenate([first, (first + 1) % classes])


def network_flops(sizes: tuple[int, ...], batch: int) -> float:
    """Multiply-adds of the layers, two each."""
    return 2.0 * batch * sum(k * n for k, n in itertools.pairwise(sizes))


def numbers_in(sizes: tuple[int, ...]) -> int:
    """How many parameters."""
    return sum(k * n + n for k, n in itertools.pairwise(sizes))
