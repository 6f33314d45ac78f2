"""fastnn: compiled, and eager."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import fastnn
from fastnn import Tensor, nn, optim
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


class Eager(Contestant):
    """Op by op."""

    key, title, package, module = "eager", "fastnn eager", "fastnn", "fastnn"
    language = "fastnn"

    def version(self) -> str | None:
        """Of this package, installed or not."""
        return fastnn.__version__

    def compiled(self, function: Any) -> Any:
        """Here, nothing is."""
        return function

    def kernel(self, row: Kernel) -> Run:
        """The form, on tensors or on arrays, without gradients."""
        form = row.forms["fastnn"]
        inputs = row.inputs()
        out = None if row.out is None else fastnn.zeros(*row.out, dtype=row.dtype)
        if row.arrays:
            return self.on_arrays(form, inputs, None if out is None else out.numpy())
        xs = [fastnn.from_numpy(x) for x in inputs]
        call = self.function(form, xs, out)

        def result() -> list[Array]:
            y = call()
            return [(y if out is None else out).numpy()]

        return Run(call, result)

    def function(
        self, form: Any, xs: list[Tensor], out: Tensor | None
    ) -> Callable[[], Tensor]:
        """A call of the form, writing into out where there is one."""
        if out is None:
            return lambda: form(fastnn, *xs)
        return lambda: form(fastnn, *xs, out=out)

    def on_arrays(self, form: Any, xs: list[Array], out: Array | None) -> Run:
        """From arrays to an array."""

        def call() -> Array:
            y = form(fastnn, *(fastnn.from_numpy(x) for x in xs)).numpy()
            if out is None:
                return y
            out[...] = y
            return out

        return Run(call, lambda: [call()])

    def chain(self, row: Chain) -> Run:
        """The form over and over, without gradients."""
        x, w = (fastnn.from_numpy(a) for a in row.inputs())

        def chained(length: int) -> Callable[[], Tensor]:
            f = self.compiled(row.program("fastnn", fastnn, length))
            return lambda: f(x, w)

        long, short = chained(2 * row.length), chained(row.length)
        warm(short)
        return Run(long, lambda: [warm(long).numpy()], less=short, per=row.length)

    def gradient(self, row: Gradient) -> Run:
        """Forward and backward."""
        form = row.forms["fastnn"]
        x, *rest = (fastnn.from_numpy(a) for a in row.inputs())
        x.requires_grad_()

        def forward_backward() -> None:
            x.grad = None
            form(fastnn, x, *rest).backward()

        step = self.compiled(forward_backward)

        def result() -> list[Array]:
            warm(step)
            assert x.grad is not None
            return [x.grad.numpy()]

        return Run(step, result)

    def layer(self, row: Layer) -> Run:
        """Forward, and backward from a gradient of the result."""
        form = row.forms["fastnn"]
        xs = [fastnn.from_numpy(a) for a in row.inputs()]
        gy = fastnn.from_numpy(row.cotangent)
        leaves = [x.requires_grad_() for x in xs[: row.wanted]]

        def forward_backward() -> Tensor:
            for x in leaves:
                x.grad = None
            y: Tensor = form(fastnn, *xs)
            y.backward(gy)
            return y

        step = self.compiled(forward_backward)

        def result() -> list[Array]:
            made = [warm(step).detach(), *(x.grad for x in leaves)]
            return [t.numpy() for t in made]

        return Run(step, result)

    def update(self, row: Update) -> Run:
        """An optimizer's step."""
        start, gradient = row.inputs()
        p = fastnn.from_numpy(start).requires_grad_()
        p.grad = fastnn.from_numpy(gradient)
        optimizer = getattr(optim, row.optimizer)([p], **row.options)
        step = self.compiled(lambda: optimizer.step())

        def result() -> list[Array]:
            for _ in range(CHECKED_STEPS):
                step()
            return [p.detach().numpy()[:1000].copy()]

        return Run(step, result)

    def inference(self, row: Inference) -> Run:
        """The network on an array."""
        return self.predictions(network(row), row.x)

    def modular_inference(self, row: ModularInference) -> Run:
        """The same of a network of modules."""
        return self.predictions(modular(fastnn, row), row.x)

    def predictions(self, model: Any, x: Array) -> Run:
        """From an array to an array."""
        predict = self.predictor(model)

        def call() -> Array:
            y: Array = predict(fastnn.from_numpy(x)).numpy()
            return y

        return Run(call, lambda: [warm(call)])

    def predictor(self, model: Any) -> Any:
        """The model as it is called."""
        return self.compiled(model.eval().requires_grad_(False))

    def training(self, row: Training) -> Run:
        """One step, as anyone writes it."""
        return self.steps(network(row), row)

    def modular_training(self, row: ModularTraining) -> Run:
        """The same of a network of modules."""
        return self.steps(modular(fastnn, row), row)

    token_training = modular_training

    def steps(self, model: Any, row: Training | ModularTraining) -> Run:
        """Steps on the same batch."""
        clip = row.clip if isinstance(row, ModularTraining) else None
        criterion = nn.CrossEntropyLoss()
        optimizer: Any
        if row.optimizer == "adam":
            optimizer = optim.Adam(model.parameters(), lr=LR["adam"])
        else:
            optimizer = optim.SGD(model.parameters(), lr=LR["sgd"], momentum=MOMENTUM)
        inputs, targets = (fastnn.from_numpy(a) for a in row.batch_of_pairs)

        def train_step(x: Tensor, y: Tensor) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = criterion(model(x), y)
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            return loss

        step = self.compiled(train_step)
        return Run(
            lambda: step(inputs, targets),
            lambda: losses(
                lambda: step(inputs, targets), CHECKED_STEPS, lambda v: v.item()
            ),
        )


class Compiled(Eager):
    """As plans."""

    key, title = "fastnn", "fastnn"

    def compiled(self, function: Any) -> Any:
        """The one place where a plan is asked for."""
        return fastnn.compile(function)

    def function(
        self, form: Any, xs: list[Tensor], out: Tensor | None
    ) -> Callable[[], Tensor]:
        """A call of the plan of the form."""
        plan = self.compiled(lambda *xs: form(fastnn, *xs))
        options = {} if out is None else {"out": out}

        def call() -> Any:
            return plan(*xs, **options)

        warm(call)
        return call

    def on_arrays(self, form: Any, xs: list[Array], out: Array | None) -> Run:
        """The plan takes arrays, and fills one."""
        plan = self.compiled(lambda *xs: form(fastnn, *xs))

        def call() -> Array:
            y: Array = plan(*xs).numpy()
            return y

        def fill() -> Array | None:
            plan(*xs, out=out)
            return out

        run: Callable[[], Any] = call if out is None else fill
        return Run(run, lambda: [warm(run)])

    def predictions(self, model: Any, x: Array) -> Run:
        """The plan takes the array."""
        predict = self.predictor(model)

        def call() -> Array:
            y: Array = predict(x).numpy()
            return y

        return Run(call, lambda: [warm(call)])


def warm(call: Callable[[], Any]) -> Any:
    """The last of as many calls as a plan may need to be recorded, and one more."""
    for _ in range(CHECKED_STEPS):
        result = call()
    return result


def network(row: Network) -> Any:
    """The row's network and weights."""
    layers: list[nn.Module] = []
    for (k, n), (weight, bias) in zip(
        itertools.pairwise(row.sizes), row.weights, strict=True
    ):
        layer: Any = nn.Linear(k, n)
        with fastnn.no_grad():
            layer.weight.copy_(fastnn.from_numpy(weight))
            layer.bias.copy_(fastnn.from_numpy(bias))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
