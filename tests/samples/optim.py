"""Rows of optimizer updates."""

from __future__ import annotations

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal

_hyper = np.array([0.1, 0.9, 0.05, 0.01])
ROWS["sgd_step"] = Row(
    [
        Sample((normal(3, 5), normal(3, 5, key=1), normal(3, 5, key=2), _hyper, *flags))
        for flags in ((False, False, False), (True, False, False), (False, True, True))
    ]
    + [Sample((normal(7), normal(7, key=1), None, _hyper))],
    big=[
        Sample(
            (normal(130, 300), normal(130, 300, key=1), normal(130, 300, key=2), _hyper)
        )
    ],
    hostile=[
        Hostile((normal(3), normal(4), None, _hyper), ValueError, "gradient"),
        Hostile((normal(3), normal(3), normal(2), _hyper), ValueError, "buffer"),
        Hostile((normal(3), normal(3), None, _hyper[:3]), ValueError, "hyper"),
        Hostile((integers(0, 3, 3), normal(3), None, _hyper), TypeError, "parameter"),
    ],
    float64=(3,),
)
