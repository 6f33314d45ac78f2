/* Optimizer steps: one pass over a parameter, its gradient and its state.
 *
 * Each is a function of vectors, p and state in place, from scalars that ops/optim.c works
 * out once per tensor in float64; FNN_STEP writes the loop around it. The arithmetic is
 * PyTorch's; each a + s * b is one FMA. As there, a zero weight decay or momentum leaves its
 * line out, so that an infinite p does not make 0 * inf. */

#ifndef FNN_STEP

#define FNN_STEP(name)                                                              \
    FNN_INLINE void FNN_NAME(name##_block)(ptrdiff_t i, ptrdiff_t m, T *const *x,   \
                                           const V *s, unsigned flags) {            \
        V p = FNN_STEP_LOAD(x[0]), g = FNN_STEP_LOAD(x[1]), state[FNN_STEP_STATES]; \
        _Pragma("GCC unroll 3") for (int k = 0; k < FNN_STEP_STATES; k++) {         \
            state[k] = x[2 + k] ? FNN_STEP_LOAD(x[2 + k]) : v_zero();               \
        }                                                                           \
        g = flags & FNN_STEP_MAXIMIZE ? v_neg(g) : g;                               \
        if (flags & FNN_STEP_DECAY) {                                               \
            g = v_fma(s[FNN_S_DECAY], p, g);                                        \
        } else if (flags & FNN_STEP_DECOUPLED) {                                    \
            p = v_mul(s[FNN_S_DECAY], p);                                           \
        }                                                                           \
        p = FNN_NAME(name##_one)(p, g, state, s, flags);                            \
        FNN_STEP_STORE(x[0], p);                                                    \
        _Pragma("GCC unroll 3") for (int k = 0; k < FNN_STEP_STATES; k++) {         \
            if (x[2 + k]) {                                                         \
                FNN_STEP_STORE(x[2 + k], state[k]);                                 \
            }                                                                       \
        }                                                                           \
    }                                                                               \
    static void FNN_NAME(step_##name)(ptrdiff_t n, void *const *x,                  \
                                      const fnn_step *step) {                       \
        V s[FNN_STEP_SCALARS];                                                      \
        T *at[2 + FNN_STEP_STATES];                                                 \
        ptrdiff_t i = 0;                                                            \
        for (int k = 0; k < FNN_STEP_SCALARS; k++) {                                \
            s[k] = v_set1((T)step->s[k]);                                           \
        }                                                                           \
        for (int k = 0; k < 2 + FNN_STEP_STATES; k++) {                             \
            at[k] = x[k];                                                           \
        }                                                                           \
        for (; i + LANES <= n; i += LANES) {                                        \
            FNN_NAME(name##_block)(i, LANES, at, s, step->flags);                   \
        }                                                                           \
        if (i < n) {                                                                \
            FNN_NAME(name##_block)(i, n - i, at, s, step->flags);                   \
        }                                                                           \
    }
#define FNN_STEP_LOAD(p) (m == LANES ? v_load((p) + i) : v_loadn((p) + i, m))
#define FNN_STEP_STORE(p, v) \
    (m == LANES ? v_store((p) + i, v) : v_storen((p) + i, v, m))

#endif

/* a + w (b - a) */
FNN_INLINE V FNN_NAME(lerp)(V a, V b, V w) { return v_fma(w, v_sub(b, a), a); }
/* decay a + (1 - decay) b^2, the second factor given */
FNN_INLINE V FNN_NAME(average_square)(V a, V b, V decay, V rest) {
    return v_fma(v_mul(rest, b), b, v_mul(decay, a));
}

/* s: decay, lr, momentum, 1 - dampening. state: buffer, absent without momentum.
 *     b = first ? g : momentum * b + (1 - dampening) * g
 *     p = p - lr * (nesterov ? g + momentum * b : b)
 * The product momentum * b is rounded on its own. */
FNN_INLINE V FNN_NAME(sgd_one)(V p, V g, V *state, const V *s, unsigned flags) {
    if (flags & FNN_STEP_MOMENTUM) {
        V b = flags & FNN_STEP_FIRST ? g : v_fma(s[3], g, v_mul(state[0], s[2]));
        g = flags & FNN_STEP_NESTEROV ? v_fma(s[2], b, g) : b;
        state[0] = b;
    }
    return v_fnma(s[1], g, p);
}
FNN_STEP(sgd)

/* s: decay, lr, eps. state: sum of squares.
 *     sum = sum + g^2;  p = p - lr * g / (sqrt(sum) + eps) */
FNN_INLINE V FNN_NAME(adagrad_one)(V p, V g, V *state, const V *s, unsigned flags) {
    (void)flags;
    state[0] = v_fma(g, g, state[0]);
    return v_fnma(s[1], v_div(g, v_add(v_sqrt(state[0]), s[2])), p);
}
FNN_STEP(adagrad)

/* s: decay, lr, eps, rho, 1 - rho. state: averages of g^2 and of delta^2.
 *     v = rho v + (1 - rho) g^2;  delta = g * sqrt(u + eps) / sqrt(v + eps)
 *     u = rho u + (1 - rho) delta^2;  p = p - lr * delta */
FNN_INLINE V FNN_NAME(adadelta_one)(V p, V g, V *state, const V *s, unsigned flags) {
    (void)flags;
    V v = FNN_NAME(average_square)(state[0], g, s[3], s[4]);
    V ratio = v_div(v_sqrt(v_add(state[1], s[2])), v_sqrt(v_add(v, s[2])));
    V delta = v_mul(ratio, g);
    state[0] = v;
    state[1] = FNN_NAME(average_square)(state[1], delta, s[3], s[4]);
    return v_fnma(s[1], delta, p);
}
FNN_STEP(adadelta)

/* s: decay, lr, eps, alpha, 1 - alpha, momentum. state: average of g^2; momentum buffer or
 * absent; average of g or absent (centered).
 *     v = alpha v + (1 - alpha) g^2;  a = alpha a + (1 - alpha) g
 *     r = g / (sqrt(v - a^2) + eps);  b = momentum b + r;  p = p - lr * b */
FNN_INLINE V FNN_NAME(rmsprop_one)(V p, V g, V *state, const V *s, unsigned flags) {
    V v = FNN_NAME(average_square)(state[0], g, s[3], s[4]);
    state[0] = v;
    if (flags & FNN_STEP_CENTERED) {
        state[2] = FNN_NAME(lerp)(state[2], g, s[4]);
        v = v_fnma(state[2], state[2], v);
    }
    V r = v_div(g, v_add(v_sqrt(v), s[2]));
    if (flags & FNN_STEP_MOMENTUM) {
        r = state[1] = v_fma(s[5], state[1], r);
    }
    return v_fnma(s[1], r, p);
}
FNN_STEP(rmsprop)

/* s: decay, lr / (1 - b1^t), eps, 1 - b1, b2, 1 - b2, 1 / sqrt(1 - b2^t). state: averages of
 * g and of g^2; the largest of the latter or absent (amsgrad).
 *     m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = max(w, v)
 *     p = p - s1 * m / (sqrt(w) * s6 + eps) */
FNN_INLINE V FNN_NAME(adam_one)(V p, V g, V *state, const V *s, unsigned flags) {
    V m = FNN_NAME(lerp)(state[0], g, s[3]);
    V v = FNN_NAME(average_square)(state[1], g, s[4], s[5]);
    state[0] = m;
    state[1] = v;
    if (flags & FNN_STEP_AMSGRAD) {
        v = state[2] = v_sel(v_isnan(v), v, v_maxnum(state[2], v));
    }
    return v_fnma(s[1], v_div(m, v_fma(v_sqrt(v), s[6], s[2])), p);
}
FNN_STEP(adam)

/* s: decay, lr (1 - mu_t) / (1 - prod mu), eps, 1 - b1, b2, 1 - b2, 1 / sqrt(1 - b2^t),
 * lr mu_(t+1) / (1 - prod mu mu_(t+1)). state: averages of g and of g^2.
 *     p = p - (s1 g + s7 m) / (sqrt(v) s6 + eps) */
FNN_INLINE V FNN_NAME(nadam_one)(V p, V g, V *state, const V *s, unsigned flags) {
    (void)flags;
    V m = FNN_NAME(lerp)(state[0], g, s[3]);
    V v = FNN_NAME(average_square)(state[1], g, s[4], s[5]);
    state[0] = m;
    state[1] = v;
    V way = v_fma(s[7], m, v_mul(s[1], g));
    return v_sub(p, v_div(way, v_fma(v_sqrt(v), s[6], s[2])));
}
FNN_STEP(nadam)

/* s: decay, lr / (1 - b1^t), eps, 1 - b1, b2, 1 - b2, the rectification's factor. state:
 * averages of g and of g^2.
 *     p = p - s1 m * (rectified ? s6 / (sqrt(v) + eps) : 1) */
FNN_INLINE V FNN_NAME(radam_one)(V p, V g, V *state, const V *s, unsigned flags) {
    V m = FNN_NAME(lerp)(state[0], g, s[3]);
    V v = FNN_NAME(average_square)(state[1], g, s[4], s[5]);
    state[0] = m;
    state[1] = v;
    if (flags & FNN_STEP_RECTIFIED) {
        m = v_div(v_mul(m, s[6]), v_add(v_sqrt(v), s[2]));
    }
    return v_fnma(s[1], m, p);
}
FNN_STEP(radam)
