/* The generic tier: plain C on any CPU; correctness, not speed. So nothing is expanded in
 * place for the sake of constants: that would take most of the build's time. */
#include "kernels.h"
#include "simd/generic.h"
#define FNN_ISA generic
#define GEMM_INLINE static __attribute__((noinline, unused))
#define DW_INLINE GEMM_INLINE
#include "isa/compile.inc.h"
