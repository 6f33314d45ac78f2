/* The AVX-512 tier: F, DQ, BW, VL. */
#include "kernels.h"
#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2")
#include "simd/avx512.h"
#define FNN_ISA avx512
#include "isa/compile.inc.h"
#pragma GCC pop_options
#endif
