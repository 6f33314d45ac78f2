/* The generic tier: plain C on any CPU; correctness, not speed. */
#include "kernels.h"
#include "simd/generic.h"
#define FNN_ISA generic
#include "isa/compile.inc.h"
