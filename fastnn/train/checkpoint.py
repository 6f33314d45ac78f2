"""Checkpoints of a fit: one file from which it goes on as if it had never stopped.

What a batch computes depends on the parameters, the optimizer's state, the learning rate,
the generators, what layers carry from batch to batch, and the data that come; what the
history will say depends on the sums of the epoch so far. All of that is in the file, and
nothing is derived anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import fastnn
from fastnn.data import DataLoader
from fastnn.nn import Module
from fastnn.nn.utils import carried_states, load_carried_states
from fastnn.train.callbacks.base import CallbackList
from fastnn.train.history import History

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer

FORMAT = "fastnn training checkpoint"
VERSION = 2
ENTRIES = {
    "format",
    "version",
    "model",
    "optimizer",
    "optimizer_kind",
    "generators",
    "loader",
    "validation",
    "batches",
    "position",
    "metrics",
    "history",
    "callbacks",
    "carried",
}


def write(trainer: Trainer, path: Any) -> None:
    """Write the state of a trainer's fit to a file."""
    state = {
        "format": FORMAT,
        "version": VERSION,
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "optimizer_kind": type(trainer.optimizer).__name__,
        **(trainer.before_validation or draws(trainer)),
        "loader": training_state(trainer),
        "batches": trainer.batches,
        "position": {
            "mid_epoch": trainer.mid_epoch,
            "batch": trainer.batch,
            "samples": trainer.samples,
            "loss_sum": trainer.loss_sum,
            "all_batches": trainer.all_batches,
            "epoch_start": trainer.epoch_start,
        },
        "metrics": {name: m.state_dict() for name, m in trainer.metrics.items()},
        "history": trainer.history.to_dict(),
        "callbacks": trainer.callbacks.state_dict(),
        "carried": carried_states(trainer.model),
    }
    fastnn.save(state, path)


def generators(model: Module) -> dict[str, fastnn.Generator]:
    """The default generator, and those that the model's modules have of their own."""
    found = {"default": fastnn.default_generator}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, fastnn.Generator):
                found[f"model.{path}.{name}"] = value
    return found


def draws(trainer: Trainer) -> dict[str, Any]:
    """All that validation moves on: kept until it is done, for it begins anew."""
    return {
        "generators": {
            name: generator.get_state()
            for name, generator in generators(trainer.model).items()
        },
        "validation": loader_state(trainer.held_out),
    }


def loader_state(loader: Any) -> Any:
    """What a loader says of its position; None where it cannot."""
    return loader.state_dict() if hasattr(loader, "state_dict") else None


def training_state(trainer: Trainer) -> Any:
    """The training loader's position; a batch counts once it has been learnt from."""
    state = loader_state(trainer.loader)
    within = trainer.mid_epoch and not trainer.all_batches
    if within and isinstance(trainer.loader, DataLoader):
        state["batches"] = trainer.batch
    return state


def read(path: Any) -> dict[str, Any]:
    """The state in a file; ValueError in words where it is no checkpoint."""
    state = fastnn.load(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"fit: {path} is no checkpoint of a fit; ModelCheckpoint and Trainer.save "
            "write them, and fastnn.load reads other files"
        )
    if state.get("version") == 1:  # before there were layers that carry anything
        state |= {"version": VERSION, "carried": {}}
    if state.get("version") != VERSION or set(state) != ENTRIES:
        raise ValueError(
            f"fit: {path} was written by another version of fastnn (checkpoint version "
            f"{state.get('version')}, expected {VERSION})"
        )
    return state


