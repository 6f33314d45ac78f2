"""Rows of the recurrent layers, and of their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._registry import REFERENCES
from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
TANH, RELU = 3, 1


def _inputs(
    kind: str,
    steps: int,
    batch: int,
    features: int,
    units: int,
    *,
    bias: bool = True,
    start: bool = True,
    lengths: Any = None,
    project: int = 0,
    x: Any = None,
) -> tuple[Any, ...]:
    """What a row reads, small weights, so that nothing saturates."""
    wide, state = GATES[kind] * units, project or units
    weights = (
        normal(wide, features, key=kind) * 0.5,
        normal(wide, state, key=(kind, 1)) * 0.5 / np.sqrt(state),
        normal(wide, key=2) * 0.5 if bias else None,
        normal(wide, key=3) * 0.5 if bias else None,
    )
    x = normal(steps, batch, features) if x is None else x
    h0 = normal(batch, state, key=4) if start else None
    if lengths is not None:
        lengths = np.array(lengths)
    given = (x, *weights, h0, lengths)
    if kind == "lstm":
        w_hr = normal(state, units, key=6) * 0.5 if project else None
        given += (normal(batch, units, key=5) if start else None, w_hr)
    return given


def _wild(*shape: int) -> Any:
    x = normal(*shape).copy()
    x[0, 0, 0], x[1, -1, 0] = np.inf, np.nan
    return x


def _backward(
    kind: str, needs: int, *attrs: Any, first: int, sizes: tuple[int, ...], **how: Any
) -> tuple[Any, ...]:
    """What a backward row reads: forward's inputs and results, by the reference. The first
    `first` of the gradients that arrive are absent."""
    given = _inputs(kind, *sizes, **how)
    act = (attrs[0],) if kind == "rnn" else (True,)
    made = REFERENCES[kind](*given, *act, attrs[-1])
    x, w_ih, w_hh, _, _, h0, lengths, *more = given
    gy, ghn = normal(*made[0].shape, key=7), normal(*made[1].shape, key=8)
    args = [gy, ghn, x, w_ih, w_hh, h0, lengths, made[0]]
    if kind != "rnn":
        args.append(made[2])
    if kind == "lstm":
        args += [normal(*made[3].shape, key=9), *more]
    for i in (0, 1, 9)[: first if kind == "lstm" else min(first, 1)]:
        args[i] = None
    return (*args, *attrs, needs)


ATTRS: dict[str, tuple[Any, ...]] = {"rnn": (TANH,), "gru": (True,), "lstm": (True,)}


def _forward_row(kind: str) -> Row:
    last = ATTRS[kind]

    def sample(*sizes: int, reverse: bool = False, **how: Any) -> Sample:
        attrs = how.pop("attrs", last)
        smooth = how.pop("smooth", True)
        return Sample((*_inputs(kind, *sizes, **how), *attrs, reverse), smooth=smooth)

    several = [2, 3, 1]
    samples = [
        sample(3, 2, 2, 2),
        sample(4, 2, 3, 5, smooth=False),
        sample(3, 2, 1, 2, start=False, reverse=True),
        sample(1, 3, 2, 4, bias=False, smooth=False),
        sample(2, 6, 1, 1, smooth=False),
        sample(3, 3, 1, 2, lengths=several),
        sample(4, 3, 2, 3, lengths=[0, 2, 3], reverse=True, smooth=False),
        sample(2, 3, 2, 3, lengths=[1, 2, 1], reverse=True, start=False, smooth=False),
        sample(0, 2, 2, 3, smooth=False),
        sample(3, 0, 2, 3, smooth=False),
        sample(5, 7, 9, 35, smooth=False),
        sample(3, 2, 2, 3, x=_wild(3, 2, 2), smooth=False),
    ]
    if kind == "rnn":
        samples.append(sample(3, 2, 2, 2, attrs=(RELU,)))
    else:
        samples.append(sample(2, 2, 1, 2, attrs=(False,), lengths=[1, 2]))
    if kind == "lstm":
        samples += [
            sample(3, 2, 1, 3, project=2),
            sample(2, 3, 2, 3, project=4, lengths=[2, 1, 2], smooth=False),
            sample(4, 3, 2, 3, project=2, lengths=several, reverse=True, smooth=False),
        ]
    big = [
        sample(5, 19, 40, 130),
        sample(6, 19, 7, 70, lengths=integers(0, 7, 19), reverse=True),
        sample(9, 3, 20, 300),
    ]
    if kind == "lstm":
        big.append(sample(6, 19, 7, 90, project=40, lengths=integers(1, 7, 19)))
    x, w_ih, w_hh, b_ih, b_hh, h0, *rest = _inputs(kind, 3, 2, 2, 3)
    attrs = (*last, False)
    hostile = [
        Hostile(
            (x[0], w_ih, w_hh, b_ih, b_hh, h0, *rest, *attrs),
            ValueError,
            f"{kind}: expected input of shape",
        ),
        Hostile(
            (x, w_ih[:, :1], w_hh, b_ih, b_hh, h0, *rest, *attrs),
            ValueError,
            "expected weight_ih of shape",
        ),
        Hostile(
            (x, w_ih, w_hh[:, :1], b_ih, b_hh, h0, *rest, *attrs),
            ValueError,
            "expected weight_hh of shape",
        ),
        Hostile(
            (x, w_ih, w_hh, b_ih, None, h0, *rest, *attrs),
            ValueError,
            "both biases or neither",
        ),
        Hostile(
            (x, w_ih, w_hh, b_ih, b_hh, h0[:1], *rest, *attrs),
            ValueError,
            r"h0 of shape \(2, 3\), got \(1, 3\)",
        ),
        Hostile(
            (x, w_ih, w_hh, b_ih, b_hh, h0, np.array([1, 4]), *rest[1:], *attrs),
            ValueError,
            "lengths from 0 to 3, got 4 at position 1",
        ),
        Hostile(
            (x, w_ih, w_hh, b_ih, b_hh, h0, np.array([1]), *rest[1:], *attrs),
            ValueError,
            "lengths of shape",
        ),
        Hostile(
            (x, w_ih, w_hh, b_ih, b_hh, h0, np.array([1.0, 2.0]), *rest[1:], *attrs),
            TypeError,
            "lengths",
        ),
        Hostile(
            (integers(0, 3, 3, 2, 2), w_ih, w_hh, b_ih, b_hh, h0, *rest, *attrs),
            TypeError,
            kind,
        ),
    ]
    if kind == "rnn":
        hostile.append(
            Hostile(
                (x, w_ih, w_hh, b_ih, b_hh, h0, None, 2, False),
                ValueError,
                "activation",
            )
        )
    return Row(
        samples,
        big=big,
        hostile=hostile,
        rtol={"float32": 3e-6, "float64": 1e-13},
        scale=lambda x, w, v, *a: 3 + np.sqrt(len(v)),
    )


def _backward_row(kind: str) -> Row:
    attrs = (TANH,) if kind == "rnn" else ()
    every = 127

    def sample(*sizes: int, reverse: bool = False, **how: Any) -> Sample:
        needs = how.pop("needs", every if how.get("project") else 63)
        first = how.pop("first", 0)
        own = how.pop("attrs", attrs)
        args = _backward(kind, needs, *own, reverse, first=first, sizes=sizes, **how)
        return Sample(args, smooth=False)

    samples = [
        sample(4, 2, 3, 5),
        sample(3, 2, 2, 3, start=False, reverse=True, first=1),
        sample(1, 3, 2, 4, first=2),
        sample(2, 6, 1, 1, needs=8),
        sample(4, 3, 2, 3, lengths=[2, 4, 1]),
        sample(4, 3, 2, 3, lengths=[0, 2, 3], reverse=True, first=3),
        sample(2, 3, 2, 3, lengths=[1, 2, 1], needs=1 + 4),
        sample(0, 2, 2, 3),
        sample(3, 0, 2, 3),
        sample(5, 7, 9, 35),
    ]
    if kind == "rnn":
        samples.append(sample(4, 2, 3, 5, attrs=(RELU,)))
    if kind == "lstm":
        samples += [
            sample(4, 3, 2, 5, project=2),
            sample(2, 3, 2, 3, project=4, lengths=[2, 1, 2], first=1),
            sample(4, 3, 2, 3, project=2, lengths=[2, 4, 1], reverse=True),
        ]
    big = [
        sample(5, 19, 40, 130),
        sample(6, 19, 7, 70, lengths=integers(0, 7, 19), reverse=True),
        sample(9, 3, 20, 300),
    ]
    good = list(samples[0].args)

    def without(i: int, value: Any, match: str) -> Hostile:
        args = list(good)
        args[i] = value
        return Hostile(tuple(args), ValueError, match)

    return Row(
        samples,
        big=big,
        hostile=[
            without(0, normal(4, 2, 4), f"{kind}_backward: expected gy of shape"),
            without(1, normal(2, 4), "expected ghn of shape"),
            without(7, normal(3, 2, 5), "expected y of shape"),
        ],
        rtol={"float32": 3e-6, "float64": 1e-13},
        scale=lambda gy, ghn, x, *a: 5 + 3 * np.sqrt(x.size),
    )


for kind in GATES:
    ROWS[kind] = _forward_row(kind)
    ROWS[f"{kind}_backward"] = _backward_row(kind)
