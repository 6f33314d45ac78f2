"""JAX: one jitted function for each workload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.bench import modules
from fastnn.bench.peers.base import Contestant, losses
from fastnn.bench.workloads.layers import pooled
from fastnn.bench.workloads.rows import (
    CHECKED_STEPS,
    LR,
    MOMENTUM,
    Array,
    Chain,
    Gradient,
    Inference,
    Kernel,
    Layer,
    ModularInference,
    ModularTraining,
    Run,
    Training,
    Update,
    Workload,
)

Rule = Callable[[Any, Any, Any], tuple[Any, Any]]  # parameters, gradients, state


class Jax(Contestant):
    """jax.jit; parameters and states are donated. Its threads follow NPROC and affinity."""

    key, title, package, module = "jax", "JAX", "jax", "jax"
    language = "jax"

    def prepare(self, threads: int) -> None:
        """Small calls run where they are made, which halves their time."""
        super().prepare(threads)
        self.lib.config.update("jax_cpu_enable_async_dispatch", False)

    def build(self, row: Workload) -> Run | None:
        """Its numbers are float32, until a switch for the whole process is thrown."""
        return super().build(row) if row.dtype == "float32" else None

    def put(self, arrays: Any) -> Any:
        """Its own arrays, in the same structure."""
        return self.lib.tree.map(self.lib.device_put, arrays)

    def kernel(self, row: Kernel) -> Run:
        """The form; an existing output does not exist here."""
        form, lib, arrays = row.forms["jax"], self.lib, row.inputs()
        f = lib.jit(lambda *a: form(lib, *a))
        if row.arrays:
            return Run(lambda: np.asarray(f(*arrays)), lambda: [np.asarray(f(*arrays))])
        xs = self.put(arrays)
        return Run(
            lambda: f(*xs).block_until_ready(),
            lambda: [np.asarray(f(*xs))],
        )

    def chain(self, row: Chain) -> Run:
        """The form over and over, in one program."""
        lib = self.lib
        x, w = self.put(row.inputs())

        def chained(length: int) -> Callable[[], Any]:
            f = lib.jit(row.program("jax", lib, length))
            return lambda: f(x, w).block_until_ready()

        long, short = chained(2 * row.length), chained(row.length)
        short()
        return Run(long, lambda: [np.asarray(long())], less=short, per=row.length)

    def gradient(self, row: Gradient) -> Run:
        """jit of grad."""
        form, lib, xs = row.forms["jax"], self.lib, self.put(row.inputs())
        f = lib.jit(lib.value_and_grad(lambda *a: form(lib, *a)))

        def call() -> Any:
            return lib.block_until_ready(f(*xs))[1]

        return Run(call, lambda: [np.asarray(call())])

    def layer(self, row: Layer) -> Run:
        """jit of vjp."""
        form, lib, wanted = row.forms["jax"], self.lib, row.wanted
        xs, gy = self.put(row.inputs()), self.put(row.cotangent)

        def both(gy: Any, *xs: Any) -> Any:
            y, back = lib.vjp(
                lambda *some: form(lib, *some, *xs[wanted:]), *xs[:wanted]
            )
            return y, *back(gy)

        f = lib.jit(both)

        def call() -> Any:
            return lib.block_until_ready(f(gy, *xs))

        return Run(call, lambda: [np.asarray(a) for a in call()])

    def update(self, row: Update) -> Run | None:
        """SGD and Adam; JAX itself has no optimizers."""
        if row.optimizer not in ("SGD", "Adam"):
            return None
        lr, momentum = row.options["lr"], row.options.get("momentum", 0.0)
        p, g = self.put(row.inputs())
        rule: Rule = (
            adam(self.lib, lr)
            if row.optimizer == "Adam"
            else sgd(self.lib, lr, momentum)
        )
        f = self.lib.jit(rule, donate_argnums=(0, 2))
        state = start(self.lib, [p])
        held = ([p], state)

        def call() -> None:
            nonlocal held
            held = self.lib.block_until_ready(f(held[0], [g], held[1]))

        def result() -> list[Array]:
            for _ in range(CHECKED_STEPS):
                call()
            return [np.asarray(held[0][0][:1000])]

        return Run(call, result)

    def inference(self, row: Inference) -> Run:
        """The network on an array."""
        weights, x = self.put([(w.T.copy(), b) for w, b in row.weights]), row.x
        f = self.lib.jit(lambda x: forward(self.lib, weights, x))
        return Run(lambda: np.asarray(f(x)), lambda: [np.asarray(f(x))])

    def modular_inference(self, row: ModularInference) -> Run:
        """The same of a network of modules."""
        lib, x = self.lib, row.x
        state = self.put(row.state(modules.state(row.module)))
        f = lib.jit(lambda x: modules.run(Functions(lib, state), row.module, x))
        return Run(lambda: np.asarray(f(x)), lambda: [np.asarray(f(x))])

    def training(self, row: Training) -> Run:
        """The whole step in one function."""
        lib = self.lib

        def logits(weights: Any, kept: Any, x: Any) -> tuple[Any, Any]:
            return forward(lib, weights, x), kept

        weights = self.put([(w.T.copy(), b) for w, b in row.weights])
        return self.steps(row, logits, weights, ())

    def modular_training(self, row: ModularTraining) -> Run:
        """The same of a network of modules; running statistics have no gradients."""
        lib = self.lib
        state = self.put(row.state(modules.state(row.module)))
        running = {k: state.pop(k) for k in list(state) if "running" in k}

        def logits(weights: Any, running: Any, x: Any) -> tuple[Any, Any]:
            functions = Functions(lib, weights | running, training=True)
            return modules.run(functions, row.module, x), functions.moved

        return self.steps(row, logits, state, running)

    def steps(
        self, row: Training | ModularTraining, logits: Any, weights: Any, kept: Any
    ) -> Run:
        """Steps on the same batch; logits(weights, kept, x) returns what is kept next."""
        lib = self.lib
        x, t = self.put(row.batch_of_pairs)
        rule: Rule = (
            adam(lib, LR["adam"])
            if row.optimizer == "adam"
            else sgd(lib, LR["sgd"], MOMENTUM)
        )

        def loss_of(weights: Any, kept: Any, x: Any, t: Any) -> Any:
            z, kept = logits(weights, kept, x)
            z = lib.nn.log_softmax(z)
            return -z[lib.numpy.arange(len(x)), t].mean(), kept

        def step(weights: Any, state: Any, kept: Any, x: Any, t: Any) -> Any:
            grad = lib.value_and_grad(loss_of, has_aux=True)
            (loss, kept), gradients = grad(weights, kept, x, t)
            return loss, *rule(weights, gradients, state), kept

        f = lib.jit(step, donate_argnums=(0, 1, 2))
        held = (weights, start(lib, weights), kept)

        def call() -> Any:
            nonlocal held
            loss, *held = lib.block_until_ready(f(*held, x, t))
            return loss

        return Run(call, lambda: losses(call, CHECKED_STEPS))


class Functions:
    """The functions of modules.Ops on arrays.

    Parameters:
        lib : jax.
        state : parameters and running statistics, by name.
        training : whether batch norm goes by the batch.
    Attributes: moved : the running statistics afterwards.
    """

    def __init__(self, lib: Any, state: Any, *, training: bool = False) -> None:
        self.lib, self.state, self.training = lib, state, training
        self.moved: dict[str, Any] = {}

    def conv(
        self, x: Any, weight: str, bias: str | None, stride: int, padding: int
    ) -> Any:
        """conv_general_dilated."""
        y = self.lib.lax.conv_general_dilated(
            x, self.state[weight], (stride,) * 2, [(padding,) * 2] * 2
        )
        return y if bias is None else y + self.state[bias][:, None, None]

    def batch_norm(self, x: Any, name: str, eps: float) -> Any:
        """By the batch, or by running statistics."""
        weight, bias = (self.state[f"{name}.{k}"] for k in ("weight", "bias"))
        keys = [f"{name}.running_{k}" for k in ("mean", "var")]
        mean, variance = (self.state[k] for k in keys)
        if self.training:
            count = x.size / x.shape[1]
            running = mean, variance
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            batch = mean, variance * (count / (count - 1))
            for key, old, new in zip(keys, running, batch, strict=True):
                self.moved[key] = 0.9 * old + 0.1 * new
        scale = weight * self.lib.lax.rsqrt(variance + eps)
        shift = bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def relu(self, x: Any) -> Any:
        """max(x, 0)."""
        return self.lib.nn.relu(x)

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        """reduce_window."""
        return pooled(self.lib, x, size, stride, padding)

    def mean_pool(self, x: Any) -> Any:
        """Of whole channels."""
        return x.mean((2, 3), keepdims=True)

    def add(self, x: Any, y: Any) -> Any:
        """The sum."""
        return x + y

    def flatten(self, x: Any) -> Any:
        """(n, rest)."""
        return x.reshape(len(x), -1)

    def linear(self, x: Any, weight: str, bias: str) -> Any:
        """x W^T + b."""
        return x @ self.state[weight].T + self.state[bias]


def forward(lib: Any, weights: Any, x: Any) -> Any:
    """The logits."""
    for k, (w, b) in enumerate(weights):
        x = x @ w + b
        if k + 1 < len(weights):
            x = lib.numpy.maximum(x, 0)
    return x


def start(lib: Any, parameters: Any) -> Any:
    """Two moments of each parameter, and the count of steps."""
    zeros = lib.tree.map(lib.numpy.zeros_like, parameters)
    more = lib.tree.map(lib.numpy.zeros_like, parameters)
    return zeros, more, lib.numpy.zeros((), lib.numpy.float32)


def sgd(lib: Any, lr: float, momentum: float) -> Rule:
    """The rule of SGD."""

    def rule(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        m, rest, count = state
        if momentum:
            m = lib.tree.map(lambda m, g: momentum * m + g, m, g)
            g = m
        return lib.tree.map(lambda p, g: p - lr * g, p, g), (m, rest, count)

    return rule


def adam(lib: Any, lr: float) -> Rule:
    """The rule of Adam."""

    def rule(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        m, v, count = state
        count = count + 1
        m = lib.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = lib.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        size = lr / (1 - 0.9**count)
        root = lib.numpy.sqrt(1 - 0.999**count)
        p = lib.tree.map(
            lambda p, m, v: p - size * m / (lib.numpy.sqrt(v) / root + 1e-8), p, m, v
        )
        return p, (m, v, count)

    return rule
