/* Compiles every kernel for one ISA and fills that ISA's table. float64 comes first: float32
 * pow uses its functions.
 * Included by isa/<isa>.c after FNN_ISA is defined, the target opened and simd/<isa>.h
 * read. Kernels are static functions named FNN_NAME(x) = x_<dtype>_<isa>. */
#include "simd/names.h"

#define FNN_JOIN3_(a, b, c) a##_##b##_##c
#define FNN_JOIN3(a, b, c) FNN_JOIN3_(a, b, c)
#define FNN_NAME(x) FNN_JOIN3(x, FNN_P, FNN_ISA)

#define FNN_P f64
#define T double
#define V vf64
#define M mf64
#define LANES 8
#define IS_F32 0
#include "kernels/all.inc.h"
#undef FNN_P
#undef T
#undef V
#undef M
#undef LANES
#undef IS_F32

#define FNN_P f32
#define T float
#define V vf32
#define M mf32
#define LANES 16
#define IS_F32 1
#include "kernels/all.inc.h"
#undef FNN_P
#undef T
#undef V
#undef M
#undef LANES
#undef IS_F32

const fnn_kernels FNN_CAT(fnn_kernels_, FNN_ISA) = {
    .name = FNN_STR(FNN_ISA),
#define MAP_KERNEL(name, n_in, kind)                             \
    .map[FNN_MAP_##name] = {FNN_JOIN3(map_##name, f32, FNN_ISA), \
                            FNN_JOIN3(map_##name, f64, FNN_ISA)},
#define KERNEL(name, type) \
    .name = {FNN_JOIN3(name, f32, FNN_ISA), FNN_JOIN3(name, f64, FNN_ISA)},
#include "kernels.def"
    .gemm_tile = {&FNN_JOIN3(gemm_tile, f32, FNN_ISA),
                  &FNN_JOIN3(gemm_tile, f64, FNN_ISA)},
};
