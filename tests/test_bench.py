"""fastnn bench: arithmetic of the floor, timing, tables, JSON, a run from end to end."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn
from fastnn import bench, cli
from fastnn.bench import harness, machine, report
from fastnn.bench.machine import Level, Machine
from fastnn.bench.peers import PEERS
from fastnn.bench.peers.base import Contestant
from fastnn.bench.peers.numpy_ import NumPy
from fastnn.bench.peers.ours import Compiled, Eager
from fastnn.bench.workloads import GROUPS
from fastnn.bench.workloads.rows import (
    Chain,
    Goal,
    Gradient,
    Inference,
    Kernel,
    Run,
    Training,
    Update,
)

LEVELS = [Level("L1", 1000.0, 100.0), Level("memory", math.inf, 10.0)]
MACHINE = Machine(1, "avx2", {"avx2": {"float32": 50.0, "float64": 25.0}}, LEVELS)

TINY = [
    Kernel(
        name="tiny product",
        group="kernels",
        flops=2.0 * 3 * 4 * 5,
        bytes=4.0 * 47,
        shapes=((3, 4), (4, 5)),
        out=(3, 5),
        forms={
            "fastnn": lambda f, a, b, **out: f.matmul(a, b, **out),
            "numpy": lambda np, a, b, **out: np.matmul(a, b, **out),
        },
    ),
    Gradient(
        name="tiny gradient",
        group="kernels",
        flops=8,
        bytes=64,
        shapes=((8,),),
        forms={
            "fastnn": lambda f, x: (x * x).sum(),
            "numpy": lambda np, x: 2 * x,
        },
    ),
    Chain(
        name="tiny chain",
        group="overhead",
        flops=8,
        bytes=64,
        shapes=((8,), (8,)),
        forms={
            "fastnn": lambda f, x, w: x * w,
            "numpy": lambda np, x, w: x * w,
        },
        length=4,
    ),
    *(
        Update(
            name=name,
            group="kernels",
            flops=8,
            bytes=64,
            optimizer=name,
            options=options,
            size=40,
        )
        for name, options in (
            ("SGD", {"lr": 0.1, "momentum": 0.9}),
            ("Adam", {"lr": 0.1}),
        )
    ),
    *(
        Training(
            name=f"tiny training, {name}",
            group="train",
            flops=1e3,
            bytes=1e3,
            sizes=(4, 5, 3),
            batch=6,
            optimizer=name,
            goals=goals,
        )
        for name, goals in (
            ("adam", [Goal(peer=1e9), Goal(seconds=1e-12)]),
            ("sgd", [Goal(seconds=1e-12)]),  # a picosecond
        )
    ),
    Inference(
        name="tiny inference",
        group="infer",
        flops=1e3,
        bytes=1e3,
        sizes=(4, 5, 3),
        batch=2,
    ),
]


@pytest.fixture
def no_plans(monkeypatch):
    """Functions as they are in place of plans: what is tested here is the harness."""
    monkeypatch.setattr(Compiled, "compiled", lambda self, f: f)
    monkeypatch.setattr(Compiled, "function", Eager.function)
    monkeypatch.setattr(Compiled, "on_arrays", Eager.on_arrays)
    monkeypatch.setattr(Compiled, "predictions", Eager.predictions)


@pytest.fixture
def known_machine(monkeypatch):
    """No second of measuring; threads are as they were afterwards."""
    before = fastnn.get_num_threads()
    monkeypatch.setattr(harness, "measure", lambda threads: MACHINE)
    yield
    fastnn.set_num_threads(before)


def ran(rows, kinds=(Compiled, Eager, NumPy)):
    return harness.run_here(rows, 1, kinds, rounds=3, budget=1e-4)


def failures(row):
    """What failed, but for differences of nanoseconds on a busy machine."""
    return {k: v for k, v in row["failed"].items() if "lost in the noise" not in v}


def recorded(run):
    return {"command": "fastnn bench", "cpu": "a CPU", "system": "here", "runs": [run]}


# ---- the machine ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flops", "size", "dtype", "seconds"),
    [
        (100, 10, "float32", 2.0),  # arithmetic takes longer
        (100, 10, "float64", 4.0),
        (100, 10, fastnn.float64, 4.0),
        (0, 1000, "float32", 10.0),  # just fits into the cache
        (0, 1001, "float32", 100.1),  # just does not
        (1e4, 1001, "float32", 200.0),
    ],
)
def test_the_floor_is_the_longer_of_the_two(flops, size, dtype, seconds):
    assert MACHINE.floor(flops, size, dtype) == pytest.approx(seconds)


def test_measuring_leaves_the_process_as_it_was():
    threads, isa = fastnn.get_num_threads(), fastnn.isa()
    found = bench.measure(1)
    assert (fastnn.get_num_threads(), fastnn.isa()) == (threads, isa)
    assert found is bench.measure(1)
    assert list(found.peaks) == fastnn._core.isas()
    assert found.peak["float32"] > found.peak["float64"] > 1e8
    assert found.bandwidth[-1].name == "memory"
    assert found.bandwidth[-1].bytes == math.inf
    assert all(level.rate > 1e8 for level in found.bandwidth)
    sizes = [level.bytes for level in found.bandwidth]
    assert sizes == sorted(sizes)


def test_measuring_puts_kernels_and_threads_back(monkeypatch):
    isa, threads = fastnn.isa(), fastnn.get_num_threads()
    seen = []
    monkeypatch.setattr(machine, "peak", lambda *_: seen.append(fastnn.isa()) or 1.0)
    monkeypatch.setattr(
        machine, "bandwidths", lambda n: seen.append(fastnn.isa()) or []
    )
    try:
        fastnn._core.set_isa("generic")
        found = machine.measure.__wrapped__(threads + 1)
        assert fastnn.isa() == seen[-1] == found.isa == "generic"
        assert set(seen) == set(fastnn._core.isas())
        assert fastnn.get_num_threads() == threads
        monkeypatch.setattr(machine, "bandwidths", lambda n: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            machine.measure.__wrapped__(threads + 1)
        assert (fastnn.isa(), fastnn.get_num_threads()) == ("generic", threads)
    finally:
        fastnn._core.set_isa(isa)


def test_caches_are_read_from_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {3, 5})
    for k, row in enumerate(
        [
            ("1", "Data", "48K", "3"),
            ("1", "Instruction", "32K", "3"),
            ("2", "Unified", "2M", "2-3"),
            ("3", "Unified", "1G", "0-3,8"),
        ]
    ):
        folder = tmp_path / f"cpu3/cache/index{k}"
        folder.mkdir(parents=True)
        names = ("level", "type", "size", "shared_cpu_list")
        for name, text in zip(names, row, strict=True):
            (folder / name).write_text(text + "\n")
    assert machine.caches(tmp_path) == [
        ("L1", 48 << 10, 1),
        ("L2", 2 << 20, 2),
        ("L3", 1 << 30, 5),
    ]
    assert machine.caches(tmp_path / "none") == list(machine.ASSUMED)


def test_cores_come_before_their_siblings(tmp_path, monkeypatch):
    monkeypatch.setattr(harness.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    for cpu in range(4):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        pair = "0-1" if cpu < 2 else "2-3"
        (folder / "thread_siblings_list").write_text(pair + "\n")
    assert harness.cores(tmp_path) == [0, 2, 1, 3]
    assert harness.cores(tmp_path / "none") == [0, 1, 2, 3]


# ---- timing -----------------------------------------------------------------------------


def test_a_race_takes_turns():
    seen = []
    contestants = {name: (lambda name=name: seen.append(name)) for name in "ab"}
    times = bench.race(contestants, rounds=4, budget=0.0)
    assert all(len(t.samples) == 4 for t in times.values())
    # 4 calls of each to find out how many a turn takes, then turns of 2
    assert seen[8:] == list("aabb") * 4


def test_a_race_knows_who_is_slower():
    times = bench.race(
        {"slow": lambda: time.sleep(2e-3), "fast": lambda: None}, rounds=3, budget=1e-3
    )
    assert times["slow"].median >= 2e-3 > 1e-4 > times["fast"].median


def test_times_have_medians_and_quartiles():
    t = bench.Times((5.0, 1.0, 3.0, 2.0, 4.0))
    assert t.median == 3 and t.quartiles == (2, 4)
    assert t.spread == pytest.approx(1 / 3)
    assert t.less(bench.Times((1.0, 1.0, 1.0, 0.0, 0.0)), per=2).samples == (
        2,
        0,
        1,
        1,
        2,
    )
    assert bench.Times((2.0,)).quartiles == (2, 2)


# ---- from end to end --------------------------------------------------------------------


def test_a_run(no_plans, known_machine):
    run = ran(TINY)
    assert [row["name"] for row in run["rows"]] == [row.name for row in TINY]
    for row in run["rows"]:
        assert failures(row) == {}, row["name"]
        assert {*row["times"], *row["failed"]} == {"fastnn", "eager", "numpy"}
        for t in row["times"].values():
            assert len(t["samples"]) == 3
            assert t["quartiles"][0] <= t["median"] <= t["quartiles"][1]
    json.loads(json.dumps(recorded(run), allow_nan=False))
    text = report.text(recorded(run))
    assert "tiny product" in text and "tiny training, adam" in text
    assert "of NumPy's time (goal 1000000000.00); or" in text and ": met" in text
    assert ": MISSED" in text


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.key)
def test_a_run_with_a_peer(kind, no_plans, known_machine):
    if kind().version() is None or kind.key == "compiled":
        pytest.skip("not installed, or too slow to compile here")
    run = ran([row for row in TINY if hasattr(kind, row.kind)], (Compiled, kind))
    for row in run["rows"]:
        if kind.key == "thinc" and "sgd" in row["name"]:
            assert failures(row) == {"thinc": "has no momentum for SGD"}
        else:
            assert failures(row) == {}, row["name"]


class Wrong(Contestant):
    """Returns other numbers; fails at training; its library is not there."""

    key, title, package = "torch", "Wrong", "numpy"

    def prepare(self, threads):
        pass

    def inference(self, row):
        return Run(lambda: None, lambda: [np.full((2, 3), 7.0)])

    def training(self, row):
        raise ZeroDivisionError("by\n  nothing")


def test_a_contestant_that_fails_is_reported(no_plans, known_machine):
    run = ran(TINY[-2:], (Compiled, Wrong))
    training, inference = (row["failed"]["torch"] for row in run["rows"])
    assert training == "ZeroDivisionError: by nothing"
    assert all("torch" not in row["times"] for row in run["rows"])
    assert "another result than fastnn's" in inference and "differs by" in inference
    text = report.text(recorded(run))
    assert "tiny inference: PyTorch: another result" in text
    table = [line for line in text.splitlines() if line.startswith("tiny")]
    assert len(table) == 2 and all(line.endswith("failed") for line in table)


def test_a_difference_lost_in_the_noise_is_no_figure(monkeypatch):
    """-20 ns would meet every target."""
    late = iter([4e-9, 1e-9, 1e-9, 3e-9, 2e-9, 2e-9])  # long, then short
    monkeypatch.setattr(
        harness,
        "race",
        lambda calls, **_: {
            k: bench.Times(tuple(next(late) for _ in range(3))) for k in calls
        },
    )
    row = next(r for r in TINY if isinstance(r, Chain))
    contestant = NumPy()
    contestant.prepare(1)
    made = harness.run_row(row, [contestant], MACHINE)
    assert made["times"] == {}
    assert "lost in the noise: differences of" in made["failed"]["numpy"]


def test_nan_is_another_result():
    results = {"fastnn": [np.ones(3)], "numpy": [np.array([1, np.nan, 1])]}
    assert "numpy" in harness.disagreements(results, 0.1)
    assert harness.disagreements(results, None) == {}
    other = {"fastnn": [np.ones(3)], "numpy": [np.ones(4)]}
    assert "shapes" in harness.disagreements(other, 0.1)["numpy"]


def test_a_process_of_its_own(monkeypatch):
    """Its environment and CPUs say how many threads; what it wrote comes back."""
    seen = []

    def run(words, env, cwd):
        seen.append((words, env, harness.os.sched_getaffinity(0)))
        if words[4] == "1":
            harness.Path(words[3]).write_text(json.dumps({"threads": 1}))
        return subprocess.CompletedProcess(words, -11)

    mine = harness.os.sched_getaffinity(0)
    monkeypatch.setattr(harness, "subprocess", SimpleNamespace(run=run))
    made = harness.run(["train", "infer"], [1], peers=True, command="fastnn bench")
    assert made["runs"] == [{"threads": 1}] and made["command"] == "fastnn bench"
    words, env, cpus = seen[0]
    assert words[1:3] == ["-m", "fastnn.bench"]
    assert words[4:] == ["1", "peers", "train", "infer"]
    assert {env[name] for name in harness.POOLS} == {"1"}
    assert len(cpus) == 1 and cpus <= mine
    assert harness.os.sched_getaffinity(0) == mine
    with pytest.raises(RuntimeError, match="2 threads ended with -11"):
        harness.child([], 2, False, sorted(mine))


def test_what_that_process_does(monkeypatch, tmp_path, no_plans, known_machine, capsys):
    monkeypatch.setitem(GROUPS, "tiny", TINY[:1])
    monkeypatch.setattr(harness, "ROUNDS", 2)
    file = tmp_path / "run.json"
    assert harness.main([str(file), "1", "alone", "tiny"]) == 0
    made = json.loads(file.read_text())
    assert [row["name"] for row in made["rows"]] == ["tiny product"]
    assert set(made["versions"]) == {"fastnn", "fastnn eager", "NumPy"}
    assert "tiny product" in capsys.readouterr().err


# ---- tables -----------------------------------------------------------------------------


def row(name="a row", failed=None, goals=(), **medians):
    times = {
        key: {"median": m, "quartiles": [0.9 * m, 1.1 * m], "samples": [m]}
        for key, m in medians.items()
    }
    return {
        "name": name,
        "group": "train",
        "flops": 10.0,
        "bytes": 10.0,
        "floor": 1e-6,
        "level": "L1",
        "goals": [goal._asdict() for goal in goals],
        "times": times,
        "failed": failed or {},
    }


def record(*rows):
    return recorded(
        {
            "threads": 1,
            "isa": "avx2",
            "python": "3.x",
            "versions": {"fastnn": "1", "NumPy": "2"},
            "absent": {"thinc": "not installed"},
            "machine": harness.described(MACHINE),
            "rows": list(rows),
        }
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5.123e-8, "51.2 ns"),
        (9.999e-7, "1.00 µs"),
        (1.234e-5, "12.3 µs"),
        (1.234e-4, "123 µs"),
        (0.0456, "45.6 ms"),
        (1.5, "1.50 s"),
        (-2e-8, "-20.0 ns"),
        (1234.0, "1234 s"),
    ],
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text


def test_a_loss_is_marked():
    made = record(
        row(fastnn=2e-6, numpy=4e-6, torch=1e-6, failed={"jax": "fell over"}),
        row("another", fastnn=1e-6, numpy=1e-6),
    )
    text = report.text(made)
    lines = text.splitlines()
    line = next(v for v in lines if v.startswith("a row"))
    assert line.split("  ")[-1].strip() == "failed"
    assert "2.00 µs" in line and "±10%" in line and "50%" in line
    assert "2.00 SLOWER" in line and "0.50" in line
    assert "SLOWER" not in next(v for v in lines if v.startswith("another"))
    assert "  a row: 2.00 of PyTorch's time" in lines
    assert "  a row: JAX: fell over" in lines
    assert "  thinc: not installed" in lines
    page = report.markdown(made)
    assert "**2.00**" in page and "**0.50**" not in page and "`fastnn bench`" in page


def test_without_a_figure_of_fastnn():
    made = record(row(failed={"fastnn": "no"}, numpy=3e-6, goals=[Goal(peer=0.5)]))
    text = report.text(made)
    assert "3.00 µs" in text and "fastnn has no figure" in text


@pytest.mark.parametrize(
    ("goals", "said", "verdict"),
    [
        ([Goal(seconds=1e-6)], "1.00 µs (goal 1.00 µs)", "met"),
        ([Goal(seconds=0.9e-6)], "1.00 µs (goal 900 ns)", "MISSED"),
        ([Goal(peer=0.5)], "0.50 of NumPy's time (goal 0.50)", "met"),
        ([Goal(against={"torch": 0.3})], "0.25 of PyTorch's time", "met"),
        ([Goal(against={"jax": 0.5})], "no JAX (goal 0.50)", "not measured"),
        ([Goal(floor=(0.7, 0.9))], "80% of the floor (goal 70%)", "met"),
        ([Goal(peer=0.6, floor=(0.9, 0.9))], "80% of the floor", "MISSED"),
        ([Goal(peer=0.4), Goal(floor=(0.8, 0.8))], "; or 80%", "met"),
        ([Goal(against={"jax": 0.5}), Goal(peer=0.4)], "; or 0.50", "not measured"),
    ],
)
def test_goals(goals, said, verdict):
    made = row(fastnn=1e-6, eager=0.8e-6, numpy=2e-6, torch=4e-6, goals=goals)
    (line,) = report.verdicts({**made, "floor": 0.8e-6}, 1)
    assert said in line and line.endswith(f": {verdict}")


@pytest.mark.parametrize(
    ("failed", "goal", "verdict"),
    [
        ({"torch": "crashed"}, Goal(peer=0.6), "not measured"),
        ({"torch": "lost in the noise: differences"}, Goal(peer=0.6), "not measured"),
        ({"torch": "crashed"}, Goal(peer=0.4), "MISSED"),  # by numpy's time already
        ({"torch": "has no momentum for SGD"}, Goal(peer=0.6), "met"),
        ({"torch": "another result than fastnn's"}, Goal(floor=(0.7, 0.7)), "met"),
    ],
)
def test_goals_where_a_rival_failed(failed, goal, verdict):
    made = row(fastnn=1e-6, numpy=2e-6, failed=failed, goals=[goal])
    (line,) = report.verdicts({**made, "floor": 0.8e-6}, 1)
    assert line.endswith(f": {verdict}")


def test_no_goal_is_met_where_everyone_else_has_another_result():
    why = {"numpy": "another result than fastnn's: shapes", "torch": "another result"}
    made = row(fastnn=1e-6, failed=why, goals=[Goal(floor=(0.7, 0.7)), Goal(seconds=1)])
    (line,) = report.verdicts({**made, "floor": 0.8e-6}, 1)
    assert line.endswith(": not measured")
    (line,) = report.verdicts(row(fastnn=1e-6, goals=[Goal()]), 1)
    assert not line.endswith(": met")


def test_fewer_sums_than_the_floor_counts():
    made = {**row(fastnn=1e-6, goals=[Goal(floor=(0.9, 0.9))]), "floor": 2.5e-6}
    assert "250% of the floor (goal 90%): met" in report.verdicts(made, 1)[0]
    assert "250%" in report.cells(made, [], "{}")


def test_goals_for_more_threads():
    made = {**row(fastnn=1e-6, goals=[Goal(floor=(0.7, 0.9))]), "floor": 0.8e-6}
    assert report.verdicts(made, 1)[0].endswith(": met")
    assert report.verdicts(made, 2)[0].endswith(": MISSED")
    assert report.verdicts(row(fastnn=1e-6), 1) == []
    assert "Goals:" in report.text(record(row(fastnn=1e-6, goals=[Goal(seconds=1)])))


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    from fastnn.bench import plot

    plot.draw(tmp_path / "roofline.png", record(row(fastnn=1e-6), row(fastnn=2e-6)))
    assert (tmp_path / "roofline.png").stat().st_size > 10_000
    many = [row(f"row {k}", fastnn=1e-9 * 1.1**k) for k in range(40)]  # above the peak
    plot.draw(tmp_path / "many.png", record(*many))
    assert (tmp_path / "many.png").stat().st_size > 10_000
    plot.draw(tmp_path / "empty.png", record(row(failed={"fastnn": "no"})))


# ---- the command ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["infer", "nothing"],
            "expected a group out of overhead, products, kernels, layers, sequences, train, infer",
        ),
        (["--threads", "1,9999"], r"--threads: expected 1 to \d+.*got 9999"),
        (["--json", "/nowhere/at/all.json"], "existing folder"),
        (["--plot", "roofline.nothing"], "--plot"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_timed(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert re.search(f"fastnn bench: .*{message}", capsys.readouterr().err)


def test_threads_are_numbers(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--threads", "0"])
    assert "--threads" in capsys.readouterr().err


def test_the_files_that_the_command_writes(tmp_path, monkeypatch, capsys):
    made = record(row(fastnn=1e-6, numpy=2e-6))
    asked = []
    monkeypatch.setattr(harness, "run", lambda *a, **k: asked.append((a, k)) or made)
    words = ["--threads", "1,2", "--peers", "train", "infer"]
    words += ["--json", str(tmp_path / "b.json"), "--markdown", str(tmp_path / "b.md")]
    assert cli.main(["bench", *words]) == 0
    (arguments, options) = asked[0]
    assert arguments == (["train", "infer"], [1, 2]) and options["peers"]
    assert options["command"].startswith(
        "fastnn bench --threads 1,2 --peers train infer"
    )
    assert json.loads((tmp_path / "b.json").read_text()) == made
    assert "| a row | 1.00 µs |" in (tmp_path / "b.md").read_text()
    assert "a row" in capsys.readouterr().out
    made["runs"][0]["rows"][0] = row(failed={"fastnn": "no"})
    assert cli.main(["bench"]) == 1


@pytest.mark.slow
def test_the_command_from_end_to_end(tmp_path, capfd):
    assert cli.main(["bench", "infer", "--json", str(tmp_path / "b.json")]) in (0, 1)
    made = json.loads((tmp_path / "b.json").read_text())
    assert [r["group"] for r in made["runs"][0]["rows"]] == ["infer"] * len(
        GROUPS["infer"]
    )
    assert "1 thread, infer" in capfd.readouterr().err
