"""Rows of random numbers."""

from __future__ import annotations

import numpy as np

import fastnn
from samples._rows import ROWS, Hostile, Row, Sample, integers, normal, state

_state_hostile = Hostile((fastnn.zeros(2), (3,)), ValueError, "generator state")
ROWS["uniform"] = Row(
    [
        Sample((state, (3, 5))),
        Sample((state, ())),
        Sample((state, (0, 2))),
        Sample((state, (7,), -2.0, 3.0, 5)),
    ],
    big=[Sample((state, (130, 300))), Sample((state, (40001,), 0.0, 1.0, 5))],
    hostile=[
        _state_hostile,
        Hostile((state, (-1,)), ValueError, "at least 0"),
        Hostile((state, (3,), 0.0, 1.0, 3), TypeError, "uniform"),
        Hostile((state, (2**40, 2**40)), MemoryError, "uniform"),
    ],
)
ROWS["normal"] = Row(
    [
        Sample((state, (3, 5))),
        Sample((state, (1,))),
        Sample((state, (0,))),
        Sample((state, (7,), -2.0, 3.0, 5)),
    ],
    big=[Sample((state, (130, 300))), Sample((state, (40001,), 0.0, 1.0, 5))],
    hostile=[_state_hostile, Hostile((state, (-1,)), ValueError, "at least 0")],
)
ROWS["permutation"] = Row(
    [Sample((state, 10)), Sample((state, 0)), Sample((state, 1))],
    big=[Sample((state, 50000))],
    hostile=[
        Hostile((state, -1), ValueError, "at least 0"),
        Hostile((fastnn.zeros(2), 4), ValueError, "generator state"),
    ],
)
_chances = np.linspace(0, 1, 210).reshape(7, 30)
ROWS["bernoulli"] = Row(
    [
        Sample((state, _chances)),
        Sample((state, np.array([0.0, 1.0, -0.0, 0.5]))),
        Sample((state, np.array(0.5))),
        Sample((state, np.zeros((0, 3)))),
    ],
    big=[Sample((state, np.full((130, 301), 0.3)))],
    hostile=[
        Hostile((fastnn.zeros(2), _chances), ValueError, "generator state"),
        Hostile((state, integers(0, 2, 3)), TypeError, "bernoulli"),
        *(
            Hostile(
                (state, np.array([0.5, bad])), ValueError, "bernoulli.* from 0 to 1"
            )
            for bad in (1.5, -1e-9, np.nan, np.inf)
        ),
    ],
)
ROWS["dropout"] = Row(
    [
        Sample((state, normal(3, 5), 0.5)),
        Sample((state, normal(70), 0.1)),
        Sample((state, normal(4), 1.0)),
        Sample((state, normal(4), 0.0)),
        Sample((state, normal(0, 4), 0.3)),
    ],
    big=[Sample((state, normal(130, 301), 0.3))],
    hostile=[
        Hostile((state, normal(3), 1.5), ValueError, "p from 0 to 1"),
        Hostile((state, normal(3), float("nan")), ValueError, "p from 0 to 1"),
        Hostile((state, integers(0, 3, 3), 0.5), TypeError, "dropout"),
    ],
)
