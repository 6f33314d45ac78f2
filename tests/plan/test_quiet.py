"""A replay on one thread: no allocation, no lock, no system call."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig

import pytest
from test_runtime import python

# Counts what the process asks of the C library, and can forbid system calls.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long allocations, locks;
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { allocations++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { allocations++; return __libc_realloc(p, n); }
int posix_memalign(void **p, size_t a, size_t n) {
    allocations++;
    *p = __libc_memalign(a, n);
    return *p == 0;
}
int pthread_mutex_lock(pthread_mutex_t *m) {
    static int (*real)(pthread_mutex_t *);
    if (!real) real = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
    locks++;
    return real(m);
}
long allocation_count(void) { return allocations; }
long lock_count(void) { return locks; }
/* From here on any system call but write and exit_group kills the process. */
int forbid(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
void leave(void) {
    ssize_t wrote = write(1, "quiet\n", 6);
    _exit(wrote != 6);
}
"""

PROGRAM = r"""
import ctypes, sys
import numpy as np
import fastnn
from fastnn import nn, optim

shim = ctypes.CDLL(sys.argv[1])
fastnn.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 300),
                      nn.GELU(), nn.Linear(300, 2))
optimizer = optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

@fastnn.compile
def step(x, y):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss

x = np.random.default_rng(0).standard_normal((320, 8)).astype(np.float32)
y = np.arange(320) % 2
for _ in range(6):
    step(x, y)
replay = step.plan.replay([x, y])
counts = []
for times in (1, 1, 500):
    before = shim.allocation_count(), shim.lock_count()
    replay.repeat(x, y, times=times)
    after = shim.allocation_count(), shim.lock_count()
    counts.append(tuple(b - a for a, b in zip(before, after)))
assert counts[2] == counts[1], counts
print("counted", counts[2], flush=True)
if sys.argv[2] == "break":  # the seal holds: this must kill us
    assert shim.forbid() == 0
    open("/dev/null")
assert shim.forbid() == 0
replay.repeat(x, y, times=500)
shim.leave()
"""


@pytest.mark.unsanitized
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_replay_asks_nothing_of_the_system(tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / f"shim{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    subprocess.run(
        [
            "gcc",
            "-O1",
            "-fno-builtin",
            "-shared",
            "-fPIC",
            tmp_path / "shim.c",
            "-o",
            shim,
            "-ldl",
        ],
        check=True,
    )

    one = {"FASTNN_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    results = [
        python(
            f"import sys; sys.argv[1:] = [{str(shim)!r}, {how!r}]\n" + PROGRAM,
            tmp_path,
            LD_PRELOAD=str(shim),
            **one,
        )
        for how in ("run", "break")
    ]
    assert results[0].returncode == 0, results[0].stderr
    assert results[0].stdout.endswith("quiet\n")
    assert results[1].returncode != 0 and "quiet" not in results[1].stdout
