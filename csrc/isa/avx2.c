/* The AVX2 and FMA tier. */
#include "kernels.h"
#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2")
#include "simd/avx2.h"
#define FNN_ISA avx2
#include "isa/compile.inc.h"
#pragma GCC pop_options
#endif
