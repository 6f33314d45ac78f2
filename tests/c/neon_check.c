/* Compares two ISA tiers bit for bit, kernel by kernel, on random and hostile inputs:
 * every elementwise kernel, reduction, softmax, optimizer step and GEMM path.
 *
 * tools/neon_check.sh builds it for aarch64 (generic against neon, under an emulator)
 * and for the host. A line holds a checksum of generic's results, so that the listings
 * also show whether the two architectures agree. NaN compare equal, whatever
 * their payload. Arguments: [rounds]. Exit status 1: some bits differ. */
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>

#ifndef CHECK_ISA
#define CHECK_ISA neon
#endif
#define TABLE_(isa) fnn_kernels_##isa
#define TABLE(isa) TABLE_(isa)

enum { ROOM = 1 << 16, TIERS = 2 };
static const fnn_kernels *const tier[TIERS] = {&fnn_kernels_generic, &TABLE(CHECK_ISA)};

/* ---- random inputs --------------------------------------------------------------- */

static uint64_t state = 88172645463325252u;
static uint64_t random_bits(void) { /* Marsaglia, xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u;
}
static ptrdiff_t below(ptrdiff_t n) { return (ptrdiff_t)(random_bits() % (uint64_t)n); }
static double uniform(double scale) {
    return ((double)(random_bits() >> 11) * 0x1p-53 * 2 - 1) * scale;
}
static double hostile(int f64) {
    switch (below(12)) {
    case 0:
        return 0.0;
    case 1:
        return -0.0;
    case 2:
        return INFINITY;
    case 3:
        return -INFINITY;
    case 4:
        return NAN;
    case 5:
        return uniform(f64 ? 0x1p-1023 : 0x1p-127); /* subnormal */
    case 6:
        return (double)below(13) - 6;
    case 7:
        return uniform(f64 ? 760 : 110);
    case 8:
        return uniform(f64 ? 45 : 16);
    case 9:
        return 1 + uniform(1e-6);
    case 10:
        return uniform(f64 ? 1e308 : 3e38);
    default:
        return uniform(1);
    }
}
static void put(void *p, ptrdiff_t i, int f64, double v) {
    if (f64) {
        ((double *)p)[i] = v;
    } else {
        ((float *)p)[i] = (float)v;
    }
}
static void fill(void *p, ptrdiff_t n, int f64, int wild) {
    for (ptrdiff_t i = 0; i < n; i++) {
        put(p, i, f64, wild ? hostile(f64) : uniform(4));
    }
}

/* ---- comparison ------------------------------------------------------------------ */

static char in[4][ROOM * 8], out[TIERS][ROOM * 8];
static ptrdiff_t bad, all_bad;
static uint64_t sum;

static bool is_nan(const void *p, int f64) {
    float f;
    double d;
    if (f64) {
        memcpy(&d, p, sizeof d);
        return d != d;
    }
    memcpy(&f, p, sizeof f);
    return f != f;
}
/* The first n elements (float32, float64, or bytes where size is 1) of both outputs. */
static void compare(ptrdiff_t n, ptrdiff_t size) {
    for (ptrdiff_t i = 0; i < n; i++) {
        uint64_t word[TIERS] = {0};
        for (int t = 0; t < TIERS; t++) {
            memcpy(&word[t], out[t] + i * size, (size_t)size);
            if (size > 1 && is_nan(out[t] + i * size, size == 8)) {
                word[t] = 0x7ff;
            }
        }
        bad += word[0] != word[1];
        sum = (sum ^ word[0]) * 1099511628211u;
    }
}
static void report(const char *name, int f64) {
    printf("%-20s f%d  %016llx%s\n", name, f64 ? 64 : 32, (unsigned long long)sum,
           bad ? "  DIFFERS" : "");
    all_bad += bad;
    bad = 0;
    sum = 14695981039346656037u;
}
static void clear(void) { memset(out, 0x5a, sizeof out); } /* writes past n show */

/* ---- one check a family ---------------------------------------------------------- */

static const char *const map_names[] = {
#define MAP_KERNEL(name, n_in, kind) #name,
#define INT_KERNEL(name, n_in) #name,
#define KERNEL(name, type)
#include "kernels.def"
};

static void check_map(int rounds, int f64) {
    ptrdiff_t size = f64 ? 8 : 4;
    for (int k = 0; k < FNN_N_MAP; k++) {
        if (tier[0]->map[k][f64] == NULL) { /* of integers alone */
            continue;
        }
        for (int r = 0; r < rounds; r++) {
            ptrdiff_t n = below(140), at = below(4), step[4];
            for (int j = 0; j < 4; j++) {
                step[j] = below(4) != 0;
                fill(in[j], 160, f64, r % 4 != 0);
                bool bytes = fnn_map_kinds[k] == FNN_BTT_TO_T && j == 0;
                for (ptrdiff_t i = 0; bytes && i < 160; i++) {
                    in[j][i] = (char)below(3);
                }
                for (ptrdiff_t i = 1; !step[j] && i < 160; i++) { /* a splat */
                    memcpy(in[j] + i * (bytes ? 1 : size), in[j],
                           bytes ? 1 : (size_t)size);
                }
            }
            const void *x[4] = {in[0], in[1] + at * size, in[2] + at * size,
                                in[3] + at * size};
            clear();
            for (int t = 0; t < TIERS; t++) {
                tier[t]->map[k][f64](n, out[t], x, step);
            }
            compare(160, fnn_map_kinds[k] == FNN_T_TO_BOOL ? 1 : size);
        }
        report(map_names[k], f64);
    }
}

