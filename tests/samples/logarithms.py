"""Rows of log2 and log10."""

from __future__ import annotations

from samples._rows import positive, unary

for _name in ("log2", "log10"):
    unary(_name, positive, rtol={"float32": 1.2e-7, "float64": 1e-15})
