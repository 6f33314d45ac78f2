"""Writes the type stubs that follow from what fastnn/ops declares:

fastnn/_core.pyi          Tensor with the methods of the op families
fastnn/ops/__init__.pyi   the public functions

python tools/stubs.py            write them
python tools/stubs.py --check    exit 1 if they are not up to date
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastnn.ops import _registry

ROOT = Path(__file__).resolve().parent.parent
BUILTIN = re.compile(r"(?<![\w.])(bool|int|float)(?!\w)")


def method(name: str, function: Callable[..., Any]) -> str:
    """One method as a stub line, built-in types said in full (Tensor has a method float)."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return f"    def {name}(self, *args: Any, **kwargs: Any) -> Tensor: ..."
    parameters = []
    star = False
    for i, p in enumerate(signature.parameters.values()):
        if i == 0:
            parameters.append("self")
            continue
        note = "Any" if p.annotation is p.empty else str(p.annotation)
        note = re.sub(r"\bOperand\b", "Tensor | Number", note)
        note = re.sub(r"\bDims\b", "int | tuple[int, ...] | list[int] | None", note)
        note = note if known(note) else "Any"
        note = BUILTIN.sub(r"builtins.\1", note)
        if p.kind is p.KEYWORD_ONLY and not star:
            parameters.append("*")
            star = True
        if p.kind is p.VAR_POSITIONAL:
            star = True
        prefix = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else " = ..."
        parameters.append(f"{prefix}{p.name}: {note}{default}")
    result = signature.return_annotation
    result = "Tensor" if result is signature.empty else str(result)
    result = BUILTIN.sub(r"builtins.\1", result) if known(result) else "Any"
    return f"    def {name}({', '.join(parameters)}) -> {result}: ..."


def known(note: str) -> bool:
    """Whether every name of an annotation means something in the stub."""
    names = set(re.findall(r"[A-Za-z_]\w*", note))
    return names <= {
        "Tensor",
        "Number",
        "Any",
        "None",
        "str",
        "int",
        "float",
        "bool",
        "tuple",
        "list",
        "Sequence",
    }


def core() -> str:
    """fastnn/_core.pyi."""
    template = (ROOT / "fastnn/_core/core.pyi.in").read_text()
    lines = [method(n, f) for n, f in sorted(_registry.METHODS.items())]
    return template.replace("@METHODS@", "\n".join(lines))


def ops() -> str:
    """fastnn/ops/__init__.pyi."""
    found = [(f.__module__, name) for name, f in _registry.PUBLIC.items()]
    lines = ['"""Written by tools/stubs.py from what the op families declare."""\n']
    lines += [
        f"from {module} import {name} as {name}" for module, name in sorted(found)
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    stale = 0
    for path, text in (
        ("fastnn/_core.pyi", core()),
        ("fastnn/ops/__init__.pyi", ops()),
    ):
        file = ROOT / path
        if "--check" in sys.argv:
            if not file.exists() or file.read_text() != text:
                print(f"{path} is out of date: python tools/stubs.py")
                stale = 1
        else:
            file.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
