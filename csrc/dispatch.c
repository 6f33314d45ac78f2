/* Chooses the kernel table: the best tier the CPU has, capped by FASTNN_ISA. */
#include "cpu.h"
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>

const fnn_kernels *fnn_k = &fnn_kernels_generic;

typedef struct {
    const char *name;
    const fnn_kernels *kernels;
    bool available;
} tier;

enum { MAX_TIERS = 4 };

/* Lowest first. */
static int list_tiers(tier *tiers) {
    int n = 0;
    tiers[n++] = (tier){"generic", &fnn_kernels_generic, true};
#if defined(__x86_64__)
    const fnn_cpu *cpu = fnn_cpu_get();
    tiers[n++] = (tier){"avx2", &fnn_kernels_avx2, cpu->avx2};
    tiers[n++] = (tier){"avx512", &fnn_kernels_avx512, cpu->avx512};
#elif defined(__aarch64__)
    tiers[n++] = (tier){"neon", &fnn_kernels_neon, fnn_cpu_get()->neon};
#endif
    return n;
}

/* "generic, avx2" into text: all tiers of this build, or those the CPU can run. */
static const char *join_names(const tier *tiers, int n, bool only_available, char *text,
                              size_t size) {
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < n && at < size; i++) {
        if (tiers[i].available || !only_available) {
            at += (size_t)snprintf(text + at, size - at, at ? ", %s" : "%s",
                                   tiers[i].name);
        }
    }
    return text;
}

static fnn_status select_tier(const char *what, const char *name, fnn_error *err) {
    tier tiers[MAX_TIERS];
    int n = list_tiers(tiers);
    char names[64];
    for (int i = 0; i < n; i++) {
        if (strcmp(tiers[i].name, name) == 0) {
            if (!tiers[i].available) {
                return fnn_fail(err, FNN_ERR_VALUE,
                                "%s: this CPU does not have %s; it has %s", what, name,
                                join_names(tiers, n, true, names, sizeof names));
            }
            fnn_k = tiers[i].kernels;
            return FNN_OK;
        }
    }
    return fnn_fail(err, FNN_ERR_VALUE, "%s: expected one of %s, got '%.80s'", what,
                    join_names(tiers, n, false, names, sizeof names), name);
}

fnn_status fnn_dispatch_init(fnn_error *err) {
    tier tiers[MAX_TIERS];
    int n = list_tiers(tiers);
    for (int i = 0; i < n; i++) {
        if (tiers[i].available) {
            fnn_k = tiers[i].kernels;
        }
    }
    const char *cap = getenv("FASTNN_ISA");
    return cap && *cap ? select_tier("FASTNN_ISA", cap, err) : FNN_OK;
}

fnn_status fnn_isa_select(const char *name, fnn_error *err) {
    return select_tier("isa_select", name ? name : "", err);
}

const char *fnn_isa_name(void) { return fnn_k->name; }

const char *fnn_isa_available(int index) {
    tier tiers[MAX_TIERS];
    int n = list_tiers(tiers);
    for (int i = 0; i < n; i++) {
        if (tiers[i].available && index-- == 0) {
            return tiers[i].name;
        }
    }
    return NULL;
}