static void check_reductions(int rounds, int f64) {
    for (int r = 0; r < rounds; r++) {
        int op = (int)below(3);
        ptrdiff_t n = 1 + below(FNN_CHUNK), cols = 1 + below(70);
        fill(in[0], n * cols, f64, r % 2);
        clear();
        for (int t = 0; t < TIERS; t++) {
            tier[t]->reduce[f64](op, n, in[0], out[t]);
        }
        compare(4, f64 ? 8 : 4);
        for (int t = 0; t < TIERS; t++) {
            tier[t]->reduce_cols[f64](op, n, cols, in[0], cols, out[t]);
            tier[t]->reduce_join[f64](op, cols, in[0], out[t]);
        }
        compare(cols + 4, f64 ? 8 : 4);
        clear();
        int kind = (int)below(4);
        for (int t = 0; t < TIERS; t++) {
            tier[t]->norm[f64](kind, 2.5, n * cols, in[0], (double *)(void *)out[t]);
            out[t][1024] = tier[t]->finite[f64](n, in[0]);
        }
        compare(256, 8);
    }
    report("reductions", f64);
}

static void check_rows(int rounds, int f64) {
    ptrdiff_t size = f64 ? 8 : 4;
    for (int r = 0; r < rounds; r++) {
        ptrdiff_t n = 1 + below(600);
        fill(in[0], n, f64, r % 5 == 0);
        fill(in[1], n, f64, 0);
        clear();
        for (int t = 0; t < TIERS; t++) {
            char *y = out[t];
            tier[t]->softmax[f64](n, in[0], y, r % 2, y + 1000 * size, y + 1001 * size);
        }
        compare(1002, size);
        for (int t = 0; t < TIERS; t++) {
            tier[t]->softmax_bwd[f64](n, in[0], in[1], r % 2, out[t]);
        }
        compare(1002, size);
        double lse = uniform(4), total = uniform(1), scale = uniform(1);
        ptrdiff_t label = below(n + 2) - 1;
        for (int t = 0; t < TIERS; t++) {
            tier[t]->xent_bwd[f64](n, in[0], lse, total, r % 3 ? in[1] : NULL, 0.01,
                                   label, 0.9, scale, out[t]);
        }
        compare(1002, size);
    }
    report("softmax and backward", f64);
    for (int r = 0; r < rounds; r++) {
        ptrdiff_t n = below(140);
        uint64_t seed = random_bits();
        uint64_t block =
            r % 2 ? random_bits() : ((uint64_t)1 << 32) - (uint64_t)below(40);
        double p = fabs(uniform(1)) * 0.999999;
        fill(in[0], n, f64, 0);
        clear();
        for (int t = 0; t < TIERS; t++) {
            tier[t]->random_bits[f64](n, seed, block, out[t]);
        }
        compare(n * size, 1);
        clear();
        for (int t = 0; t < TIERS; t++) {
            tier[t]->uniform[f64](n, seed, block, -p, 2, out[t]);
            tier[t]->normal[f64](n, seed, block, 0.5, 3, out[t] + 200 * size);
            tier[t]->dropout[f64](n, seed, block, p, in[0], out[t] + 400 * size,
                                  (uint8_t *)out[t] + 600 * size);
        }
        compare(600 * size + 200, 1);
    }
    report("random numbers", f64);
    for (int r = 0; r < rounds; r++) {
        ptrdiff_t n = below(100);
        fill(in[0], n, f64, r % 5 == 0);
        fill(out[0], 400, f64, 0);
        memcpy(out[1], out[0], (size_t)(400 * size));
        fnn_step step = {{below(3) ? 0.1 : 0, 0.01, 0.9, 0.25, 0.9, 0.1, 1.5, 0.02},
                         (unsigned)below(512)};
        for (int t = 0; t < TIERS; t++) {
            const fnn_step_fn *const steps[] = {
                tier[t]->step_sgd,     tier[t]->step_adagrad, tier[t]->step_adadelta,
                tier[t]->step_rmsprop, tier[t]->step_adam,    tier[t]->step_nadam,
                tier[t]->step_radam};
            char *y = out[t];
            steps[r % 7][f64](
                n, (void *[]){y, in[0], y + 100 * size, y + 200 * size, y + 300 * size},
                &step);
        }
        compare(400, size);
    }
    report("optimizer steps", f64);
}

