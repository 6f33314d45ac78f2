"""Monitor: measures what happens inside a network while it learns.

Every so many batches hooks are put on the layers, a copy of the parameters is kept over
the step, and the numbers are read afterwards. Between those batches there are no hooks,
and all it costs is a look at the loss. What the numbers mean is said in diagnosis.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fastnn
from fastnn._core import RowGradient, Tensor
from fastnn.nn import Module
from fastnn.train.callbacks.base import Callback
from fastnn.train.callbacks.diagnosis import Diagnosis, Layer, Message
from fastnn.train.callbacks.replay import again

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer

Record = dict[str, Any]
RELU_LIKE = ("ReLU", "ReLU6")  # zero, with zero gradient, below zero


class Monitor(Callback):
    """Measures layers and parameters as they learn, and says in words what goes wrong.

    Parameters:
        every : int of at least 1: it measures the first batch and each `every`-th after
            it; the others cost nothing. Until the network has been seen to learn, the
            last batch of an epoch too; and what follows a loss of ten times the first.

    Attributes:
        records : list of dict, one a measured batch: "step" (batches done in the fit),
            "epoch", "batch", "loss"; "activations", layer to root mean square of its
            output; "gradients", parameter to the norm of its gradient, after clipping;
            "updates", parameter to norm of its change / norm before it; "dead", layer to
            the share of its units that gave nothing for the whole batch.
        messages : list of Message(kind, layer, epoch, batch, text), also printed where
            the fit is verbose. Each kind is said once of a layer.

    Kinds of messages:
        "diverging" : a loss or gradient is not finite; or the loss has been above ten
            times its first value for five batches, or for fewer before a layer died;
            layer is the first with values that are not finite, or dead.
        "exploding" : in the first batch activations grow ten thousandfold from the first
            layer with weights to the last; or gradients do from the last to the first; or
            the gradient has become a thousand times as large as at first.
        "vanishing" : in the first batch activations shrink ten thousandfold; or the first
            layer's gradient is less than a thousandth of the last's.
        "dead layer" : at least 95% of a layer's units gave 0, or got no gradient, in two
            measured batches, or as many as have sixteen samples.
        "nothing learned" : after an epoch, of 30 batches at least together with those
            before it, the outputs are no better than their own mean, a constant guess, and
            the loss is still above three quarters of its first value.

    Example:
        >>> import fastnn
        >>> from fastnn import nn, optim
        >>> from fastnn.datasets import digits
        >>> from fastnn.train import Monitor, Trainer
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> for p in model.parameters():
        ...     _ = p.detach().zero_()
        >>> sgd = optim.SGD(model.parameters(), lr=0.1)
        >>> monitor = Monitor()
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), sgd)
        >>> _ = trainer.fit(digits().train, callbacks=[monitor], verbose=False)
        >>> [message.kind for message in monitor.messages]
        ['nothing learned']
    """

    watches_finite = True

    def __init__(self, every: int = 100) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Monitor: expected every of at least 1, got {every!r}")
        self.every = every
        self.records: list[Record] = []
        self.diagnosis = Diagnosis()
        self._probe: _Probe | None = None

    @property
    def messages(self) -> list[Message]:
        """What was said, in order."""
        return self.diagnosis.messages

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Start over."""
        self.records, self.diagnosis = [], Diagnosis()

    def on_batch_begin(self, trainer: Trainer) -> None:
        """Put the hooks on, where this batch is measured."""
        step = len(trainer.history.batch_losses)
        last = not self.diagnosis.learned and trainer.batch + 1 == trainer.batches
        if step % self.every == 0 or last or self.diagnosis.suspects:
            trainer.run_eagerly()  # so that hooks are called
            self._probe = _Probe(trainer.model, gradients=True)

    def on_batch_end(self, trainer: Trainer) -> None:
        """Look at the loss; where measured, take the hooks off and read them."""
        probe, self._probe = self._probe, None
        layers: list[Layer] | None = None
        record: Record | None = None
        if probe is not None:
            probe.remove()
            layers = probe.layers()
            record = self._record(trainer, probe, layers)
            self.records.append(record)
        said = len(self.messages)
        trouble = self.diagnosis.look_at_loss(trainer, record)
        if trouble:
            found = layers if layers is not None else forward_only(trainer)
            self.diagnosis.diverging(trainer, trouble, found)
        if record is not None and layers is not None:
            self.diagnosis.look_at_layers(trainer, record, layers)
        self._say(trainer, said)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Ask whether anything was learned."""
        said = len(self.messages)
        self.diagnosis.look_at_epoch(trainer)
        self._say(trainer, said)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Take the hooks off where a batch was broken off."""
        if self._probe is not None:
            self._probe.remove()
            self._probe = None

    def _say(self, trainer: Trainer, said: int) -> None:
        for message in self.messages[said:]:
            trainer.say(
                f"Monitor, epoch {message.epoch}, batch {message.batch}: {message.text}"
            )

    def _record(self, trainer: Trainer, probe: _Probe, layers: list[Layer]) -> Record:
        gradients, updates = {}, {}
        with fastnn.no_grad():
            for name, p in trainer.model.named_parameters():
                if p.grad is not None:
                    g = p.grad
                    rows = isinstance(g, RowGradient)
                    gradients[name] = norm(g.summed().values if rows else g)
                if name in probe.before:
                    size = norm(probe.before[name])
                    change = norm(p.detach() - probe.before[name])
                    updates[name] = change / size if size else math.inf * bool(change)
        return {
            "step": len(trainer.history.batch_losses),
            "epoch": trainer.epoch,
            "batch": trainer.batch,
            "loss": trainer.batch_loss,
            "activations": {layer.name: layer.rms for layer in layers},
            "gradients": gradients,
            "updates": updates,
            "dead": {
                layer.name: layer.dead for layer in layers if layer.dead is not None
            },
        }

    def plot(self, path: Any = None) -> Any:
        """Draw the records: activations, gradients, updates and dead units by batch.

        Parameters:
            path : file to write (.png, .svg, .pdf), or None.

        Returns: the matplotlib Figure.

        Raises: ImportError without matplotlib, the extra "plot".
        """
        from fastnn.train._plot import plot_monitor

        return plot_monitor(self.records, path)

    def state_dict(self) -> dict[str, Any]:
        """The records, and what the diagnosis remembers."""
        return {"records": list(self.records), "diagnosis": self.diagnosis.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.records = list(state["records"])
        self.diagnosis.load_state_dict(state["diagnosis"])


def norm(x: Tensor) -> float:
    """The root of the sum of squares; in float64 where a float32 would over- or underflow."""
    x = x.detach()
    square = (x * x).sum().item()
    if not 1e-30 < square < math.inf:
        x = x.double()
        square = (x * x).sum().item()
    return math.sqrt(square)


class _Call:
    """One call of a layer: its output's statistics, as tensors not yet read."""

    def __init__(self, name: str, module: Module, output: Tensor) -> None:
        self.name = name
        self.module = module
        with fastnn.no_grad():
            wide = output.detach().double()
            self.square = (wide * wide).mean()
            self.top = over_batch(output.detach())
        self.slope: Tensor | None = None  # largest |gradient| of each unit


def over_batch(x: Tensor) -> Tensor | None:
    """The largest value of each unit: (n, units), (n, time, units), (n, units, h, w)."""
    if x.ndim < 2 or x.numel() == 0:
        return None
    dims = (0, *range(2, x.ndim)) if x.ndim > 3 else tuple(range(x.ndim - 1))
    return x.amax(dim=dims)


class _Probe:
    """Hooks on the layers for one forward pass, and on their outputs for the backward."""

    def __init__(self, model: Module, *, gradients: bool) -> None:
        self.calls: list[_Call] = []
        self.before: dict[str, Tensor] = {}
        self._gradients = gradients
        self._handles = []
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                self._handles.append(
                    module.register_forward_hook(self._hook(name or "model"))
                )
        if gradients:
            self.before = {
                name: p.detach().clone()
                for name, p in model.named_parameters()
                if p.requires_grad
            }

    def _hook(self, name: str) -> Any:
        def see(module: Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                return
            if output.numel() == 0:
                return
            call = _Call(name, module, output)
            self.calls.append(call)
            if self._gradients and output.requires_grad:

                def keep(gradient: Tensor) -> None:
                    with fastnn.no_grad():
                        call.slope = over_batch(gradient.detach().abs())

                output.register_hook(keep)

        return see

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def layers(self) -> list[Layer]:
        """The layers in the order of their calls, with what was measured."""
        found: dict[str, Layer] = {}
        for i, call in enumerate(self.calls):
            after = self.calls[i + 1] if i + 1 < len(self.calls) else None
            silent = self._silent(call, after)
            kind = type(call.module).__name__
            parameters = dict(call.module.named_parameters(recurse=False))
            found[call.name] = Layer(
                name=call.name,
                kind=kind,
                rms=math.sqrt(call.square.item()),
                silent=silent,
                parameters=tuple(
                    f"{call.name}.{p}" if call.name != "model" else p
                    for p in parameters
                ),
                weighted=any(p.ndim > 1 for p in parameters.values()),
                zero=any(p.ndim > 1 and not norm(p) for p in parameters.values()),
            )
        return list(found.values())

    def _silent(self, call: _Call, after: _Call | None) -> list[bool] | None:
        """Which units gave nothing; None where the layer is not of that kind.

        A ReLU's unit is silent where its output is 0 all over the batch. The ReLU may
        also be a function call in forward(): then a unit of the layer before it is silent
        where it lies below 0 all over the batch and gets no gradient.
        """
        kind = type(call.module).__name__
        if call.top is None:
            return None
        if kind in RELU_LIKE:
            return (call.top <= 0).tolist()  # type: ignore[no-any-return]
        owns = any(p.ndim > 1 for p in call.module.parameters())
        if not owns or after is None or type(after.module).__name__ in RELU_LIKE:
            return None
        below = call.top <= 0
        if self._gradients:
            if call.slope is None:
                return None
            return (below * (call.slope == 0)).tolist()  # type: ignore[no-any-return]
        return below.tolist() if below.sum().item() == len(below) else None


def forward_only(trainer: Trainer) -> list[Layer]:
    """The layers as the last batch finds them, leaving no trace: as it found them where its
    step changed nothing, else as they are now, in evaluation mode."""
    probe = _Probe(trainer.model, gradients=False)
    try:
        mode = trainer.inference() if trainer.finite else fastnn.no_grad()
        with again(trainer), mode:
            trainer.model(*trainer.inputs)
    finally:
        probe.remove()
    return probe.layers()
