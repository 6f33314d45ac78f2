"""fastnn info: what it says is so."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_runtime import VARIABLES, output

import fastnn
from fastnn import _core, _info

RUN = "from fastnn.cli import main; main(['info'{}])"


def gathered(tmp_path, **variables):
    return json.loads(output(RUN.format(", '--json'"), tmp_path, **variables))


@pytest.fixture
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_text(tmp_path):
    lines = output(RUN.format(""), tmp_path).splitlines()
    labels = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert labels == [
        *("fastnn", "CPU", "kernels", "threads", "OpenMP", "memory", "NumPy"),
        *("Python", "system", "packages", "extras", "data"),
    ]
    width = len("packages") + 2
    assert all(line[width - 1] == " " != line[width] for line in lines)
    text = "\n".join(lines)
    assert f"fastnn    {fastnn.__version__}" in text
    assert sys.executable in text and np.__version__ in text


def test_facts(tmp_path):
    found = gathered(tmp_path)
    assert found["fastnn"]["version"] == fastnn.__version__
    assert (Path(found["fastnn"]["folder"]) / "_info.py").exists()
    assert found["kernels"]["runs"] == _core.isas()
    assert found["kernels"]["chosen"] == _core.isas()[-1]
    assert set(_core.isas()) <= set(found["kernels"]["built"])
    assert found["cpu"]["name"] != ""
    assert found["openmp"] and all(os.path.exists(p) for p in found["openmp"])
    assert found["memory"]["cache_limit"] == fastnn.memory_stats()["cache_limit"]
    assert found["python"]["executable"] == sys.executable
    assert found["required"]["numpy"] == np.__version__
    assert None not in found["required"].values()


def test_tiers_are_those_of_the_build():
    with pytest.raises(ValueError) as caught:
        _core.set_isa("none such")
    built = re.search(r"one of (.*), got", str(caught.value))[1].split(", ")
    assert _info.kernels()["built"] == built


@pytest.mark.parametrize("name", _core.isas())
def test_kernels_by_request(name, tmp_path):
    found = gathered(tmp_path, FASTNN_ISA=name)["kernels"]
    assert found["chosen"] == name and f"FASTNN_ISA={name}" in found["why"]
    best = _core.isas()[-1]
    assert (f"runs {best} too" in found["why"]) == (name != best)


def test_kernels_by_call(no_variables):
    before = fastnn.isa()
    try:
        _core.set_isa("generic")
        if len(_core.isas()) > 1:
            assert _info.kernels()["why"] == "set in this process"
    finally:
        _core.set_isa(before)


@pytest.mark.parametrize(
    ("variables", "number", "why"),
    [
        ({"FASTNN_NUM_THREADS": "7"}, 7, "FASTNN_NUM_THREADS=7"),
        ({"FASTNN_NUM_THREADS": " 03 "}, 3, "FASTNN_NUM_THREADS=3"),
        ({"FASTNN_NUM_THREADS": "1000"}, 256, "FASTNN_NUM_THREADS=1000"),
        ({"FASTNN_NUM_THREADS": ""}, None, "the least of what is granted"),
        ({"OMP_NUM_THREADS": "1"}, 1, "the least of what is granted"),
        ({"OMP_NUM_THREADS": "1,4"}, 1, "the least of what is granted"),
        ({"OMP_NUM_THREADS": "nonsense"}, None, "the least of what is granted"),
        ({}, None, "the least of what is granted"),
    ],
)
def test_threads(variables, number, why, tmp_path):
    found = gathered(tmp_path, **variables)["threads"]
    granted = [len(os.sched_getaffinity(0)), _core.cgroup_cpu_limit() or 256]
    assert found["number"] == (number or min(granted))
    assert found["why"] == why
    assert found["affinity"] == granted[0]
    assert found["OMP_NUM_THREADS"] == (1 if number == 1 else None)


def test_threads_by_call(tmp_path):
    code = "import fastnn; fastnn.set_num_threads(99); " + RUN.format(", '--json'")
    why = "set_num_threads() was called, or the process was forked"
    assert json.loads(output(code, tmp_path))["threads"]["why"] == why
    found = json.loads(output(code, tmp_path, FASTNN_NUM_THREADS="3"))
    assert found["threads"]["why"] == why


def test_memory_by_request(tmp_path):
    found = gathered(tmp_path, FASTNN_CACHE_BYTES="1048576")["memory"]
    assert found == {"cache_limit": 2**20, "why": "FASTNN_CACHE_BYTES=1048576"}


def test_folders(tmp_path):
    found = gathered(tmp_path, FASTNN_DATA="/data", XDG_CACHE_HOME="/cache")["data"]
    assert found == {"FASTNN_DATA": "/data", "cache": "/cache/fastnn"}


def test_two_runtimes_are_told():
    lines = _info.openmp(["/a/libgomp.so.1", "/b/libomp.so"])
    assert "2 runtimes in one process" in lines[0]
    assert lines[1:] == ["/a/libgomp.so.1", "/b/libomp.so"]
    assert _info.openmp([]) == ["linked into the extension"]


@pytest.mark.parametrize(
    ("name", "is_openmp", "is_blas"),
    [
        ("libgomp.so.1.0.0", True, False),
        ("libgomp-a34b3233.so.1", True, False),
        ("libomp.so", True, False),
        ("libomp5.so", True, False),
        ("libiomp5.so", True, False),
        ("libcomp.so", False, False),
        ("libompstub.so", False, False),
        ("libscipy_openblas64_-32a4b2a6.so", False, True),
        ("libmkl_rt.so.2", False, True),
        ("libblis.so.4", False, True),
        ("libc.so.6", False, False),
    ],
)
def test_libraries_in_the_process(name, is_openmp, is_blas, tmp_path, monkeypatch):
    maps = tmp_path / "maps"
    path = f"/with a space/{name}"
    maps.write_text(
        f"7f00-7f01 r-xp 00000000 fe:00 123      {path}\n"
        f"7f01-7f02 r--p 00000000 fe:00 123      {path}\n"
        "7f03-7f04 rw-p 00000000 00:00 0 \n"
        "7f05-7f06 rw-p 00000000 00:00 0         [heap]\n"
    )
    monkeypatch.setattr(_info, "MAPS", maps)
    assert _info.loaded(_info.OPENMP) == [path] * is_openmp
    assert _info.loaded(_info.BLAS) == [path] * is_blas


def test_extras():
    """Those for users that pyproject.toml names."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.exists():
        pytest.skip("no source tree")
    text = project.read_text()
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = dict(re.findall(r'^(\w+) = \["([\w-]+)', section, re.MULTILINE))
    assert extras.pop("test") == "pytest"
    assert extras == _info.EXTRAS
    needs = re.search(r"^dependencies = \[(.*)\]", text, re.MULTILINE)[1]
    assert tuple(re.findall(r'"([\w-]+)', needs)) == _info.REQUIRED
    assert _info.extra("plot", "3.9") == "plot: matplotlib 3.9"
    assert 'pip install "fastnn[plot]"' in _info.extra("plot", None)


def test_without_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(_info, "MAPS", tmp_path / "none")
    monkeypatch.setattr(_info, "CPUINFO", tmp_path / "none")
    assert _info.loaded(_info.BLAS) == []
    assert _info.cpu()["name"] != ""


def test_the_command_is_installed(tmp_path):
    command = shutil.which("fastnn")
    if command is None:
        pytest.skip("fastnn runs from its source tree")
    assert "kernels" in output(
        f"import subprocess; print(subprocess.check_output([{command!r}, 'info'], text=True))",
        tmp_path,
    )
