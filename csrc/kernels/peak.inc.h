/* Nothing but fused multiply-adds: what benchmarks call the peak. */

/* Enough independent chains to hide the latency, few enough to stay in registers. */
#define PEAK_CHAINS (GEMM_MR * GEMM_NV >= 12 ? 12 : GEMM_MR * GEMM_NV)

static double FNN_NAME(peak)(ptrdiff_t n, void *sink) {
    V chain[PEAK_CHAINS];
    const V scale = v_set1((T)0.5), shift = v_set1((T)1);
    for (int i = 0; i < PEAK_CHAINS; i++) {
        chain[i] = v_set1((T)i);
    }
    for (ptrdiff_t step = 0; step < n; step++) {
        _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {
            chain[i] = v_fma(chain[i], scale, shift);
        }
    }
    V sum = chain[0];
    for (int i = 1; i < PEAK_CHAINS; i++) {
        sum = v_add(sum, chain[i]);
    }
    v_storen(sink, sum, 1);
    return 2.0 * (double)n * PEAK_CHAINS * LANES;
}

#undef PEAK_CHAINS