/* One product by tiles, two k-blocks, the operands as they are or in panels. */
static void multiply(const fnn_gemm_tile *g, int f64, fnn_tile whole, ptrdiff_t split,
                     bool packed) {
    static char panel_a[ROOM * 8], panel_b[ROOM * 8];
    const ptrdiff_t size = f64 ? 8 : 4;
    for (int block = 0; block < 2; block++) {
        ptrdiff_t p = block ? split : 0, k = block ? whole.k - split : split;
        const char *a = (const char *)whole.a + p * whole.a_k * size;
        const char *b = (const char *)whole.b + p * whole.b_k * size;
        ptrdiff_t tiles = (whole.m + g->mr - 1) / g->mr, row = 0;
        if (packed) {
            g->pack_a(whole.m, tiles, k, a, whole.a_row, whole.a_k, panel_a);
            g->pack_b(whole.n, k, b, whole.b_k, whole.b_col, panel_b);
        }
        for (ptrdiff_t i = 0; i < tiles; i++) {
            fnn_tile t = whole;
            t.m = whole.m / tiles + (i < whole.m % tiles);
            t.k = k;
            t.first = block == 0;
            t.last = block == 1;
            t.packed = t.b_padded = packed;
            for (ptrdiff_t j = 0; j < whole.n; j += g->nr) {
                t.n = whole.n - j < g->nr ? whole.n - j : g->nr;
                t.a = packed ? panel_a + row * k * size : a + row * whole.a_row * size;
                t.b = packed ? panel_b + j * k * size : b + j * size;
                t.c = (char *)whole.c + (row * whole.ldc + j) * size;
                t.bias = whole.bias ? (const char *)whole.bias + j * size : NULL;
                t.residual = whole.residual ? (const char *)whole.residual +
                                                  (row * whole.ldc + j) * size
                                            : NULL;
                g->tile(&t);
            }
            row += t.m;
        }
    }
}

static void check_gemm(int rounds, int f64) {
    const ptrdiff_t size = f64 ? 8 : 4;
    ptrdiff_t few = 99;
    for (int t = 0; t < TIERS; t++) {
        few = tier[t]->gemm_tile[f64]->gemv_m < few ? tier[t]->gemm_tile[f64]->gemv_m
                                                    : few;
    }
    for (int r = 0; r < rounds; r++) {
        fnn_tile whole = {.m = 1 + below(30), .n = 1 + below(80), .k = 2 + below(120)};
        bool across = below(2); /* a by columns */
        whole.a = in[0];
        whole.a_row = across ? 1 : whole.k + below(3);
        whole.a_k = across ? whole.m + below(3) : 1;
        whole.b = in[1];
        whole.b_k = whole.n + below(3);
        whole.b_col = 1;
        whole.ldc = whole.n;
        whole.bias = below(2) ? in[2] : NULL;
        whole.residual = below(2) ? in[3] : NULL;
        whole.act = (int)below(5);
        fill(in[0], 160 * 40, f64, r % 7 == 0);
        fill(in[1], 130 * 90, f64, r % 11 == 0);
        fill(in[2], 90, f64, 0);
        fill(in[3], 30 * 80, f64, 0);
        ptrdiff_t split = 1 + below(whole.k - 1);
        for (int packed = 0; packed < 2; packed++) {
            clear();
            for (int t = 0; t < TIERS; t++) {
                whole.c = out[t];
                multiply(tier[t]->gemm_tile[f64], f64, whole, split, packed);
            }
            compare(whole.m * whole.n + 80, size);
        }
        if (few == 0) { /* the generic tier has no kernel for few rows */
            continue;
        }
        clear(); /* few rows, k past one block, b either way */
        whole.m = 1 + below(few);
        whole.k = below(2) ? 1 + below(600) : 1 + below(20);
        whole.a_row = whole.k;
        whole.a_k = 1;
        bool down = below(2);
        whole.b_k = down ? 1 : whole.n;
        whole.b_col = down ? whole.k : 1;
        fill(in[1], whole.k * whole.n, f64, r % 11 == 0);
        for (int t = 0; t < TIERS; t++) {
            whole.c = out[t];
            tier[t]->gemm_tile[f64]->gemv(&whole);
            tier[t]->gemm_tile[f64]->finish(whole.m, whole.n, out[t], whole.n, in[2],
                                            r % 2, r % 3 ? NULL : in[3], FNN_ACT_TANH);
        }
        compare(whole.m * whole.n + 80, size);
    }
    report("GEMM", f64);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 300;
    sum = 14695981039346656037u;
    for (int f64 = 0; f64 < 2; f64++) {
        check_map(rounds, f64);
        check_reductions(rounds, f64);
        check_rows(rounds, f64);
        check_gemm(rounds, f64);
    }
    fprintf(stderr, "%s and %s: %s\n", tier[0]->name, tier[1]->name,
            all_bad ? "DIFFERENT" : "the same bits");
    return all_bad != 0;
}
