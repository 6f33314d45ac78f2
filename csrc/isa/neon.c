/* The NEON tier, aarch64. */
#include "kernels.h"
#if defined(__aarch64__)
#include "simd/neon.h"
#define FNN_ISA neon
#include "isa/compile.inc.h"
#endif
