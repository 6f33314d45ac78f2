"""Builds the one extension module, fastnn._core; everything else is in pyproject.toml.

The module is fastnn/_core/core.pyx and every C file under csrc/. Builds are run often,
so the C files compile side by side, and a file is compiled again only where it, a
header that it includes, or a flag has changed (by content, not by date).

Environment:
    FASTNN_DEBUG=1    -O1 -g, AddressSanitizer and UBSan, FNN_DEBUG, Cython's checks
    FASTNN_WERROR=1   every warning in csrc/ is an error
    CC, CFLAGS        as usual
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

DEBUG = os.environ.get("FASTNN_DEBUG", "0") not in ("", "0")
WERROR = os.environ.get("FASTNN_WERROR", "0") not in ("", "0")

PYX = "fastnn/_core/core.pyx"
C_FOLDERS = [
    "csrc",
    *(f"csrc/{name}" for name in ("ops", "plan", "gemm", "conv", "rnn", "isa")),
]
HEADERS = ["csrc/**/*.h", "csrc/**/*.def", "fastnn/_core/*.px[id]"]

# The bits contract. No fused multiply-add but where one is written, and nothing that
# reorders arithmetic: -fno-fast-math last takes back what CFLAGS may have asked for.
# -fno-math-errno lets sqrt be an instruction and -fno-trapping-math lets a comparison
# become a select; they give up errno and exception flags, which nobody reads, no bits.
BITS = ["-fno-fast-math", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Werror", "-Wno-unknown-pragmas"]
if DEBUG:
    # -g1, line numbers without variables, halves the time that gcc takes here.
    OPTIMIZE = ["-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address"]
    LINK = ["-fopenmp", "-fsanitize=address,undefined"]
    MACROS = [("FNN_DEBUG", "1"), ("CYTHON_CLINE_IN_TRACEBACK", "1")]
else:
    OPTIMIZE = ["-O3", "-g0"]  # -g0: Python's own flags often ask for -g
    LINK = ["-fopenmp", "-Wl,-s", "-Wl,--as-needed"]
    MACROS = [("NDEBUG", "1"), ("CYTHON_WITHOUT_ASSERTIONS", "1")]
COMMON = ["-std=gnu11", "-fvisibility=hidden", "-fopenmp", *OPTIMIZE, *BITS]
# For csrc/ only; generated code is not ours to mend. -fwrapv, among Python's flags,
# would hide signed overflow from UBSan.
UBSAN = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined", "-fno-wrapv"]
STRICT = [*(WARNINGS if WERROR else []), *(UBSAN if DEBUG else [])]
DEBUG_DIRECTIVES = {"boundscheck": True, "initializedcheck": True, "nonecheck": True}

NO_PLATFORM = """\
fastnn builds on Linux, x86-64 or aarch64; this is {system} on {machine}."""
NO_COMPILER = """\
fastnn needs a working C compiler, gcc or clang; {command!r} is not one:
    {why}
Install one (Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc), or
name yours in the environment variable CC."""
NO_PYTHON_H = """\
fastnn needs the headers of Python {version}; {path} is missing.
Install them (Debian, Ubuntu: apt install python3-dev; Fedora: dnf install
python3-devel)."""
NO_OPENMP = """\
fastnn needs OpenMP, which {command!r} does not provide:
    {why}
gcc brings it along (Debian, Ubuntu: apt install gcc; then CC=gcc); clang has it in a
package of its own (Debian, Ubuntu: apt install libomp-dev, or libomp-14-dev for
clang-14; Fedora: dnf install libomp-devel)."""

C_PROBE = "#include <math.h>\nint probe(void) { return (int)sqrt(4.0); }\n"
OPENMP_PROBE = "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"


def c_sources() -> list[str]:
    """Every C file of the extension, those that take longest first."""
    found = [str(p) for folder in C_FOLDERS for p in sorted(Path(folder).glob("*.c"))]
    return sorted(found, key=lambda p: not p.startswith("csrc/isa"))


def headers() -> list[str]:
    """Everything that a source may include; for the sdist and for setuptools."""
    return sorted(str(p) for pattern in HEADERS for p in Path().glob(pattern))


def run(command: list[str]) -> str:
    """Run a command; returns "" where it worked, else the gist of its complaint."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return next((s for s in lines if "error" in s), lines[0] if lines else "it failed")


