"""torch.nn's names for libraries that have none: what a network of modules does, said once.

namespace(ops) is an `nn` for the builders in workloads/networks.py. Its modules hold no
numbers: they call functions of ops, with the names that a state dict has for parameters.
What x is, ops decide: a shape, the name of a tensor in a graph, an array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Protocol


class Ops(Protocol):
    """What a network is made of. Names are those of parameters; a bias may be None."""

    def conv(
        self, x: Any, weight: str, bias: str | None, stride: int, padding: int
    ) -> Any:
        """A convolution of (n, c, h, w)."""

    def batch_norm(self, x: Any, name: str, eps: float) -> Any:
        """Over dimension 1."""

    def relu(self, x: Any) -> Any:
        """max(0, x)."""

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        """The largest of each window."""

    def mean_pool(self, x: Any) -> Any:
        """The mean of each plane."""

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""

    def flatten(self, x: Any) -> Any:
        """All dimensions but the first made one."""

    def linear(self, x: Any, weight: str, bias: str) -> Any:
        """x weight^T + bias."""


class Module:
    """Calls forward; knows its children by their attributes, and their names once named."""

    name = ""

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def forward(self, x: Any) -> Any:
        """What the subclass does."""
        raise NotImplementedError

    def children(self) -> Iterator[tuple[str, Module]]:
        """By name, in the order in which they were set."""
        return ((k, v) for k, v in vars(self).items() if isinstance(v, Module))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of its own parameters and statistics, by name."""
        return {}

    def named(self, name: str = "") -> Module:
        """This, after it and all below were told their names, as state dicts have them."""
        self.name = name
        for key, child in self.children():
            child.named(f"{name}.{key}" if name else key)
        return self

    def state(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters and statistics, by name."""
        found = {f"{self.name}.{k}": s for k, s in self.shapes().items()}
        for _, child in self.children():
            found |= child.state()
        return found


class Value:
    """What flows between modules, so that networks can write x + y."""

    def __init__(self, ops: Ops, held: Any) -> None:
        self.ops, self.held = ops, held

    def __add__(self, other: Value) -> Value:
        return Value(self.ops, self.ops.add(self.held, other.held))


def namespace(ops: Ops) -> Any:
    """An `nn` whose modules call these functions."""

    class Function(Module):
        """f of ops on what a Value holds."""

        def __init__(self, name: str, *arguments: Any) -> None:
            self.function, self.arguments = getattr(ops, name), arguments

        def parameters(self) -> tuple[Any, ...]:
            return ()

        def forward(self, x: Value) -> Value:
            return Value(
                ops, self.function(x.held, *self.parameters(), *self.arguments)
            )

    class Weighted(Function):
        """With a weight, and a bias or None."""

        def __init__(
            self, name: str, shape: tuple[int, ...], bias: bool, *arguments: Any
        ) -> None:
            super().__init__(name, *arguments)
            self.sizes = {"weight": shape} | ({"bias": shape[:1]} if bias else {})

        def shapes(self) -> dict[str, tuple[int, ...]]:
            return self.sizes

        def parameters(self) -> tuple[Any, ...]:
            bias = f"{self.name}.bias" if "bias" in self.sizes else None
            return f"{self.name}.weight", bias

    class Conv2d(Weighted):
        def __init__(
            self,
            inputs: int,
            outputs: int,
            size: int,
            stride: int = 1,
            padding: int = 0,
            bias: bool = True,
        ) -> None:
            shape = (outputs, inputs, size, size)
            super().__init__("conv", shape, bias, stride, padding)

    class BatchNorm2d(Function):
        def __init__(self, features: int) -> None:
            super().__init__("batch_norm", 1e-5)
            shape: tuple[int, ...] = (features,)
            keys = ("weight", "bias", "running_mean", "running_var")
            self.sizes = dict.fromkeys(keys, shape)

        def shapes(self) -> dict[str, tuple[int, ...]]:
            return self.sizes

        def parameters(self) -> tuple[Any, ...]:
            return (self.name,)

    class Sequential(Module):
        def __init__(self, *layers: Module) -> None:
            self.__dict__.update((str(k), layer) for k, layer in enumerate(layers))

        def forward(self, x: Value) -> Value:
            for _, layer in self.children():
                x = layer(x)
            return x

    class Identity(Module):
        def forward(self, x: Value) -> Value:
            return x

    def max_pool(size: int, stride: int | None = None, padding: int = 0) -> Module:
        return Function("max_pool", size, stride or size, padding)

    return SimpleNamespace(
        Module=Module,
        Sequential=Sequential,
        Identity=Identity,
        Conv2d=Conv2d,
        BatchNorm2d=BatchNorm2d,
        ReLU=lambda: Function("relu"),
        MaxPool2d=max_pool,
        AdaptiveAvgPool2d=lambda size: Function("mean_pool"),
        Flatten=lambda: Function("flatten"),
        Linear=lambda k, n: Weighted("linear", (n, k), True),
    )


def run(ops: Ops, module: Any, x: Any) -> Any:
    """What the network that module(nn) is makes of x, in the terms of ops."""
    return module(namespace(ops)).named()(Value(ops, x)).held


def state(module: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's parameters and statistics, by their names in state dicts."""
    found: dict[str, tuple[int, ...]] = module(namespace(Shapes({}))).named().state()
    return found


class Shapes:
    """x is a shape; counts the arithmetic of convolutions and products.

    Parameters: state : shapes of the parameters, by name.
    Attributes: flops : two for each multiply-add of plain sums. first : of the first layer.
    """

    def __init__(self, state: dict[str, tuple[int, ...]]) -> None:
        self.state = state
        self.flops = self.first = 0.0

    def counted(self, outputs: tuple[int, ...], each: int) -> tuple[int, ...]:
        """Outputs, each of which is a sum of so many products."""
        flops = 2.0 * math.prod(outputs) * each
        self.flops += flops
        self.first = self.first or flops
        return outputs

    def conv(
        self, x: Any, weight: str, bias: str | None, stride: int, padding: int
    ) -> Any:
        """(n, c, h, w) to the shape of the convolution's result."""
        outputs, *taps = self.state[weight]
        sides = (windows(side, taps[-1], stride, padding) for side in x[2:])
        return self.counted((x[0], outputs, *sides), math.prod(taps))

    def batch_norm(self, x: Any, name: str, eps: float) -> Any:
        """The same shape."""
        return x

    def relu(self, x: Any) -> Any:
        """The same shape."""
        return x

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        """As many as there are windows."""
        return (*x[:2], *(windows(side, size, stride, padding) for side in x[2:]))

    def mean_pool(self, x: Any) -> Any:
        """One for each channel."""
        return (*x[:2], 1, 1)

    def add(self, x: Any, y: Any) -> Any:
        """Of two equal shapes."""
        assert x == y
        return x

    def flatten(self, x: Any) -> Any:
        """(n, rest)."""
        return x[0], math.prod(x[1:])

    def linear(self, x: Any, weight: str, bias: str) -> Any:
        """(n, k) to (n, outputs)."""
        outputs, inputs = self.state[weight]
        return self.counted((x[0], outputs), inputs)


def windows(side: int, size: int, stride: int, padding: int) -> int:
    """How many fit."""
    return (side + 2 * padding - size) // stride + 1
