/* The AVX-512 tier: F, DQ, BW, VL. */
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h> /* before the target opens: its functions name their own */
#ifdef __clang__
#pragma clang attribute push(                                                        \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2")
#endif
#include "simd/avx512.h"
#define FNN_ISA avx512
#define FNN_REDUCE_STRIP 8
#define FNN_NORM_STRIP 2
#include "isa/compile.inc.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