def digest(*parts: str | bytes) -> str:
    """Content key of the parts."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()


def included(dep_file: Path) -> list[Path]:
    """The files of this tree that a compiler's dependency file (-MMD) lists."""
    words = dep_file.read_text().replace("\\\n", " ").split()[1:]
    root = Path.cwd()
    paths = (Path(root, word) for word in words)
    # NumPy's headers are where pip put them this time; its version is in the key.
    return [p for p in paths if p.is_relative_to(root) and "numpy" not in p.parts]


class BuildExt(build_ext):
    """build_ext that checks the machine first and compiles in parallel."""

    def build_extensions(self) -> None:
        check_machine(self.compiler)
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        import Cython
        import numpy as np

        self.include_numpy = np.get_include()
        compiler = shlex.join(self.compiler.compiler_so)
        version = subprocess.run(
            [self.compiler.compiler_so[0], "--version"], capture_output=True, check=True
        ).stdout
        self.key = digest(compiler, version, Cython.__version__, np.__version__)
        self.temp = Path(self.build_temp, "debug" if DEBUG else "release")
        workers = self.parallel if isinstance(self.parallel, int) else 0
        workers = workers or len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(workers) as pool:
            # The compilers run while Cython, which keeps one core, writes core.c.
            jobs = [pool.submit(self.object, c, STRICT) for c in ext.sources[1:]]
            core = self.cythonize(ext, Cython.__version__)
            jobs.insert(0, pool.submit(self.object, core, []))
            objects = [job.result() for job in jobs]
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=ext.libraries,
            extra_postargs=ext.extra_link_args,
            build_temp=self.build_temp,
            target_lang="c",
        )

    def cythonize(self, ext: Extension, version: str) -> str:
        """Translate the Cython source; returns the path of the C file."""
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError as CythonError

        one = Extension(ext.name, ext.sources[:1], include_dirs=ext.include_dirs)
        try:
            [done] = cythonize(
                [one],
                build_dir=str(self.temp / f"cython-{version}"),
                include_path=["csrc", "fastnn/_core"],
                language_level=3,
                compiler_directives=DEBUG_DIRECTIVES if DEBUG else {},
                force=bool(self.force),
            )
        except CythonError as error:
            raise CompileError(f"Cython could not translate {PYX}: {error}") from error
        return str(done.sources[0])

    def object(self, source: str, flags: list[str]) -> str:
        """Compile one C file, unless its object is up to date; returns the object."""
        postargs = [*COMMON, *flags]
        stem = source.replace("/", "_").removesuffix(".c")
        dep, key_file = self.temp / f"{stem}.d", self.temp / f"{stem}.key"
        [output] = self.compiler.object_filenames([source], output_dir=str(self.temp))

        def key() -> str:
            files = [p.read_bytes() for p in included(dep)]
            return digest(self.key, shlex.join(postargs), repr(MACROS), *files)

        try:
            fresh = key_file.read_text() == key() and Path(output).exists()
        except OSError:
            fresh = False
        if not fresh or self.force:
            self.temp.mkdir(parents=True, exist_ok=True)
            key_file.unlink(missing_ok=True)
            self.compiler.compile(
                [source],
                output_dir=str(self.temp),
                macros=MACROS,
                include_dirs=["csrc", "fastnn/_core", self.include_numpy],
                extra_postargs=[*postargs, "-MMD", "-MF", str(dep)],
            )
            key_file.write_text(key())
        return str(output)


def check_machine(compiler: Any) -> None:
    """Say in words what the build lacks, before it fails in the compiler's."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64"):
        raise PlatformError(NO_PLATFORM.format(system=sys.platform, machine=machine))
    command = compiler.compiler_so[0]
    with tempfile.TemporaryDirectory() as folder:
        source, output = f"{folder}/probe.c", f"{folder}/probe.so"
        # The machine can be short of a compiler, of C's headers, of OpenMP's header or
        # of its library: build a shared object, as the extension is one.
        for text, flags, message in (
            (C_PROBE, ["-lm"], NO_COMPILER),
            (OPENMP_PROBE, ["-fopenmp"], NO_OPENMP),
        ):
            Path(source).write_text(text)
            why = run([*compiler.compiler_so, "-shared", source, "-o", output, *flags])
            if why:
                raise PlatformError(message.format(command=command, why=why))
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        version = ".".join(platform.python_version_tuple()[:2])
        raise PlatformError(NO_PYTHON_H.format(version=version, path=header))


setup(
    ext_modules=[
        Extension(
            "fastnn._core",
            [PYX, *c_sources()],
            depends=headers(),
            include_dirs=["csrc"],
            libraries=["m"],
            extra_link_args=LINK,
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
