/* The AVX2 and FMA tier. */
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h> /* before the target opens: its functions name their own */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2")
#endif
#include "simd/avx2.h"
#define FNN_ISA avx2
#include "isa/compile.inc.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
