"""PyTorch: eager, and compiled."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from fastnn.bench.peers.base import Contestant, losses, modular
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
    Network,
    Run,
    Training,
    Update,
)

FUSED = ("SGD", "Adam", "AdamW", "Adagrad")  # the fastest that PyTorch has on CPUs


class Torch(Contestant):
    """Op by op."""

    key, title, package, module = "torch", "PyTorch", "torch", "torch"
    language = "torch"

    def prepare(self, threads: int) -> None:
        """The pools' sizes too."""
        super().prepare(threads)
        self.lib.set_num_threads(threads)
        if self.lib.get_num_interop_threads() != 1:
            self.lib.set_num_interop_threads(1)

    def compiled(self, function: Any) -> Any:
        """Here, nothing is."""
        return function

    def optimizer(self, name: str, parameters: Any, **options: float) -> Any:
        """The fused one where there is one."""
        fused = {"fused": True} if name in FUSED else {}
        return getattr(self.lib.optim, name)(parameters, **options, **fused)

    def tensors(self, arrays: list[Array]) -> list[Any]:
        """Sharing memory."""
        return [self.lib.from_numpy(a) for a in arrays]

    def kernel(self, row: Kernel) -> Run:
        """The form, under inference_mode."""
        form, lib, xs = row.forms["torch"], self.lib, row.inputs()
        out = (
            None
            if row.out is None
            else lib.zeros(*row.out, dtype=getattr(lib, row.dtype))
        )
        f = self.compiled(
            (lambda *a: form(lib, *a))
            if out is None
            else (lambda *a: form(lib, *a[:-1], out=a[-1]))
        )
        last = () if out is None else (out,)
        if row.arrays:

            def call() -> Any:
                return f(*self.tensors(xs), *last).numpy()

            timed = lib.inference_mode()(call)
            return Run(timed, lambda: [timed()])
        ts = self.tensors(xs)

        def run() -> Any:
            return f(*ts, *last)

        timed = lib.inference_mode()(run)
        return Run(timed, lambda: [timed().numpy()])

    def chain(self, row: Chain) -> Run:
        """The form over and over, under inference_mode."""
        lib = self.lib
        x, w = self.tensors(row.inputs())

        def chained(length: int) -> Callable[[], Any]:
            f = self.compiled(row.program("torch", lib, length))
            call: Callable[[], Any] = lib.inference_mode()(lambda: f(x, w))
            return call

        long, short = chained(2 * row.length), chained(row.length)
        short()
        return Run(long, lambda: [long().numpy()], less=short, per=row.length)

    def gradient(self, row: Gradient) -> Run:
        """Forward and backward."""
        form, lib = row.forms["torch"], self.lib
        x, *rest = self.tensors(row.inputs())
        x.requires_grad_()
        loss = self.compiled(lambda x, *rest: form(lib, x, *rest))

        def step() -> None:
            x.grad = None
            loss(x, *rest).backward()

        def result() -> list[Array]:
            step()
            return [x.grad.numpy()]

        return Run(step, result)

    def layer(self, row: Layer) -> Run:
        """Forward, and backward from a gradient of the result."""
        form, lib = row.forms["torch"], self.lib
        xs, (gy,) = self.tensors(row.inputs()), self.tensors([row.cotangent])
        leaves = [x.requires_grad_() for x in xs[: row.wanted]]
        forward = self.compiled(lambda *xs: form(lib, *xs))

        def step() -> Any:
            for x in leaves:
                x.grad = None
            y = forward(*xs)
            y.backward(gy)
            return y

        def result() -> list[Array]:
            y = step().detach()
            return [y.numpy(), *(x.grad.numpy() for x in leaves)]

        return Run(step, result)

    def update(self, row: Update) -> Run:
        """An optimizer's step."""
        p, g = self.tensors(row.inputs())
        p.requires_grad_()
        p.grad = g
        step = self.compiled(self.optimizer(row.optimizer, [p], **row.options).step)

        def result() -> list[Array]:
            for _ in range(CHECKED_STEPS):
                step()
            return [p.detach().numpy()[:1000].copy()]

        return Run(step, result)

    def inference(self, row: Inference) -> Run:
        """The network on an array."""
        return self.predictions(network(self.lib, row), row.x)

    def modular_inference(self, row: ModularInference) -> Run:
        """The same of a network of modules."""
        return self.predictions(modular(self.lib, row), row.x)

    def predictions(self, model: Any, x: Array) -> Run:
        """From an array to an array, under inference_mode."""
        lib, predict = self.lib, self.compiled(model.eval())

        def call() -> Any:
            return predict(lib.from_numpy(x)).numpy()

        timed = lib.inference_mode()(call)
        return Run(timed, lambda: [timed()])

    def training(self, row: Training) -> Run:
        """One step, as anyone writes it."""
        return self.steps(network(self.lib, row), row)

    def modular_training(self, row: ModularTraining) -> Run:
        """The same of a network of modules."""
        return self.steps(modular(self.lib, row), row)

    token_training = modular_training

    def steps(self, net: Any, row: Training | ModularTraining) -> Run:
        """Steps on the same batch."""
        clip = row.clip if isinstance(row, ModularTraining) else None
        parameters, clipped = list(net.parameters()), self.lib.nn.utils.clip_grad_norm_
        criterion = self.lib.nn.CrossEntropyLoss()
        if row.optimizer == "adam":
            optimizer = self.optimizer("Adam", net.parameters(), lr=LR["adam"])
        else:
            optimizer = self.optimizer(
                "SGD", net.parameters(), lr=LR["sgd"], momentum=MOMENTUM
            )
        inputs, targets = self.tensors(list(row.batch_of_pairs))
        loss_of = self.compiled(lambda x, y: criterion(net(x), y))
        update = self.compiled(optimizer.step)

        def step() -> Any:
            optimizer.zero_grad()
            loss = loss_of(inputs, targets)
            loss.backward()
            if clip is not None:
                clipped(parameters, clip)
            update()
            return loss

        return Run(step, lambda: losses(step, CHECKED_STEPS, lambda v: v.item()))


class TorchCompiled(Torch):
    """torch.compile around the function, the model with its loss, the optimizer's step."""

    key, title = "compiled", "PyTorch compiled"

    def compiled(self, function: Any) -> Any:
        """Afresh: what was compiled for other workloads is forgotten."""
        return self.lib.compile(function)

    def build(self, row: Any) -> Run | None:
        """A workload must not meet the recompilation limit because of earlier ones."""
        self.lib.compiler.reset()
        return super().build(row)

    def optimizer(self, name: str, parameters: Any, **options: float) -> Any:
        """The one that the compiler fuses itself."""
        return getattr(self.lib.optim, name)(parameters, **options)


def network(lib: Any, row: Network) -> Any:
    """The row's network and weights."""
    layers: list[Any] = []
    for (k, n), (weight, bias) in zip(
        itertools.pairwise(row.sizes), row.weights, strict=True
    ):
        layer = lib.nn.Linear(k, n)
        with lib.no_grad():
            layer.weight.copy_(lib.from_numpy(weight))
            layer.bias.copy_(lib.from_numpy(bias))
        layers += [layer, lib.nn.ReLU()]
    return lib.nn.Sequential(*layers[:-1])
