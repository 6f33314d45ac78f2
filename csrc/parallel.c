/* Threads. The only file that knows OpenMP.
 *
 * One team serves the process. A caller takes it with an atomic try-flag; whoever
 * finds it taken (another Python thread, or a nested call) runs its loop serially,
 * which gives the same bits. OpenMP's threads do not survive fork() and its runtime
 * waits for them for ever, so a child forked after the team has started stays
 * serial. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getcpu, CPU_SET */
#endif
#include "cpu.h"

#include <pthread.h>
#include <sched.h>

#if !defined(_OPENMP)
#error "fastnn's threads need OpenMP: compile with -fopenmp (clang: install libomp)"
#endif
#include <omp.h>

enum { MAX_THREADS = 256 };

static _Atomic int threads; /* 0: not read yet */
static atomic_flag team_taken = ATOMIC_FLAG_INIT;
static _Atomic bool team_started;    /* OpenMP threads may exist in this process */
static _Atomic bool serial_for_ever; /* forked from a process where they did */

static void after_fork_in_child(void) {
    if (atomic_load_explicit(&team_started, memory_order_relaxed)) {
        atomic_store_explicit(&serial_for_ever, true, memory_order_relaxed);
    }
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

static int clamp(int n) { return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n; }

fnn_status fnn_parallel_init(fnn_error *err) {
    int n = 1, unread = 0;
    if (atomic_load_explicit(&threads, memory_order_relaxed) != 0) {
        return FNN_OK;
    }
    fnn_status status = fnn_default_threads(&n, err);
    if (status == FNN_OK) {
        atomic_compare_exchange_strong(&threads, &unread, clamp(n));
    }
    return status;
}

int fnn_num_threads(void) {
    if (atomic_load_explicit(&serial_for_ever, memory_order_relaxed)) {
        return 1;
    }
    int n = atomic_load_explicit(&threads, memory_order_relaxed);
    if (n == 0) { /* fnn_init has not run, or failed */
        return fnn_parallel_init(NULL) == FNN_OK
                   ? atomic_load_explicit(&threads, memory_order_relaxed)
                   : 1;
    }
    return n;
}

void fnn_set_num_threads(int n) {
    atomic_store_explicit(&threads, clamp(n), memory_order_relaxed);
}

/* A new thread begins on the core of the one that made it, one that has slept may wake there
 * while another program is on its own, and the system may take a tenth of a second to move
 * it. So a thread that finds itself on its caller's core goes to another one of those it may
 * use, its number on from there, and is free again to leave. Where there are fewer cores than
 * threads, or more than CPU_SETSIZE, or threads are bound, nothing moves. */
static void leave_core(int home, int number, int team) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 ||
        CPU_COUNT(&allowed) < team || home >= CPU_SETSIZE) {
        return;
    }
    int cpu = home;
    while (number > 0) {
        cpu = (cpu + 1) % CPU_SETSIZE;
        number -= CPU_ISSET(cpu, &allowed) != 0;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) {
        sched_setaffinity(0, sizeof allowed, &allowed);
    }
}

/* The whole team wakes, even if some find nothing to do: OpenMP ends threads that a region
 * has no use for, and makes new ones for the next. */
static void run_pieces(int64_t n, int64_t pieces, int64_t team,
                       void (*fn)(void *, int64_t, int64_t), void *context) {
    int64_t each = n / pieces, longer = n % pieces; /* the first `longer`: one more */
    const int home = sched_getcpu();
#pragma omp parallel num_threads((int)team) default(none) \
    firstprivate(pieces, each, longer, fn, context, home)
    {
        if (omp_get_thread_num() > 0 && home >= 0 && sched_getcpu() == home) {
            leave_core(home, omp_get_thread_num(), omp_get_num_threads());
        }
        /* OpenMP may give fewer threads than asked for. */
        int64_t step = omp_get_num_threads();
        for (int64_t i = omp_get_thread_num(); i < pieces; i += step) {
            int64_t lo = i * each + (i < longer ? i : longer);
            fn(context, lo, lo + each + (i < longer));
        }
    }
}

void fnn_parallel_for(int64_t n, int64_t grain, void (*fn)(void *, int64_t, int64_t),
                      void *context) {
    if (n <= 0) {
        return;
    }
    /* Most calls are small: decide that before anything is read or divided. */
    if (grain < 1) {
        grain = 1;
    }
    if (n / 2 >= grain) {
        const int64_t team = fnn_num_threads();
        const int64_t pieces = team < n / grain ? team : n / grain;
        if (pieces > 1 &&
            !atomic_flag_test_and_set_explicit(&team_taken, memory_order_acquire)) {
            /* Before the team exists, so that a fork at any later moment sees it. */
            atomic_store_explicit(&team_started, true, memory_order_relaxed);
            run_pieces(n, pieces, team, fn, context);
            atomic_flag_clear_explicit(&team_taken, memory_order_release);
            return;
        }
    }
    fn(context, 0, n);
}
