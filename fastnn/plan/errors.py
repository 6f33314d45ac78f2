"""What can go wrong with plans."""

from __future__ import annotations


class PlanError(RuntimeError):
    """A graph breaks a rule that every graph keeps: a defect of fastnn."""


class CaptureError(RuntimeError):
    """A function cannot be compiled; the message says where, why and the way round."""
