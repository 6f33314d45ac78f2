"""The command line: fastnn demo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fastnn._version import __version__


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="fastnn", description="Neural networks on CPUs, from one small wheel."
    )
    top.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits, and time it beside NumPy",
        description="Trains 64-128-10 on the bundled 8x8 digits, tests it on a "
        "held-out fifth, and times one training step beside the same in plain NumPy.",
    )
    demo.add_argument(
        "--epochs",
        type=positive,
        default=20,
        metavar="N",
        help="passes over the training digits (default: %(default)s)",
    )
    demo.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the random numbers; the same seed gives the same bits "
        "(default: %(default)s)",
    )
    return top


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = parser().parse_args(arguments)
    from fastnn import demo  # --version and --help need not wait for it

    return demo.main(epochs=options.epochs, seed=options.seed)
