"""Trainer: fits a model to data, and evaluates and predicts with it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import Module
from fastnn.nn.utils import carried_states, load_carried_states, reset_states
from fastnn.nn.utils.stateful import Apart
from fastnn.optim.optimizer import Optimizer
from fastnn.train import _data, checkpoint
from fastnn.train._interrupt import Interrupt
from fastnn.train._plans import Plans, one_step
from fastnn.train.callbacks.base import Callback, CallbackList
from fastnn.train.callbacks.progress import ProgressBar
from fastnn.train.callbacks.schedule import LRSchedule
from fastnn.train.history import History
from fastnn.train.metrics import Metric, named

END = object()


class Trainer:
    """Fits model by minimising loss(model(x), y) with an optimizer.

    Parameters:
        model : Module.
        loss : callable (output, target) to a scalar Tensor, such as a loss module.
        optimizer : Optimizer over parameters of the model.
        metrics : names ("accuracy", "top5", "precision", "recall", "f1",
            "confusion_matrix", "mse", "mae", "r2") or Metric objects, or a mapping of
            names to them.
        scheduler : learning rate scheduler, stepped after each epoch; the callback
            LRSchedule steps one after each batch. ReduceLROnPlateau is given val_loss,
            without validation the loss.
        clip_grad_norm : float: largest norm that the gradient of all parameters
            together may have; None leaves it.
        compile : bool: whether steps run as plans (fastnn.compile). What cannot, such as
            a model with hooks, is said once and runs op by op, with the same bits.

    Attributes:
        history : History of the fit under way, or the last one.
        epoch, epochs : int: the epoch under way, from 1, and how many there are to be.
        batch, batches : int: how many batches of it are done, and of how many (or None).
        inputs, target, output, batch_loss : of the batch under way, for callbacks.
        finite : bool: whether its loss and gradients were finite; looked at where a callback
            watches for that. Where not, the step has changed nothing.
        logs : dict of str to float: the newest loss and metrics.
        names : list of str: the values that the history of this fit will have.
        outcome : str: "running", "finished", "stopped", "interrupted" or "failed".

    Example:
        >>> import fastnn
        >>> from fastnn import nn, optim
        >>> from fastnn.datasets import digits
        >>> from fastnn.train import Trainer
        >>> train, test = digits()
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, ["accuracy"])
        >>> history = trainer.fit(train, validation=test, epochs=3, verbose=False)
        >>> history["val_accuracy"][-1] > 0.9
        True
        >>> tuple(trainer.predict(test.images).shape)
        (360, 10)
    """

    def __init__(
        self,
        model: Module,
        loss: Any,
        optimizer: Optimizer,
        metrics: Mapping[str, Metric | str]
        | Iterable[Metric | str]
        | str
        | Metric = (),
        *,
        scheduler: Any = None,
        clip_grad_norm: float | None = None,
        compile: bool = True,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(
                f"Trainer: expected a Module as model, got {type(model).__name__}"
            )
        if not callable(loss) or isinstance(loss, type):
            what = (
                f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
            )
            raise TypeError(
                f"Trainer: expected a callable (output, target) as loss, got {what}"
            )
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"Trainer: expected an Optimizer, got {optimizer!r}; as in "
                "optim.SGD(model.parameters(), lr=0.1)"
            )
        owned = {id(p) for p in model.parameters()}
        if not any(id(p) in owned for g in optimizer.param_groups for p in g["params"]):
            raise ValueError(
                "Trainer: the optimizer holds no parameter of the model; make it from "
                "this model's parameters()"
            )
        if isinstance(clip_grad_norm, str | bytes):
            raise TypeError(
                f"Trainer: expected clip_grad_norm as a number, got {clip_grad_norm!r}"
            )
        if clip_grad_norm is not None and not clip_grad_norm > 0:
            raise ValueError(
                f"Trainer: expected clip_grad_norm above 0, got {clip_grad_norm}"
            )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = named(metrics, loss)
        if scheduler is not None:
            LRSchedule(scheduler)  # raises where it is none
        self.scheduler = scheduler
        self.clip_grad_norm = clip_grad_norm
        self.compile = compile
        self.history = History()
        self.verbose = False
        self.outcome = "finished"
        self.epoch = self.epochs = self.batch = 0
        self.batches: int | None = None
        self.inputs: tuple[Any, ...] = ()
        self.target: Any = None
        self.output: Any = None
        self.batch_loss = float("nan")
        self.logs: dict[str, Any] = {}
        self.names: list[str] = []
        # What a checkpoint in the middle of an epoch must also hold.
        self.loader: Any = None
        self.held_out: Any = None
        self.callbacks = CallbackList([])
        self.mid_epoch = False
        self.loss_sum = 0.0
        self.samples = 0
        self.all_batches = False
        self.epoch_start: Any = None
        self.before_validation: Any = None
        self._interrupt = Interrupt()
        # How the batch under way runs.
        self.finite = True
        self._eager = False
        self.watched = False
        self.flag: Tensor | None = None
        self.generator: Tensor | None = None  # before the batch, where it is watched
        self._plans = Plans(self)
        self._apart = Apart()  # what layers carry in evaluation

    # ---- one step ----

    def train_step(self, inputs: tuple[Any, ...], target: Any) -> tuple[Tensor, Any]:
        """One step on one batch: gradients, clipping, update. Looks at no value, so that
        it can be compiled; what it does besides ops is not repeated.

        Parameters:
            inputs : the model's arguments.
            target : as the loss takes it.

        Returns: (loss, output).
        """
        self.optimizer.zero_grad()
        output = self.model(*inputs)
        loss: Tensor = self.loss(output, target)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(
                f"fit: expected a loss of one element, got {got}; reduction='mean' makes one"
            )
        loss.backward()
        if self.clip_grad_norm is not None:
            fastnn.nn.utils.clip_grad_norm_(
                self.model.parameters(), self.clip_grad_norm
            )
        self.update(loss)
        return loss, output

    def update(self, loss: Tensor) -> None:
        """The optimizer's step; where a callback watches, one that changes nothing unless
        the loss and all gradients are finite.

        Parameters:
            loss : Tensor of the batch, after backward().
        """
        if not self.watched:
            self.optimizer.step()
            return
        params = (p for g in self.optimizer.param_groups for p in g["params"])
        grads = [p.grad for p in params if p.grad is not None]
        self.flag = fastnn.nn.utils.all_finite([loss.detach(), *grads])
        self.optimizer.active = self.flag
        try:
            self.optimizer.step()
        finally:
            self.optimizer.active = None

    def run_eagerly(self) -> None:
        """Ask, in on_batch_begin, that this batch's step run op by op: hooks are called."""
        self._eager = True

    # ---- fit ----

    def fit(
        self,
        train: Any,
        *,
        validation: Any = None,
        epochs: int = 1,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        callbacks: Sequence[Callback] = (),
        verbose: bool = True,
        resume: Any = None,
    ) -> History:
        """Train for some epochs.

        The model is in training mode meanwhile, and afterwards in the mode it was in.
        Ctrl-C ends the fit after the step under way and returns the history so far, with
        history.interrupted set; a second Ctrl-C is raised as usual.

        Parameters:
            train : arrays (x, y), also (x1, x2), y for several inputs; a Dataset; or a
                DataLoader or other iterable of batches (x, y). Floating arrays take the
                model's dtype, integer ones become int64.
            validation : as train, evaluated after each epoch; or a share of train's
                samples between 0 and 1 to hold out, chosen at random with a fixed seed.
            epochs : int: how many, those before resume included.
            batch_size : int of at least 1, for arrays and Datasets; None is 32.
            shuffle : bool: whether arrays and Datasets are shuffled; None is True.
            callbacks : Callbacks.
            verbose : bool: whether to show progress and to print what callbacks say.
            resume : path of a checkpoint to go on from, in the middle of an epoch or
                between two: the same bits as if the fit had never stopped.

        Returns: History.

        Raises: ValueError and TypeError in words for data, and a checkpoint, that do not
        fit; nothing has changed then.
        """
        dtype = _data.model_dtype(self.model)
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
            raise ValueError(f"fit: expected epochs of at least 0, got {epochs!r}")
        if isinstance(validation, float):
            train, validation = _data.hold_out(train, validation, dtype, "fit")
        if shuffle is None and isinstance(train, tuple | fastnn.data.Dataset):
            shuffle = not isinstance(train, fastnn.data.IterableDataset)
        loader, flat = _data.batches(
            train, dtype, "fit", batch_size=batch_size, shuffle=shuffle
        )
        held_out = None
        if validation is not None:
            own = isinstance(validation, tuple | fastnn.data.Dataset)
            held_out = _data.batches(
                validation,
                dtype,
                "fit, validation",
                batch_size=batch_size if own else None,
                shuffle=None,
            )
        run = self._callbacks(callbacks, verbose)
        self.watched = any(c.watches_finite for c in run.callbacks)
        self._plans.begin()
        saved = None if resume is None else checkpoint.read(resume)
        self.loader, self.callbacks, self.verbose = loader, run, verbose
        self.held_out = None if held_out is None else held_out[0]
        self.epochs, self.batches = epochs, _data.length(loader)
        self.names = ["loss", *self.metrics]
        if held_out is not None:
            self.names += [f"val_{name}" for name in self.names]
        self.history, self.logs = History(), {}
        self.mid_epoch = self.all_batches = False
        self.epoch = self.batch = self.samples = 0
        self.before_validation = None
        if saved is not None:
            checkpoint.restore(saved, self, run, resume)
        self.outcome = "running"
        modes = self._modes()
        try:
            run.call("on_fit_begin", self)
            if saved is not None:
                run.load_state_dict(saved["callbacks"])
                checkpoint.set_generators(saved, self.model)
            with Interrupt() as self._interrupt:
                try:
                    self._epochs(loader, flat, held_out)
                except KeyboardInterrupt:
                    if self._interrupt.count > 1:
                        raise
                    self._interrupted()
            if self.outcome == "running" and self._interrupt.count:
                self._interrupted()  # at the very end
            if self.outcome == "running":
                self.outcome = "stopped" if self.history.stop_reason else "finished"
        finally:
            if self.outcome == "running":
                self.outcome = "failed"
            self._set_modes(modes)
            self.inputs, self.target, self.output = (), None, None
            run.close(self)
        return self.history

    def _callbacks(self, callbacks: Sequence[Callback], verbose: bool) -> CallbackList:
        if isinstance(callbacks, Callback):
            raise TypeError("fit: expected a list of callbacks, got one: write [...]")
        every = list(callbacks)
        if self.scheduler is not None:
            every.append(LRSchedule(self.scheduler))
        if verbose and not any(isinstance(c, ProgressBar) for c in every):
            every.append(ProgressBar())
        return CallbackList(every)

    def _epochs(self, loader: Any, flat: bool, held_out: Any) -> None:
        while len(self.history.epochs) < self.epochs and not self.history.stop_reason:
            started = time.perf_counter()
            self.epoch = len(self.history.epochs) + 1
            if not self.mid_epoch:
                self.batch = self.samples = 0
                self.loss_sum, self.all_batches = 0.0, False
                reset_states(self.model)
                for metric in self.metrics.values():
                    metric.reset()
                self.callbacks.call("on_epoch_begin", self)
                if self.history.stop_reason:
                    return
                self.mid_epoch = True
            before = self.samples
            self.model.train()
            if not self.all_batches:
                self._batches(loader, flat)
            seconds = time.perf_counter() - started
            if self.history.stop_reason:
                return
            if self.samples == 0:
                raise ValueError("fit: expected at least one batch, got none")
            values: dict[str, Any] = {"loss": self.loss_sum / self.samples}
            values |= {name: m.compute() for name, m in self.metrics.items()}
            self.logs = dict(values)
            if held_out is not None:
                self.before_validation = checkpoint.draws(self)
                self._interrupt.shielded = False
                found = self._evaluate(held_out[0], held_out[1], "fit, validation")
                self._interrupt.shielded = True
                values |= {f"val_{name}": value for name, value in found.items()}
                self.logs = dict(values)
                self.callbacks.call("on_validation_end", self)
                self.before_validation = None
            self.history.append_epoch(
                values,
                time.perf_counter() - started,
                (self.samples - before) / seconds if seconds else 0.0,
            )
            self.mid_epoch = False
            self.callbacks.call("on_epoch_end", self)
            if self._interrupt.count:
                raise KeyboardInterrupt

    def _batches(self, loader: Any, flat: bool) -> None:
        """The batches of one epoch, or what is left of it."""
        dtype = _data.model_dtype(self.model)
        interrupt, history = self._interrupt, self.history
        begin = self.callbacks["on_batch_begin"]
        end = self.callbacks["on_batch_end"]
        group = self.optimizer.param_groups[0]
        batches = checkpoint.batches(self, loader)
        while True:
            interrupt.shielded = False  # waiting for data can be broken off
            batch = next(batches, END)
            interrupt.shielded = True
            if batch is END:
                self.all_batches = True
                return
            self.inputs, self.target = _data.unpack(batch, dtype, flat, "fit")
            samples = samples_in(self.inputs, self.target, "fit")
            self._eager = not self.compile
            for method in begin:
                method(self)
            if self.watched:
                self.generator = fastnn.get_rng_state()
                carried = carried_states(self.model)
            if self._eager:
                done = one_step(self, self.inputs, self.target)
            else:
                done = self._plans.step(self.inputs, self.target)
            loss, self.output, flag = done
            self.finite = flag is None or bool(flag.item())
            if not self.finite:
                load_carried_states(self.model, carried)
            del done
            self.batch_loss = value = float(loss.item())
            del loss  # and with it the graph
            self.batch += 1
            history.batch_losses.append(value)
            history.learning_rates.append(group["lr"])
            self.loss_sum += value if self._summed else value * samples
            self.samples += samples
            if self.metrics:
                self._update_metrics(self.output, self.target)
            for method in end:
                method(self)
            self.output = None
            if interrupt.count:
                raise KeyboardInterrupt
            if history.stop_reason:
                return

    @property
    def _summed(self) -> bool:
        return getattr(self.loss, "reduction", "mean") == "sum"

    def _update_metrics(self, output: Any, target: Any) -> None:
        with fastnn.no_grad():
            for metric in self.metrics.values():
                metric.update(output, target)

    def _interrupted(self) -> None:
        self.history.interrupted = True
        self.outcome = "interrupted"
        of = f" of {self.batches}" if self.batches is not None else ""
        self.say(
            f"Interrupted in epoch {self.epoch}, after batch {self.batch}{of}: the model "
            "is as the last whole step left it"
        )

    # ---- what callbacks may do ----

    def stop(self, reason: str) -> None:
        """End the fit after this batch or epoch; the history keeps the reason."""
        self.history.stop_reason = reason or "a callback asked for it"

    def say(self, text: str) -> None:
        """Print a line, past a progress bar, where the fit is verbose."""
        if self.verbose:
            from tqdm import tqdm

            tqdm.write(text)

    def save(self, path: Any) -> None:
        """Write a checkpoint from which fit(resume=path) goes on with the same bits.

        It holds the model, the optimizer and all else that the rest of the fit depends
        on; fastnn.load(path)["model"] is the model's state dict. Written aside and
        renamed, so that there is always a whole file.

        Parameters:
            path : file to write.
        """
        checkpoint.write(self, path)

    # ---- evaluate and predict ----

    def evaluate(self, data: Any, *, batch_size: int | None = None) -> dict[str, Any]:
        """The loss and the metrics over data, in evaluation mode, without gradients.

        Parameters:
            data : as fit's train.
            batch_size : int of at least 1, for arrays and Datasets; None is 32.

        Returns: dict of "loss" and each metric's name to its value.
        """
        dtype = _data.model_dtype(self.model)
        batches = _data.batches(
            data, dtype, "evaluate", batch_size=batch_size, shuffle=None
        )
        return self._evaluate(*batches, "evaluate")

    def _evaluate(self, loader: Any, flat: bool, who: str) -> dict[str, Any]:
        dtype = _data.model_dtype(self.model)
        # In a fit, the sums of the epoch under way are kept for after.
        kept = {name: metric.state_dict() for name, metric in self.metrics.items()}
        total, count = 0.0, 0
        try:
            for metric in self.metrics.values():
                metric.reset()
            with self.inference():
                for batch in loader:
                    inputs, target = _data.unpack(batch, dtype, flat, who)
                    samples = samples_in(inputs, target, who)
                    output, loss = self._plans.evaluate(inputs, target)
                    value = float(loss.item())
                    total += value if self._summed else value * samples
                    count += samples
                    for metric in self.metrics.values():
                        metric.update(output, target)
                if count == 0:
                    raise ValueError(f"{who}: expected at least one sample, got none")
                found = {
                    name: metric.compute() for name, metric in self.metrics.items()
                }
        finally:
            for name, metric in self.metrics.items():
                metric.load_state_dict(kept[name])
        return {"loss": total / count, **found}

    def predict(self, x: Any, *, batch_size: int | None = None) -> Tensor:
        """The model's outputs for x, in evaluation mode, without gradients.

        Parameters:
            x : array or Tensor (n, ...), a tuple of several inputs, a Dataset, or a
                loader; of samples (x, y) only x is used.
            batch_size : int of at least 1, for arrays and Datasets; None is 32. It does
                not change a bit of the result.

        Returns: Tensor (n, ...), fresh.
        """
        dtype = _data.model_dtype(self.model)
        outputs = []
        with self.inference():
            for inputs in _data.prediction_batches(x, dtype, "predict", batch_size):
                output = self._plans.predict(*inputs)
                if not isinstance(output, Tensor):
                    raise TypeError(
                        "predict: expected the model to give a Tensor, got "
                        f"{type(output).__name__}"
                    )
                n = len(inputs[0])
                if output.ndim == 0 or len(output) != n:
                    raise ValueError(
                        f"predict: expected an output for each of {n} samples, got "
                        f"{tuple(output.shape)} (hint: a batch of one sample is x[None])"
                    )
                outputs.append(output)
        if not outputs:
            raise ValueError("predict: expected at least one batch, got none")
        return fastnn.cat(outputs)

    # ---- modes ----

    def _modes(self) -> list[tuple[Module, bool]]:
        return [(module, module.training) for module in self.model.modules()]

    @staticmethod
    def _set_modes(modes: list[tuple[Module, bool]]) -> None:
        for module, training in modes:
            module.training = training

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Evaluation mode without gradients; every module's mode is put back. Layers that
        carry a state from batch to batch begin anew, and go on afterwards as before."""
        modes = self._modes()
        try:
            self.model.eval()
            with fastnn.no_grad(), self._apart.within(self.model):
                yield
        finally:
            self._set_modes(modes)


def samples_in(inputs: tuple[Any, ...], target: Any, who: str) -> int:
    """The number of samples in a batch, the same in inputs and target."""
    n = len(inputs[0])
    if isinstance(target, Tensor) and (target.ndim == 0 or len(target) != n):
        got = len(target) if target.ndim else "one scalar"
        raise ValueError(
            f"{who}: expected as many targets as samples in a batch, got {n} samples and "
            f"{got} targets"
        )
    return n
