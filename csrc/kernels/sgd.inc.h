/* Stochastic gradient descent, one pass over parameters, gradients and momentum:
 *
 *     g   = (maximize ? -g : g) + weight_decay * p
 *     buf = first ? g : momentum * buf + (1 - dampening) * g
 *     g   = nesterov ? g + momentum * buf : buf
 *     p   = p - lr * g
 *
 * As PyTorch defines it: a zero weight_decay or momentum leaves its line out (so
 * that an infinite p does not make 0 * inf), and the first momentum buffer is not
 * dampened. Each a + s * b is one FMA, momentum * buf is rounded on its own. */

#define sgd_step FNN_NAME(sgd_step) /* vectors, so one type a dtype */
typedef struct {
    V lr, momentum, undamped, weight_decay;
    bool decay, use_buf, first, nesterov, maximize;
} sgd_step;

FNN_INLINE void FNN_NAME(sgd_one)(const sgd_step *s, V *p, V g, V *buf) {
    if (s->maximize) {
        g = v_neg(g);
    }
    if (s->decay) {
        g = v_fma(s->weight_decay, *p, g);
    }
    if (s->use_buf) {
        *buf = s->first ? g : v_fma(s->undamped, g, v_mul(*buf, s->momentum));
        g = s->nesterov ? v_fma(s->momentum, *buf, g) : *buf;
    }
    *p = v_fnma(s->lr, g, *p);
}

static void FNN_NAME(sgd)(ptrdiff_t n, void *p, const void *g, void *buf,
                          const fnn_sgd_args *args) {
    T *param = p, *moment = buf;
    const T *grad = g;
    const sgd_step step = {
        .lr = v_set1((T)args->lr),
        .momentum = v_set1((T)args->momentum),
        .undamped = v_set1((T)(1 - args->dampening)),
        .weight_decay = v_set1((T)args->weight_decay),
        .decay = args->weight_decay != 0,
        .use_buf = moment && args->momentum != 0,
        .first = args->first,
        .nesterov = args->nesterov,
        .maximize = args->maximize,
    };
    const bool read_buf = step.use_buf && !step.first; /* may be uninitialised before */
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        V vp = v_load(param + i), vb = v_zero();
        if (read_buf) {
            vb = v_load(moment + i);
        }
        FNN_NAME(sgd_one)(&step, &vp, v_load(grad + i), &vb);
        if (step.use_buf) {
            v_store(moment + i, vb);
        }
        v_store(param + i, vp);
    }
    if (i < n) {
        V vp = v_loadn(param + i, n - i), vb = v_zero();
        if (read_buf) {
            vb = v_loadn(moment + i, n - i);
        }
        FNN_NAME(sgd_one)(&step, &vp, v_loadn(grad + i, n - i), &vb);
        if (step.use_buf) {
            v_storen(moment + i, vb, n - i);
        }
        v_storen(param + i, vp, n - i);
    }
}
#undef sgd_step
