"""The command line: fastnn demo, fastnn info, fastnn bench."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastnn._version import __version__

EPOCHS = 30

DESCRIPTION = """\
Trains and runs neural networks on CPUs, in PyTorch's names, with the same bits
on every machine. This command shows that it works; the library is for Python:

  import fastnn
  from fastnn import nn, optim
"""

EXAMPLES = """\
examples:
  fastnn demo               train on handwritten digits, save, load, race NumPy
  fastnn demo --plot        the same, and draw what was learnt into demo.png
  fastnn info               which CPU, kernels, threads and libraries are in use
  fastnn bench train        how long training steps take, beside NumPy and the floor
  FASTNN_NUM_THREADS=1 fastnn demo
                            on one thread; the numbers stay the same
"""

DEMO = """\
Trains 64-128-64-10 on the bundled handwritten digits (8x8 pixels) and tests it on
a held-out fifth. Then it saves the network, loads it into a fresh one and
compares all predictions bit by bit; and it times one training step beside the
same step in plain NumPy. Takes a few seconds.

The same seed gives the same numbers, whatever the threads and the CPU. The exit
status is 0 where the network learnt what it should.
"""

DEMO_EXAMPLES = """\
examples:
  fastnn demo --epochs 5
  fastnn demo --seed 7 --plot digits.png
  fastnn demo --plot --out results     results/demo.safetensors, results/demo.png
"""

INFO = """\
Says what fastnn found on this machine, what it chose and why: kernels (FASTNN_ISA),
threads (FASTNN_NUM_THREADS, OMP_NUM_THREADS), memory kept (FASTNN_CACHE_BYTES), and
the libraries in the process. Worth adding to a bug report.
"""

BENCH = """\
Measures what this machine can do at best (multiply-adds and bytes a second), then how
near to it fastnn comes, compiled and eager, beside NumPy and, with --peers, whichever of
PyTorch, JAX, ONNX Runtime, scikit-learn and thinc is installed. They take turns in one
process for each number of threads, on the same CPUs; results are compared first.

groups: overhead (ops on a few numbers, calls), products (of matrices), kernels (other
single functions), layers (convolution, normalisation, pooling, with gradients), train
(whole steps), infer (arrays in and out). Without one, all: some minutes, more with --peers.
"""

BENCH_EXAMPLES = """\
examples:
  fastnn bench train
  fastnn bench --peers --threads 1,2 layers train infer
  fastnn bench --peers --threads 1,2 --json bench.json --plot roofline.png
  fastnn bench --peers --markdown docs/benchmarks.md
"""


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="fastnn", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw
    )
    top.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = top.add_subparsers(
        title="commands", dest="command", metavar="command", required=True
    )
    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits, and time it beside NumPy",
        description=DEMO,
        epilog=DEMO_EXAMPLES,
        formatter_class=raw,
    )
    demo.add_argument(
        "--plot",
        nargs="?",
        const="demo.png",
        metavar="FILE",
        help="draw learning curves, confusion matrix and sixteen digits into FILE in "
        "the folder of --out (default: %(const)s); needs matplotlib",
    )
    demo.add_argument(
        "--epochs",
        type=positive,
        default=EPOCHS,
        metavar="N",
        help="passes over the training digits (default: %(default)s)",
    )
    demo.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the random numbers (default: %(default)s)",
    )
    demo.add_argument(
        "--out",
        default=".",
        metavar="DIR",
        help="where files go; made if it is not there (default: the current folder)",
    )
    info = commands.add_parser(
        "info",
        help="say which CPU, kernels, threads and libraries are in use, and why",
        description=INFO,
        formatter_class=raw,
    )
    info.add_argument("--json", action="store_true", help="as JSON, for programs")
    bench = commands.add_parser(
        "bench",
        help="time fastnn beside NumPy, other libraries and the machine's limit",
        description=BENCH,
        epilog=BENCH_EXAMPLES,
        formatter_class=raw,
    )
    bench.add_argument(
        "groups", nargs="*", metavar="group", help="of workloads (default: all groups)"
    )
    bench.add_argument(
        "--peers", action="store_true", help="other installed libraries take part"
    )
    bench.add_argument(
        "--threads",
        type=positives,
        default=[1],
        metavar="N,...",
        help="numbers of threads, one run for each (default: 1)",
    )
    for name, what in (
        ("json", "all that was measured, as JSON"),
        ("plot", "the roofline with a point for each workload; needs matplotlib"),
        ("markdown", "the tables, as a page"),
    ):
        bench.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    return top


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def positives(text: str) -> list[int]:
    """Whole numbers of at least 1, with commas between them."""
    return [positive(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(words)
    options.words = words
    command = {"demo": demo, "info": info, "bench": bench}[options.command]
    try:
        return command(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def demo(options: argparse.Namespace) -> int:
    """Check what was asked for before anything is trained, and run the demo."""
    from fastnn import _demo_plot
    from fastnn import demo as program  # --version and --help need not wait for it

    out = Path(options.out)
    plot = None if options.plot is None else out / options.plot
    try:
        out.mkdir(parents=True, exist_ok=True)
        if plot is not None:
            _demo_plot.check(plot)
    except (OSError, RuntimeError) as error:
        print(f"fastnn demo: {error}", file=sys.stderr)
        return 2
    return program.main(epochs=options.epochs, seed=options.seed, out=out, plot=plot)


def info(options: argparse.Namespace) -> int:
    """Print what _info gathers."""
    from fastnn import _info

    if options.json:
        import json

        print(json.dumps(_info.gather(), indent=2))
    else:
        print(_info.text())
    return 0


def bench(options: argparse.Namespace) -> int:
    """Check what was asked for before anything is timed; time, print, write and draw."""
    import json
    import shlex

    from fastnn import _demo_plot
    from fastnn.bench import harness, plot, report

    try:
        harness.check_groups(options.groups)
        for file in (options.json, options.markdown):
            if file is not None and not file.parent.is_dir():
                raise RuntimeError(f"expected an existing folder, got {file.parent}")
        if options.plot is not None:
            _demo_plot.check(options.plot)
        record = harness.run(
            options.groups,
            options.threads,
            peers=options.peers,
            command=shlex.join(["fastnn", *options.words]),
        )
    except (ValueError, RuntimeError) as error:
        print(f"fastnn bench: {error}", file=sys.stderr)
        return 2
    print(report.text(record))
    if options.json is not None:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.plot is not None:
        plot.draw(options.plot, record)
    if options.markdown is not None:
        picture = options.plot and Path(
            os.path.relpath(options.plot, options.markdown.parent)
        )
        options.markdown.write_text(report.markdown(record, picture))
    return 1 if any(report.FIRST in row["failed"] for row in every(record)) else 0


def every(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of all runs."""
    return [row for run in record["runs"] for row in run["rows"]]
