/* Random numbers, drawn straight from counters.
 *
 * Philox4x32-10: 128 random bits, a block, are a function of a 64-bit key (the seed) and a
 * counter (the block's index; its upper 64 bits are 0 here), so that element i of a tensor
 * gets the same bits whatever the thread or the order. A block's four words are four
 * elements of float32, or two of float64, the upper half first.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC11, section 4.3: multipliers, Weyl constants and ten rounds. */

#define FNN_DRAWN 8          /* blocks drawn at once, one a lane of 64 bits */
#define FNN_PAIR (2 * LANES) /* elements that they are, in either dtype */

/* Word k of eight blocks from `block` on in the low halves of c[k]; what the upper halves
 * hold is noise: products, and all else below, read the low ones. The blocks lie in the
 * lanes as 0 4 1 5 2 6 3 7: u64_even and u64_odd then bring them into order. */
FNN_INLINE void FNN_NAME(philox)(uint64_t seed, uint64_t block, vu64 *c) {
    static const uint64_t lanes[FNN_DRAWN] = {0, 4, 1, 5, 2, 6, 3, 7};
    const vu64 m0 = u64_set1(0xD2511F53u), m1 = u64_set1(0xCD9E8D57u);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    c[0] = u64_add(u64_set1(block), u64_load(lanes));
    c[1] = u64_high(c[0]);
    c[2] = c[3] = u64_set1(0);
    for (int round = 0; round < 10; round++) {
        vu64 p0 = u64_mul32(m0, c[0]), p1 = u64_mul32(m1, c[2]);
        c[0] = u64_xor(u64_xor(u64_high(p1), c[1]), u64_set1(k0));
        c[2] = u64_xor(u64_xor(u64_high(p0), c[3]), u64_set1(k1));
        c[1] = p1;
        c[3] = p0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
}

/* Their words in order, 16 in each of r[0] and r[1]; upper_first: in every pair the second
 * one first, so that a lane of 64 bits has the first word as its upper half. */
FNN_INLINE void FNN_NAME(words)(uint64_t seed, uint64_t block, bool upper_first,
                                vu64 *r) {
    vu64 c[4];
    FNN_NAME(philox)(seed, block, c);
    vu64 a = upper_first ? u64_join(c[1], c[0]) : u64_join(c[0], c[1]);
    vu64 b = upper_first ? u64_join(c[3], c[2]) : u64_join(c[2], c[3]);
    r[0] = u64_even(a, b);
    r[1] = u64_odd(a, b);
}

/* The first n of two vectors. */
FNN_INLINE void FNN_NAME(store_pair)(T *y, V lo, V hi, ptrdiff_t n) {
    if (n >= FNN_PAIR) {
        v_store(y, lo);
        v_store(y + LANES, hi);
    } else if (n >= LANES) {
        v_store(y, lo);
        v_storen(y + LANES, hi, n - LANES);
    } else {
        v_storen(y, lo, n);
    }
}

static void FNN_NAME(random_bits)(ptrdiff_t n, uint64_t seed, uint64_t block, void *y) {
    char *bytes = y;
    for (ptrdiff_t i = 0; i < n; i += FNN_PAIR, block += FNN_DRAWN) {
        vu64 w[2];
        FNN_NAME(words)(seed, block, !IS_F32, w);
        u64_store((uint64_t *)(void *)(bytes + i * (ptrdiff_t)sizeof(T)), w[0]);
        u64_store((uint64_t *)(void *)(bytes + (i + LANES) * (ptrdiff_t)sizeof(T)),
                  w[1]);
    }
}

static void FNN_NAME(uniform)(ptrdiff_t n, uint64_t seed, uint64_t block, double low,
                              double high, void *y) {
    T *out = y;
    double width = high - low;
    /* What rounding has brought up to `high` becomes `low`; none does where all are. */
    V base = v_set1((T)low), scale = v_set1((T)width);
    V end = v_set1(width > 0 ? (T)high : (T)INFINITY);
    for (ptrdiff_t i = 0; i < n; i += FNN_PAIR, block += FNN_DRAWN) {
        vu64 w[2];
        FNN_NAME(words)(seed, block, !IS_F32, w);
        V a = v_add(base, v_mul(v_unit(w[0]), scale));
        V b = v_add(base, v_mul(v_unit(w[1]), scale));
        a = v_sel(v_lt(a, end), a, base);
        b = v_sel(v_lt(b, end), b, base);
        FNN_NAME(store_pair)(out + i, a, b, n - i);
    }
}

/* Source: Box, Muller, "A note on the generation of random normal deviates", Annals
 * of Mathematical Statistics 29 (1958): with r = sqrt(-2 log u1) and t = 2 pi u2, r
 * cos t and r sin t are independent standard normals. u1 in (0, 1], u2 in [0, 1). */
FNN_INLINE void FNN_NAME(box_muller)(V *u1, V *u2) {
    V minus_log = v_sub(v_zero(), m_log(*u1)); /* +0, not -0, at u1 = 1 */
    V r = v_sqrt(v_add(minus_log, minus_log));
    /* Half turns in [-1, 1]: subtracting a whole turn from (1, 2) is exact. */
    V turns = v_add(*u2, *u2), s, c;
    turns = v_sel(v_lt(v_set1((T)1), turns), v_sub(turns, v_set1((T)2)), turns);
    m_sincospi(turns, &s, &c);
    *u1 = v_mul(r, c);
    *u2 = v_mul(r, s);
}

/* Elements 2 i and 2 i + 1 are the normals of uniforms 2 i and 2 i + 1. */
static void FNN_NAME(normal)(ptrdiff_t n, uint64_t seed, uint64_t block, double mean,
                             double std, void *y) {
    T *out = y;
    V center = v_set1((T)mean), scale = v_set1((T)std);
    V step = v_set1(IS_F32 ? (T)0x1p-24 : (T)0x1p-53); /* no logarithm of 0; exact */
    for (ptrdiff_t i = 0; i < n; i += FNN_PAIR, block += FNN_DRAWN) {
        vu64 c[4];
        FNN_NAME(philox)(seed, block, c);
        vu64 w1 = IS_F32 ? u64_join(c[0], c[2]) : u64_join(c[1], c[0]);
        vu64 w2 = IS_F32 ? u64_join(c[1], c[3]) : u64_join(c[3], c[2]);
        V z1 = v_add(v_unit(w1), step), z2 = v_unit(w2);
        FNN_NAME(box_muller)(&z1, &z2);
        vu64 a = v_bits(v_add(center, v_mul(z1, scale)));
        vu64 b = v_bits(v_add(center, v_mul(z2, scale)));
        if (IS_F32) { /* a block's first two elements in a, its others in b */
            vu64 second = u64_join(u64_high(a), u64_high(b));
            a = u64_join(a, b);
            b = second;
        }
        FNN_NAME(store_pair)(out + i, v_from(u64_even(a, b)), v_from(u64_odd(a, b)),
                             n - i);
    }
}

static void FNN_NAME(dropout)(ptrdiff_t n, uint64_t seed, uint64_t block, double p,
                              const void *x, void *y, uint8_t *mask) {
    const T *in = x;
    T *out = y;
    uint64_t threshold = (uint64_t)(p * 0x1p32);
    V scale = v_set1((T)(1 / (1 - p))), zero = v_zero();
    vu64 least = u64_set1(threshold << 32 | threshold);
    ptrdiff_t i = 0;
    for (; i + 4 * FNN_DRAWN <= n; i += 4 * FNN_DRAWN, block += FNN_DRAWN) {
        vu64 w[2];
        FNN_NAME(words)(seed, block, false, w);
        f32_mstore(mask + i, u64_ge32(w[0], least), 16);
        f32_mstore(mask + i + 16, u64_ge32(w[1], least), 16);
        for (ptrdiff_t k = i; k < i + 4 * FNN_DRAWN; k += LANES) {
            M keep = v_mload(mask + k, LANES);
            v_store(out + k, v_sel(keep, v_mul(v_load(in + k), scale), zero));
        }
    }
    if (i < n) {
        vu64 w[2];
        FNN_NAME(words)(seed, block, false, w);
        uint8_t last[4 * FNN_DRAWN];
        f32_mstore(last, u64_ge32(w[0], least), 16);
        f32_mstore(last + 16, u64_ge32(w[1], least), 16);
        memcpy(mask + i, last, (size_t)(n - i));
        for (ptrdiff_t k = i; k < n; k += LANES) {
            ptrdiff_t m = n - k < LANES ? n - k : LANES;
            M keep = v_mload(last + (k - i), LANES);
            v_storen(out + k, v_sel(keep, v_mul(v_loadn(in + k, m), scale), zero), m);
        }
    }
}

#undef FNN_DRAWN
#undef FNN_PAIR
