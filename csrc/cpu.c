/* Detects instruction sets, cache sizes and the number of CPUs we are allowed to
 * use. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity, CPU_ALLOC */
#endif
#include "cpu.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- instruction sets ------------------------------------------------------------ */

static fnn_cpu cpu;

#if defined(__x86_64__)
static uint64_t read_xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((uint64_t)hi << 32) | lo;
}

static void detect_isa(void) {
    /* Bits of XCR0: sse and avx; and opmask, upper zmm 0-15, zmm 16-31. */
    enum { YMM_STATE = 0x6, ZMM_STATE = 0xe6 };
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return;
    }
    bool osxsave = c >> 27 & 1, avx = c >> 28 & 1, fma = c >> 12 & 1;
    if (!osxsave || !avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return;
    }
    uint64_t state = read_xcr0();
    bool bmi = b >> 3 & 1, avx2 = b >> 5 & 1, bmi2 = b >> 8 & 1;
    bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1;
    cpu.avx2 = avx2 && fma && bmi && bmi2 && (state & YMM_STATE) == YMM_STATE;
    cpu.avx512 = cpu.avx2 && f && dq && bw && vl && (state & ZMM_STATE) == ZMM_STATE;
}
#elif defined(__aarch64__)
static void detect_isa(void) { cpu.neon = true; } /* part of the architecture */
#else
static void detect_isa(void) {}
#endif

/* ---- caches ---------------------------------------------------------------------- */

/* The first line of a small file, without its newline; false if it cannot be read. */
static bool read_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) {
        return false;
    }
    bool ok = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (ok) {
        line[strcspn(line, "\n")] = 0;
    }
    return ok;
}

static void detect_caches(void) {
    cpu.l1d = 32 << 10;
    cpu.l2 = 512 << 10;
    cpu.l3 = 8 << 20;
    for (int i = 0; i < 8; i++) {
        static const char dir[] = "/sys/devices/system/cpu/cpu0/cache/index";
        char path[96], level[16], type[32], size[32];
        snprintf(path, sizeof path, "%s%d/level", dir, i);
        if (!read_line(path, level, sizeof level)) {
            return;
        }
        snprintf(path, sizeof path, "%s%d/type", dir, i);
        bool have_type = read_line(path, type, sizeof type);
        snprintf(path, sizeof path, "%s%d/size", dir, i);
        if (!have_type || strcmp(type, "Instruction") == 0 ||
            !read_line(path, size, sizeof size)) {
            continue;
        }
        char *unit;
        long long bytes = strtoll(size, &unit, 10);
        bytes <<= *unit == 'K' ? 10 : *unit == 'M' ? 20 : 0;
        int64_t *slot = level[0] == '1'   ? &cpu.l1d
                        : level[0] == '2' ? &cpu.l2
                        : level[0] == '3' ? &cpu.l3
                                          : NULL;
        /* Virtual machines sometimes report nonsense; keep the default then. */
        if (slot && bytes >= 4 << 10 && bytes <= 4LL << 30) {
            *slot = bytes;
        }
    }
}

static void detect(void) {
    detect_isa();
    detect_caches();
}

const fnn_cpu *fnn_cpu_get(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, detect);
    return &cpu;
}

/* ---- control groups -------------------------------------------------------------- */

enum { PATH_LEN = 4096 };

static int quota_cpus(long long quota, long long period) {
    if (quota <= 0 || period <= 0) {
        return 0;
    }
    long long cpus = (quota - 1) / period + 1;
    return cpus > INT32_MAX ? INT32_MAX : (int)cpus;
}

static int tighter(int a, int b) { return a == 0 || (b != 0 && b < a) ? b : a; }

/* cgroup v2: cpu.max holds "max 100000" or "<quota> <period>". */
static int limit_v2(const char *dir) {
    char path[PATH_LEN + 32], line[96];
    long long quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (read_line(path, line, sizeof line) &&
        sscanf(line, "%lld %lld", &quota, &period) == 2) {
        return quota_cpus(quota, period);
    }
    return 0;
}

/* cgroup v1: the quota is -1 where there is none. */
static int limit_v1(const char *dir) {
    char path[PATH_LEN + 32], quota[48], period[48];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
    if (!read_line(path, quota, sizeof quota)) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    if (!read_line(path, period, sizeof period)) {
        return 0;
    }
    return quota_cpus(atoll(quota), atoll(period));
}

