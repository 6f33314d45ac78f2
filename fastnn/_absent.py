"""The words for a name that is not there."""

from __future__ import annotations


def absent(module: str, name: str) -> AttributeError:
    """The error of module.name, for a module's __getattr__ to raise."""
    hint = (
        "" if name.startswith("__") else ": misspelt, or not there yet (see the README)"
    )
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")
