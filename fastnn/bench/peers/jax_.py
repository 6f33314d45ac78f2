"""JAX: one jitted function for each workload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.bench.peers.base import Contestant, losses
from fastnn.bench.workloads.rows import (
    CHECKED_STEPS,
    LR,
    MOMENTUM,
    Array,
    Chain,
    Gradient,
    Inference,
    Kernel,
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

    def training(self, row: Training) -> Run:
        """The whole step in one function."""
        lib = self.lib
        x, t = self.put(row.batch_of_pairs)
        rule: Rule = (
            adam(lib, LR["adam"])
            if row.optimizer == "adam"
            else sgd(lib, LR["sgd"], MOMENTUM)
        )

        def loss_of(weights: Any, x: Any, t: Any) -> Any:
            z = lib.nn.log_softmax(forward(lib, weights, x))
            return -z[lib.numpy.arange(len(x)), t].mean()

        def step(weights: Any, state: Any, x: Any, t: Any) -> Any:
            loss, gradients = lib.value_and_grad(loss_of)(weights, x, t)
            return loss, *rule(weights, gradients, state)

        f = lib.jit(step, donate_argnums=(0, 1))
        weights = self.put([(w.T.copy(), b) for w, b in row.weights])
        held = (weights, start(lib, weights))

        def call() -> Any:
            nonlocal held
            loss, *held = lib.block_until_ready(f(*held, x, t))
            return loss

        return Run(call, lambda: losses(call, CHECKED_STEPS))


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
