/* Every kernel family, for the dtype and ISA that the includer has opened. */
#include "kernels/math.inc.h"
#include "kernels/map.inc.h"
#include "kernels/reduce.inc.h"
#include "kernels/softmax.inc.h"
#include "kernels/random.inc.h"
#include "kernels/step.inc.h"
#include "kernels/gemm.inc.h"
#include "kernels/peak.inc.h"
