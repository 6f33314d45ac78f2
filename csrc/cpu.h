/* What the machine is and how much of it we may use; and the start-up calls of the
 * runtime services, in the order fnn_init makes them. */
#ifndef FNN_CPU_H
#define FNN_CPU_H

#include "core.h"

typedef struct {
    bool avx2;   /* AVX2, FMA, BMI and BMI2, with OS support of the ymm state */
    bool avx512; /* AVX-512 F, DQ, BW and VL, with OS support of the zmm state */
    bool neon;
    int64_t l1d, l2, l3; /* data cache bytes seen by one core; l3 may be shared */
} fnn_cpu;

/* Detected once, on the first call. Thread safe. */
const fnn_cpu *fnn_cpu_get(void);

/* The CPUs that this process' control group may use, quota over period rounded up,
 * the tightest from its own group to the root, cgroup v2 and v1 both; 0: no limit.
 * The files are /proc/self/cgroup and the tree under /sys/fs/cgroup, or a test's
 * copies of them. */
int fnn_cgroup_cpu_limit(const char *proc_self_cgroup, const char *cgroup_root);

/* CPUs in the scheduler's affinity mask, at least 1. */
int fnn_affinity_cpus(void);

/* FASTNN_NUM_THREADS, or min(affinity, cgroup quota, OMP_NUM_THREADS). */
fnn_status fnn_default_threads(int *n, fnn_error *err);

/* A positive decimal number that fills `text` (blanks around it allowed); 0 if it is
 * not one. Numbers beyond int64_t give INT64_MAX. */
int64_t fnn_parse_positive(const char *text);

/* ---- start-up -------------------------------------------------------------------- */

/* Fills fnn_k with the best kernels this CPU has, capped by FASTNN_ISA. */
fnn_status fnn_dispatch_init(fnn_error *err);
/* Reads the default number of threads. Keeps what fnn_set_num_threads has set. */
fnn_status fnn_parallel_init(fnn_error *err);
/* Reads FASTNN_CACHE_BYTES. Without this call a value that is no number is ignored. */
fnn_status fnn_memory_init(fnn_error *err);

/* ---- tiers ----------------------------------------------------------------------- */

/* "generic", "avx2", "avx512" or "neon": the kernels in force. */
const char *fnn_isa_name(void);
/* Switches kernels while none is running; for tests and benchmarks. */
fnn_status fnn_isa_select(const char *name, fnn_error *err);
/* The tiers this CPU can run, lowest first, NULL after the last: i = 0, 1, ... */
const char *fnn_isa_available(int i);

#endif
