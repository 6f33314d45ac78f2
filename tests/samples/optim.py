"""Rows of optimizer updates: lists of parameters, gradients and states."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal, positive

SHAPES = [(3, 5), (7,), (), (0, 4)]
BIG = [(130, 300), (3,), (17001,)]
# Kinds of a row's states: moments of any sign, of squares, absent, step counts, products.
STATES = {
    "sgd": "m",
    "adagrad": "vt",
    "adadelta": "vvt",
    "rmsprop": "vmxt",
    "adam": "mvVt",
    "nadam": "mvtu",
    "radam": "mvt",
}
HYPER = {
    "sgd": [0.1, 0.9, 0.05, 0.01],
    "adagrad": [0.1, 0.01, 0.01, 1e-10],
    "adadelta": [1.0, 0.9, 1e-6, 0.01],
    "rmsprop": [0.01, 0.99, 1e-8, 0.01, 0.9],
    "adam": [0.001, 0.9, 0.999, 1e-8, 0.01],
    "nadam": [0.002, 0.9, 0.999, 1e-8, 0.01, 0.004],
    "radam": [0.001, 0.9, 0.999, 1e-8, 0.01],
}


def states(kinds: str, shapes: list[Any], t: float) -> list[Any]:
    """Lists of states, in the row's order."""
    made: list[Any] = []
    for k, kind in enumerate(kinds):
        if kind == "-":
            made.append(None)
        elif kind == "t":
            made.append([np.array(float(t + i)) for i in range(len(shapes))])
        elif kind == "u":
            made.append([np.array(0.3 + 0.1 * i) for i in range(len(shapes))])
        elif kind == "x":  # an average whose square stays below the average square
            made.append([np.asarray(0.1 * normal(*s, key=k)) for s in shapes])
        else:
            make = normal if kind == "m" else positive
            made.append([make(*s, key=k) for s in shapes])
    return made


def call(
    name: str,
    kinds: str,
    *flags: bool,
    t: float = 3,
    shapes: Any = SHAPES,
    active: bool | None = None,
    **hyper: Any,
) -> Sample:
    """A step of some tensors; hyper changes hyperparameters by position, as h0=0."""
    numbers = [hyper.get(f"h{i}", h) for i, h in enumerate(HYPER[name])]
    params = [normal(*s) for s in shapes]
    grads = [normal(*s, key="g") for s in shapes]
    rest = states(kinds, shapes, t)
    flag = None if active is None else np.array(active)
    return Sample((np.array(numbers), flag, params, grads, *rest, *flags))


FLAGS: dict[str, list[tuple[bool, ...]]] = {
    "sgd": [(False,) * 3, (True, False, False), (False, True, True)],
    **{key: [(False,), (True,)] for key in ("adagrad", "adadelta", "rmsprop")},
    **{key: [(False, False), (True, True)] for key in ("adam", "nadam", "radam")},
}
ABSENT = {"sgd": ["-"], "rmsprop": ["v--t", "v-xt", "vm-t"], "adam": ["mv-t"]}

for _name, _kinds in STATES.items():
    _shape, _other = normal(3), normal(4)
    _rest = states(_kinds, [(3,)], 1)
    _hyper = np.array(HYPER[_name])
    ROWS[f"{_name}_step"] = Row(
        [
            *(call(_name, _kinds, *flags) for flags in FLAGS[_name]),
            *(call(_name, kinds, *FLAGS[_name][0]) for kinds in ABSENT.get(_name, [])),
            call(_name, _kinds, *FLAGS[_name][0], t=0),
            call(_name, _kinds, *FLAGS[_name][0], t=9999),
            call(_name, _kinds, *FLAGS[_name][0], shapes=[]),
            call(_name, _kinds, *FLAGS[_name][0], active=True),
            call(_name, _kinds, *FLAGS[_name][0], active=False),
        ],
        big=[call(_name, _kinds, *FLAGS[_name][0], shapes=BIG)],
        hostile=[
            Hostile(
                (_hyper, None, [_shape], [_other], *_rest), ValueError, "gradients"
            ),
            Hostile(
                (_hyper, None, [_shape], [], *_rest), ValueError, "expected 1 gradients"
            ),
            Hostile((_hyper, None, _shape, [_shape], *_rest), TypeError, "sequence"),
            Hostile((_hyper, None, [1.0], [_shape], *_rest), TypeError, "parameters"),
            Hostile(
                (_hyper[:3], None, [_shape], [_shape], *_rest), ValueError, "hyper"
            ),
            Hostile(
                (_hyper, None, [integers(0, 3, 3)], [_shape], *_rest),
                TypeError,
                "float",
            ),
            Hostile(
                (_hyper, None, [_shape], [_shape], *_rest[:-1], [_other]),
                ValueError,
                r"expected (contiguous )?\w+ (of dtype float64|like the parameter)",
            ),
            Hostile(
                (_hyper, np.array([True]), [_shape], [_shape], *_rest),
                ValueError,
                r"active of dtype bool and shape \(\)",
            ),
            Hostile(
                (_hyper, np.array(1.0), [_shape], [_shape], *_rest),
                ValueError,
                "active of dtype bool",
            ),
            Hostile((_hyper, True, [_shape], [_shape], *_rest), TypeError, "active"),
            Hostile((_hyper,), TypeError, "inputs"),
        ],
        # adagrad's and nadam's scalars pass through exp and a product or two
        rtol={"float32": 3e-6, "float64": 1e-12},
        scale=lambda hyper, active, params, *_: (
            max((np.abs(p).max(initial=0) for p in params), default=0) + 3
        ),
        float64=(0, *(4 + i for i, kind in enumerate(_kinds) if kind in "tu")),
    )
