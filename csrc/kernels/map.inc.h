/* Elementwise kernels: one short expression each, the loop around it written once.
 *
 * A step of 0 re-reads the same splat, so broadcasting costs no branch. y may be one of
 * the x exactly: a block is read before any of it is written. Semantics are PyTorch's
 * (maximum, minimum and relu keep NaN; relu(-0) is -0; sign(-0) is 0), save that sign
 * keeps NaN, and that gelu(-inf) and silu(-inf) are their limit, -0. */

#ifndef FNN_MAP

/* FNN_MAP(name, unroll, inputs, result type, output type, full store, store of n,
 * result from a, b, c and d, as many as there are inputs). Cheap kernels are unrolled:
 * loop control would show. */
#define FNN_MAP(name, unroll, inputs, R, out, put, put_n, e)                      \
    FNN_MATH R FNN_NAME(lane_##name)(V a, V b, V c, V d) {                        \
        (void)b, (void)c, (void)d;                                                \
        return e;                                                                 \
    }                                                                             \
    static void FNN_NAME(map_##name)(ptrdiff_t n, void *y_, const void *const *x, \
                                     const ptrdiff_t *step) {                     \
        out *y = y_;                                                              \
        const T *in[inputs];                                                      \
        ptrdiff_t by[inputs], i = 0;                                              \
        for (int j = 0; j < inputs; j++) {                                        \
            in[j] = x[j];                                                         \
            by[j] = step[j] * LANES;                                              \
        }                                                                         \
        for (; i + unroll * LANES <= n; i += unroll * LANES) {                    \
            R r[unroll];                                                          \
            _Pragma("GCC unroll 8") for (int k = 0; k < unroll; k++) {            \
                r[k] = FNN_NAME(lane_##name)(FNN_OPERANDS(inputs, FNN_WHOLE));    \
            }                                                                     \
            _Pragma("GCC unroll 8") for (int k = 0; k < unroll; k++) {            \
                put(y + i + k * LANES, r[k]);                                     \
            }                                                                     \
            for (int j = 0; j < inputs; j++) {                                    \
                in[j] += unroll * by[j];                                          \
            }                                                                     \
        }                                                                         \
        for (; i < n; i += LANES) {                                               \
            ptrdiff_t m = n - i < LANES ? n - i : LANES;                          \
            R r = FNN_NAME(lane_##name)(FNN_OPERANDS(inputs, FNN_PART));          \
            put_n(y + i, r, m);                                                   \
            for (int j = 0; j < inputs; j++) {                                    \
                in[j] += by[j];                                                   \
            }                                                                     \
        }                                                                         \
    }
#define FNN_WHOLE(j) v_load(in[j] + k * by[j])
#define FNN_PART(j) v_loadn(in[j], m)
/* a, b, c, d; zero past the last input */
#define FNN_OPERANDS(inputs, load)                             \
    load(0), inputs > 1 ? load(inputs > 1 ? 1 : 0) : v_zero(), \
        inputs > 2 ? load(inputs > 2 ? 2 : 0) : v_zero(),      \
        inputs > 3 ? load(inputs > 3 ? 3 : 0) : v_zero()

#define MAP1(name, unroll, e) FNN_MAP(name, unroll, 1, V, T, v_store, v_storen, e)
#define MAP2(name, unroll, e) FNN_MAP(name, unroll, 2, V, T, v_store, v_storen, e)
#define MAP3(name, unroll, e) FNN_MAP(name, unroll, 3, V, T, v_store, v_storen, e)
#define MAP4(name, unroll, e) FNN_MAP(name, unroll, 4, V, T, v_store, v_storen, e)
#define FNN_PUT_BYTES(p, m) v_mstore(p, m, LANES)
#define COMPARE(name, e) FNN_MAP(name, 4, 2, M, uint8_t, FNN_PUT_BYTES, v_mstore, e)

#endif

MAP1(copy, 4, a)
MAP2(add, 4, v_add(a, b))
MAP2(sub, 4, v_sub(a, b))
MAP2(mul, 4, v_mul(a, b))
MAP2(div, 4, v_div(a, b))
MAP2(maximum, 4, v_sel(v_isnan(a), a, v_maxnum(a, b)))
MAP2(minimum, 4, v_sel(v_isnan(a), a, v_minnum(a, b)))
MAP1(neg, 4, v_neg(a))
MAP1(abs, 4, v_abs(a))
/* a where it is zero or NaN; -0 + 0 = 0 */
MAP1(sign, 4,
     v_sel(v_lt(v_zero(), v_abs(a)), v_copysign(v_set1(1), a), v_add(a, v_zero())))
MAP1(floor, 4, m_floor(a))
MAP1(ceil, 4, m_ceil(a))
MAP1(trunc, 4, m_trunc(a))
MAP1(round, 4, m_round(a))
MAP1(sqrt, 4, v_sqrt(a))
MAP1(exp, 2, m_exp(a))
MAP1(expm1, 1, m_expm1(a))
MAP1(log, 2, m_log(a))
MAP1(log1p, 1, m_log1p(a))
MAP1(erf, 1, m_erf(a))
/* squares by one product, whoever asks: x ** 2 is x * x to the bit */
MAP2(pow, 1, v_sel(v_eq(b, v_set1(2)), v_mul(a, a), m_pow(a, b)))

/* log(1 + e^a) = max(a, 0) + log1p(e^-|a|) */
FNN_MATH V FNN_NAME(softplus)(V a) { return v_add(m_relu(a), m_log1p_exp(v_abs(a))); }
FNN_MATH V FNN_NAME(softplus_beta)(V x, V beta, V threshold) {
    V z = v_mul(x, beta);
    return v_sel(v_lt(threshold, z), x, v_div(FNN_NAME(softplus)(z), beta));
}
FNN_MATH V FNN_NAME(huber)(V z, V delta) {
    V m = v_minnum(delta, z);
    return v_mul(m, v_fnma(m, v_set1((T)0.5), z));
}
/* -t log(p) - (1 - t) log(1 - p), the logarithms no less than -100, as in PyTorch */
FNN_MATH V FNN_NAME(cross_entropy_of)(V p, V t) {
    V least = v_set1(-100);
    V hit = v_maxnum(least, m_log(p)), miss = v_maxnum(least, m_log1p(v_neg(p)));
    return v_fnma(t, hit, v_mul(v_sub(t, v_set1(1)), miss));
}
/* w t softplus(-x) + (1 - t) softplus(x): nothing cancels for t in [0, 1] */
FNN_MATH V FNN_NAME(cross_entropy_of_logit)(V x, V t, V w) {
    V rest = m_log1p_exp(v_abs(x));
    V hit = v_mul(v_mul(w, t), v_add(m_relu(v_neg(x)), rest));
    return v_fma(v_sub(v_set1(1), t), v_add(m_relu(x), rest), hit);
}
/* (1 - t) s(x) - w t s(-x), s the sigmoid */
FNN_MATH V FNN_NAME(logit_slope)(V x, V t, V w) {
    V one = v_set1(1), e = FNN_NAME(exp_negative)(v_neg(v_abs(x)));
    V big = v_div(one, v_add(one, e)), small = v_mul(e, big);
    M negative = v_lt(x, v_zero());
    V right = v_sel(negative, small, big), left = v_sel(negative, big, small);
    return v_fnma(v_mul(w, t), left, v_mul(v_sub(one, t), right));
}

MAP1(relu, 4, m_relu(a))
MAP1(sigmoid, 2, m_sigmoid(a))
MAP1(tanh, 2, m_tanh(a))
MAP1(gelu, 1, m_gelu(a))
MAP1(gelu_tanh, 1, m_gelu_tanh(a))

MAP1(silu, 1, m_silu(a))
MAP2(leaky_relu, 4, v_sel(v_lt(v_zero(), a), a, v_mul(a, b))) /* slope b */
MAP3(hardtanh, 4, v_minnum(c, v_maxnum(b, a)))                /* from b to c */
/* alpha b, scale c */
MAP3(elu, 1, v_mul(c, v_sel(v_le(a, v_zero()), v_mul(b, m_expm1(a)), a)))
MAP2(celu, 1, v_sel(v_le(a, v_zero()), v_mul(b, m_expm1(v_div(a, b))), a))
/* beta b, threshold c */
MAP3(softplus, 1, FNN_NAME(softplus_beta)(a, b, c))

/* Gradients: a is gy; b is y (relu, sigmoid, tanh) or x; then the parameters. */
MAP2(relu_backward, 4, v_sel(v_lt(v_zero(), b), a, v_zero()))
MAP2(sigmoid_backward, 4, v_mul(v_mul(a, v_sub(v_set1(1), b)), b))
MAP2(tanh_backward, 4, v_mul(a, v_fnma(b, b, v_set1(1))))
MAP2(gelu_backward, 1, v_mul(a, m_gelu_slope(b)))
MAP2(gelu_tanh_backward, 1, v_mul(a, m_gelu_tanh_slope(b)))
MAP2(silu_backward, 1, v_mul(a, m_silu_slope(b)))
MAP3(leaky_relu_backward, 4, v_sel(v_lt(v_zero(), b), a, v_mul(a, c)))
MAP4(hardtanh_backward, 4, v_sel(v_mor(v_le(b, c), v_le(d, b)), v_zero(), a))
MAP4(elu_backward, 1,
     v_mul(v_mul(a, d), v_sel(v_le(b, v_zero()), v_mul(c, m_exp(b)), v_set1(1))))
MAP3(celu_backward, 1,
     v_mul(a, v_sel(v_le(b, v_zero()), m_exp(v_div(b, c)), v_set1(1))))
MAP4(softplus_backward, 1,
     v_mul(a, v_sel(v_lt(d, v_mul(b, c)), v_set1(1), m_sigmoid(v_mul(b, c)))))

/* Losses of x (a) and target (b), and their gradients, with gy in front. */
MAP2(squared_error, 4, v_mul(v_sub(a, b), v_sub(a, b)))
MAP3(squared_error_backward, 4, v_mul(a, v_mul(v_set1(2), v_sub(b, c))))
/* m (z - m / 2), z = |a - b|, m = min(z, delta): z^2 / 2, or delta (z - delta / 2) */
MAP3(huber, 4, FNN_NAME(huber)(v_abs(v_sub(a, b)), c))
MAP4(huber_backward, 4, v_mul(a, v_maxnum(v_neg(d), v_minnum(d, v_sub(b, c)))))
MAP2(binary_cross_entropy, 1, FNN_NAME(cross_entropy_of)(a, b))
/* p (1 - p) is no smaller than 1e-12, as in PyTorch */
MAP3(binary_cross_entropy_backward, 2,
     v_div(v_mul(a, v_sub(b, c)),
           v_maxnum(v_set1((T)1e-12), v_mul(b, v_sub(v_set1(1), b)))))
/* positive weight c */
MAP3(bce_with_logits, 1, FNN_NAME(cross_entropy_of_logit)(a, b, c))
MAP4(bce_with_logits_backward, 1, v_mul(a, FNN_NAME(logit_slope)(b, c, d)))

COMPARE(eq, v_eq(a, b))
COMPARE(ne, v_mnot(v_eq(a, b)))
COMPARE(lt, v_lt(a, b))
COMPARE(le, v_le(a, b))
COMPARE(gt, v_lt(b, a))
COMPARE(ge, v_le(b, a))

/* Quotient and remainder of a floored division; the remainder has b's sign. One element at
 * a time by fmod and floor, which have one right result that every libm gives: a - fmod is
 * a multiple of b that division rounds to within 1/2 of the whole quotient. */
FNN_MATH T FNN_NAME(remainder)(T a, T b) {
    T r = IS_F32 ? (T)fmodf((float)a, (float)b) : (T)fmod((double)a, (double)b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
FNN_MATH T FNN_NAME(floor_divide)(T a, T b) {
    if (b == 0) {
        return a / b;
    }
    T r = IS_F32 ? (T)fmodf((float)a, (float)b) : (T)fmod((double)a, (double)b);
    T q = (a - r) / b - (r != 0 && (r < 0) != (b < 0) ? 1 : 0);
    T whole = (T)floor((double)q);
    if (q == 0) {
        return (T)copysign(0.0, (double)(a / b));
    }
    return q - whole > (T)0.5 ? whole + 1 : whole;
}
/* The same where the quotient q is small and b finite: rounding can only have taken a / b
 * up to the next whole number, and a - q b fits a float then, and where it does not is
 * rounded once, as above. */
FNN_MATH V FNN_NAME(divided)(V a, V b, V *remainder, M *small) {
    V zero = v_zero(), quotient = v_div(a, b), q = m_floor(quotient);
    V r = v_fnma(q, b, a);
    M over = v_lt(v_mul(v_copysign(v_set1(1), r), v_copysign(v_set1(1), b)), zero);
    over = v_mand(over, v_mnot(v_eq(r, zero)));
    q = v_sel(over, v_sub(q, v_set1(1)), q);
    r = v_sel(over, v_add(r, b), r);
    *remainder = v_sel(v_eq(r, zero), v_copysign(zero, a), r);
    *small =
        v_mand(v_lt(v_abs(q), v_set1((T)0x1p22)), v_lt(v_abs(b), v_set1((T)INFINITY)));
    return v_sel(v_eq(q, zero), v_copysign(zero, quotient), q);
}
#define FNN_DIVISION(name, chosen)                                                \
    static void FNN_NAME(map_##name)(ptrdiff_t n, void *y_, const void *const *x, \
                                     const ptrdiff_t *step) {                     \
        T *y = y_;                                                                \
        const T *a = x[0], *b = x[1];                                             \
        for (ptrdiff_t i = 0; i < n; i += LANES) {                                \
            ptrdiff_t m = n - i < LANES ? n - i : LANES;                          \
            uint8_t fits[LANES];                                                  \
            V r, q;                                                               \
            M small;                                                              \
            q = FNN_NAME(divided)(v_loadn(a, m), v_loadn(b, m), &r, &small);      \
            (void)q;                                                              \
            v_mstore(fits, small, LANES);                                         \
            if (memchr(fits, 0, (size_t)m) == NULL) {                             \
                v_storen(y + i, chosen, m);                                       \
            } else {                                                              \
                for (ptrdiff_t k = 0; k < m; k++) {                               \
                    y[i + k] = FNN_NAME(name)(a[k * step[0]], b[k * step[1]]);    \
                }                                                                 \
            }                                                                     \
            a += step[0] * LANES;                                                 \
            b += step[1] * LANES;                                                 \
        }                                                                         \
    }
FNN_DIVISION(remainder, r)
FNN_DIVISION(floor_divide, q)
#undef FNN_DIVISION

/* y = condition ? a : b, the condition in bytes. */
static void FNN_NAME(map_where)(ptrdiff_t n, void *y_, const void *const *x,
                                const ptrdiff_t *step) {
    T *y = y_;
    const uint8_t *c = x[0];
    const T *a = x[1], *b = x[2];
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t m = n - i < LANES ? n - i : LANES;
        if (m == LANES) {
            v_store(y + i, v_sel(v_mload(c, LANES), v_load(a), v_load(b)));
        } else {
            v_storen(y + i, v_sel(v_mload(c, m), v_loadn(a, m), v_loadn(b, m)), m);
        }
        c += step[0] * LANES;
        a += step[1] * LANES;
        b += step[2] * LANES;
    }
}