/* The tightest limit from base/group up to base itself. In a container whose group
 * path is the host's, the deeper folders do not exist and the container's own limit
 * is at base. */
static int walk_up(const char *base, const char *group, int (*limit)(const char *)) {
    char dir[PATH_LEN];
    size_t stop = strlen(base);
    int cpus = 0;
    if (strstr(group, "/..")) { /* outside our cgroup namespace */
        group = "";
    }
    if (snprintf(dir, sizeof dir, "%s%s", base, group) >= PATH_LEN) {
        return 0;
    }
    for (;;) {
        cpus = tighter(cpus, limit(dir));
        char *slash = strrchr(dir + stop, '/');
        if (!slash) {
            return cpus;
        }
        *slash = 0;
    }
}

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == 0)) {
            return true;
        }
    }
    return false;
}

int fnn_cgroup_cpu_limit(const char *proc_self_cgroup, const char *cgroup_root) {
    FILE *file = fopen(proc_self_cgroup, "re");
    if (!file) {
        return 0;
    }
    int cpus = 0;
    char line[PATH_LEN], base[PATH_LEN];
    while (fgets(line, sizeof line, file)) { /* "<id>:<controllers>:<path>" */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group++ = 0;
        controllers++;
        if (*controllers == 0) { /* v2; "unified" where v1 is mounted beside it */
            cpus = tighter(cpus, walk_up(cgroup_root, group, limit_v2));
            if (snprintf(base, sizeof base, "%s/unified", cgroup_root) < PATH_LEN) {
                cpus = tighter(cpus, walk_up(base, group, limit_v2));
            }
        } else if (has_word(controllers, "cpu")) { /* mounted as cpu,cpuacct or cpu */
            if (snprintf(base, sizeof base, "%s/%s", cgroup_root, controllers) <
                PATH_LEN) {
                cpus = tighter(cpus, walk_up(base, group, limit_v1));
            }
            if (snprintf(base, sizeof base, "%s/cpu", cgroup_root) < PATH_LEN) {
                cpus = tighter(cpus, walk_up(base, group, limit_v1));
            }
        }
    }
    fclose(file);
    return cpus;
}

/* ---- threads --------------------------------------------------------------------- */

int fnn_affinity_cpus(void) {
    /* The kernel's mask may be wider than ours, which it refuses. */
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set) {
            break;
        }
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int rc = sched_getaffinity(0, size, set);
        int why = errno;
        int n = rc == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (rc == 0) {
            return n > 0 ? n : 1;
        }
        if (why != EINVAL) {
            break;
        }
    }
    return 1;
}

int64_t fnn_parse_positive(const char *text) {
    while (isspace((unsigned char)*text)) {
        text++;
    }
    if (!isdigit((unsigned char)*text)) {
        return 0;
    }
    char *end;
    long long value = strtoll(text, &end, 10); /* saturates */
    while (isspace((unsigned char)*end)) {
        end++;
    }
    return *end ? 0 : value;
}

fnn_status fnn_default_threads(int *n, fnn_error *err) {
    const char *ours = getenv("FASTNN_NUM_THREADS");
    if (ours && *ours) {
        int64_t asked = fnn_parse_positive(ours);
        if (asked == 0) {
            *n = 1;
            return fnn_fail(
                err, FNN_ERR_VALUE,
                "FASTNN_NUM_THREADS: expected a positive integer, got '%.80s'", ours);
        }
        *n = asked > INT32_MAX ? INT32_MAX : (int)asked;
        return FNN_OK;
    }
    int cpus = tighter(fnn_affinity_cpus(),
                       fnn_cgroup_cpu_limit("/proc/self/cgroup", "/sys/fs/cgroup"));
    const char *omp = getenv("OMP_NUM_THREADS");
    if (omp) { /* a list gives one number per nesting level; ours is the first */
        char first[32] = {0};
        size_t length = strcspn(omp, ",");
        memcpy(first, omp, length < sizeof first ? length : sizeof first - 1);
        int64_t asked = fnn_parse_positive(first);
        cpus = tighter(cpus, asked > INT32_MAX ? INT32_MAX : (int)asked);
    }
    *n = cpus;
    return FNN_OK;
}