def check(state: Mapping[str, Any], trainer: Trainer, run: CallbackList) -> None:
    """Raise ValueError where a checkpoint is of another fit; changes nothing."""
    metrics, batches = list(state["metrics"]), state["batches"]
    if metrics != list(trainer.metrics):
        raise ValueError(
            f"expected the metrics {metrics or 'none'}, got "
            f"{list(trainer.metrics) or 'none'}"
        )
    valued = list(state["history"]["values"])
    if valued and valued != trainer.names:
        had, has = (
            any(n.startswith("val_") for n in v) for v in (valued, trainer.names)
        )
        raise ValueError(
            f"expected {'a' if had else 'no'} validation=, as when it was written"
            if had != has
            else f"expected a fit of {', '.join(valued)}, got {', '.join(trainer.names)}"
        )
    if state["loader"] is not None or state["position"]["mid_epoch"]:
        if batches != trainer.batches:
            raise ValueError(
                f"expected data of {batches} batches an epoch, got {trainer.batches}"
            )
        if (state["loader"] is None) == hasattr(trainer.loader, "state_dict"):
            kinds = ("a DataLoader or arrays", "an iterable without state_dict()")
            then, now = kinds if state["loader"] is not None else kinds[::-1]
            raise ValueError(f"expected the data as {then}, got {now}")
    kind, saved = type(trainer.optimizer).__name__, state["optimizer_kind"]
    if kind != saved:
        raise ValueError(f"expected the optimizer {saved}, got {kind}")
    ours, theirs = set(generators(trainer.model)), set(state["generators"])
    if ours != theirs:
        raise ValueError(
            f"expected generators {sorted(theirs)} in the model, got {sorted(ours)}"
        )
    ours, theirs = set(carried_states(trainer.model)), set(state["carried"])
    if ours != theirs:
        raise ValueError(
            f"expected layers that carry {sorted(theirs) or 'nothing'}, got "
            f"{sorted(ours) or 'nothing'}"
        )
    names = {name for name, _ in run.named()}
    lacking = [name for name in state["callbacks"] if name not in names]
    if lacking:
        raise ValueError(
            f"it holds the state of {', '.join(lacking)}; expected the same in callbacks="
        )


def restore(
    state: Mapping[str, Any], trainer: Trainer, run: CallbackList, path: Any
) -> None:
    """Take over the model, the optimizer and the history; all of it or nothing."""
    model, optimizer = trainer.model, trainer.optimizer
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps = optimizer.state_dict()
    try:
        check(state, trainer, run)
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            for loader, key in (
                (trainer.loader, "loader"),
                (trainer.held_out, "validation"),
            ):
                if state[key] is not None and hasattr(loader, "load_state_dict"):
                    loader.load_state_dict(state[key])
        except BaseException:
            model.load_state_dict(before)
            optimizer.load_state_dict(steps)
            raise
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ValueError(f"fit: the checkpoint {path} does not fit: {error}") from error
    load_carried_states(model, state["carried"])
    trainer.history = History.from_dict(state["history"])
    # Who resumes wants to go on, whatever ended the fit then.
    trainer.history.interrupted, trainer.history.stop_reason = False, ""
    position = state["position"]
    trainer.mid_epoch, trainer.all_batches = (
        position["mid_epoch"],
        position["all_batches"],
    )
    trainer.batch, trainer.samples = position["batch"], position["samples"]
    trainer.loss_sum, trainer.epoch_start = (
        position["loss_sum"],
        position["epoch_start"],
    )
    for name, metric in trainer.metrics.items():
        metric.load_state_dict(state["metrics"][name])


def set_generators(state: Mapping[str, Any], model: Module) -> None:
    """Let the generators go on from where they were."""
    for name, generator in generators(model).items():
        generator.set_state(state["generators"][name])


def batches(trainer: Trainer, loader: Any) -> Iterator[Any]:
    """The epoch's batches, or those that are left of it.

    A loader with state_dict() has taken up its position already. Another iterable is run
    through again, with the random numbers of then, to where it stood.
    """
    if hasattr(loader, "state_dict"):
        left: Iterator[Any] = iter(loader)
        return left
    if trainer.batch == 0:
        trainer.epoch_start = fastnn.get_rng_state()
        return iter(loader)
    now = fastnn.get_rng_state()
    fastnn.set_rng_state(trainer.epoch_start)
    left = iter(loader)
    passed = sum(1 for _ in islice(left, trainer.batch))
    fastnn.set_rng_state(now)
    if passed < trainer.batch:
        raise ValueError(
            f"fit: expected at least {trainer.batch} batches from the data, as when the "
            f"checkpoint was written, got {passed}"
        )
    return left
