/* The vector layer's names, so that a kernel is written once.
 *
 * A vector is 16 lanes of float32 or 8 lanes of float64 on every ISA (one register on
 * AVX-512, two on AVX2, four on NEON, an array in generic), so lane order, and with it
 * every rounding, is the same everywhere. Each simd/<isa>.h defines
 *
 *   type vf32, vf64; mask types mf32, mf64; for P in {f32, f64}, functions P_<name>:
 *
 *   load(p) store(p,v)          unaligned, all lanes
 *   loadn(p,n) storen(p,v,n)    first n lanes, 0 <= n <= LANES; the rest load as +0
 *   stream(p,v)                 store past the caches where there is such a thing; p is
 *                               64-byte aligned, and fnn_stream_end() comes before others
 *                               may read
 *   set1(x) zero()
 *   keep(v)                     v, in a register from here on: compilers may otherwise load
 *                               it again at every use
 *   add sub mul div             one IEEE rounding each
 *   fma(a,b,c) = a*b+c          fnma(a,b,c) = c-a*b   (one rounding)
 *   sqrt neg abs
 *   copysign(mag,sign)
 *   maxnum(a,b) = a > b ? a : b   minnum(a,b) = a < b ? a : b   (b where unordered)
 *   round(v)                    to nearest even integer, |v| < 2^22 (f32), 2^51 (f64)
 *   lt(a,b) le(a,b) eq(a,b)     masks, false where unordered
 *   isnan(v)
 *   mand mor mnot               on masks
 *   sel(m,a,b)                  m ? a : b
 *   ldexp(v,n)                  v * 2^n, rounded once. n integral lanes: -252 to 254
 *                               (f32), -2044 to 2046 (f64). v: any where n >= 0; where
 *                               n < 0, |v| >= 2^-102 (f32), 2^-969 (f64), 0 or NaN, as
 *                               less could be rounded twice where 2^n is two factors
 *   split(v,&e)                 v > 0 finite: v = m * 2^e, m in [sqrt(1/2), sqrt(2));
 *                               subnormals too; e integral lanes
 *   lookup(table,v)             table[k] of LANES entries, aligned to 64 bytes: k is the
 *                               end of the lane's exponent and the start of its fraction,
 *                               bits 21 to 24 (f32), 51 to 53 (f64), so that from v to
 *                               16 v each quarter (half) of an octave has its own
 *   at(p,ld,row,col,m,other)    m ? p[row * ld + col] : other; where m, row and col are
 *                               integral and the index is from 0 to 2^31 - 1; elsewhere
 *                               nothing is read. 0 <= ld < 2^31
 *   hsum hmax hmin              fixed tree: lane i with i + LANES/2, then LANES/4, ...;
 *                               hmax/hmin by maxnum/minnum
 *   mstore(bytes,m,n)           first n lanes as bytes 0 or 1
 *   mload(bytes,n)              lane i = bytes[i] != 0, i < n; the rest false
 *   even(a,b) odd(a,b)          lanes 0, 2, ... and 1, 3, ... of a, then of b
 *   zip_low(a,b) zip_high(a,b)  a0 b0 a1 b1 ... of the lower halves, of the upper ones
 *   transpose(v)                v[LANES]: rows become columns, in place
 *   vf32_widen(v,&lo,&hi)       two f64 vectors, lanes 0-7 and 8-15; vf32_narrow(lo,hi)
 *                               goes back, rounding; vf32_load_wide(p,&lo,&hi) widens
 *                               what it loads
 *
 * And for random numbers vu64, 8 lanes of 64 bits, or 16 words of 32, the low half of a
 * lane first:
 *
 *   u64_load(p) u64_store(p,v)  unaligned, all lanes
 *   u64_set1(x)
 *   u64_add(a,b)                modulo 2^64
 *   u64_mul32(a,b)              low half times low half, 64 bits
 *   u64_high(v)                 v >> 32
 *   u64_xor(a,b)
 *   u64_join(lo,hi)             the low halves: lo's below, hi's above
 *   u64_even(a,b) u64_odd(a,b)  lanes a0 b0 a2 b2 a4 b4 a6 b6, and a1 b1 a3 b3 ...
 *   u64_ge32(a,b)               mf32, by word, unsigned
 *   P_unit(v)                   in [0, 1): the upper 24 bits of a word times 2^-24 (f32),
 *                               the upper 53 of a lane times 2^-53 (f64)
 *   P_bits(v) P_from(u)         the bits of a vector, and back
 *
 * This header maps v_<name> onto P_<name> for the family that FNN_P names.
 */
#ifndef FNN_CAT
#define FNN_CAT_(a, b) a##b
#define FNN_CAT(a, b) FNN_CAT_(a, b)
#define FNN_VFN(name) FNN_CAT(FNN_P, name)

#define v_load FNN_VFN(_load)
#define v_store FNN_VFN(_store)
#define v_loadn FNN_VFN(_loadn)
#define v_storen FNN_VFN(_storen)
#define v_stream FNN_VFN(_stream)
#define v_set1 FNN_VFN(_set1)
#define v_zero FNN_VFN(_zero)
#define v_keep FNN_VFN(_keep)
#define v_add FNN_VFN(_add)
#define v_sub FNN_VFN(_sub)
#define v_mul FNN_VFN(_mul)
#define v_div FNN_VFN(_div)
#define v_fma FNN_VFN(_fma)
#define v_fnma FNN_VFN(_fnma)
#define v_sqrt FNN_VFN(_sqrt)
#define v_neg FNN_VFN(_neg)
#define v_abs FNN_VFN(_abs)
#define v_copysign FNN_VFN(_copysign)
#define v_maxnum FNN_VFN(_maxnum)
#define v_minnum FNN_VFN(_minnum)
#define v_round FNN_VFN(_round)
#define v_lt FNN_VFN(_lt)
#define v_le FNN_VFN(_le)
#define v_eq FNN_VFN(_eq)
#define v_isnan FNN_VFN(_isnan)
#define v_mand FNN_VFN(_mand)
#define v_mor FNN_VFN(_mor)
#define v_mnot FNN_VFN(_mnot)
#define v_sel FNN_VFN(_sel)
#define v_ldexp FNN_VFN(_ldexp)
#define v_split FNN_VFN(_split)
#define v_lookup FNN_VFN(_lookup)
#define v_at FNN_VFN(_at)
#define v_hsum FNN_VFN(_hsum)
#define v_hmax FNN_VFN(_hmax)
#define v_hmin FNN_VFN(_hmin)
#define v_mstore FNN_VFN(_mstore)
#define v_mload FNN_VFN(_mload)
#define v_even FNN_VFN(_even)
#define v_odd FNN_VFN(_odd)
#define v_zip_low FNN_VFN(_zip_low)
#define v_zip_high FNN_VFN(_zip_high)
#define v_transpose FNN_VFN(_transpose)
#define v_unit FNN_VFN(_unit)
#define v_bits FNN_VFN(_bits)
#define v_from FNN_VFN(_from)
#endif
