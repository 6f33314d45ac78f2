"""Compiled plans: functions recorded as graphs, optimised, and replayed from C.

capture.py records, compare.py says whether two recordings are one program, passes/ make it
faster, lower.py hands it to C, plan.py keeps what was bound, compiled.py is the way in.
"""

from fastnn.plan.compiled import CompiledFunction, compile
from fastnn.plan.errors import CaptureError, PlanError
from fastnn.plan.plan import Plan

__all__ = ["CaptureError", "CompiledFunction", "Plan", "PlanError", "compile"]
