/* The bounded caching allocator. Fresh pages cost more than most kernels (a page
 * fault per 4 KB), so blocks are kept and handed out again.
 *
 * A block is [storage header 64][block header 64][data], one malloc, data 64-byte
 * aligned; a small tensor therefore costs one pop from a free list. Free lists are
 * per size class, four classes per power of two. One lock, held for a few
 * instructions, taken over fork() so that a child finds it free and the lists whole. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* MADV_HUGEPAGE */
#endif
#include "cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FNN_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(FNN_ASAN)
/* Only the bytes asked for are readable: overruns into a class' slack, and uses of a
 * block that lies in the cache, are reported. */
#include <sanitizer/asan_interface.h>
#define HIDE(p, n) ASAN_POISON_MEMORY_REGION(p, (size_t)(n))
#define SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, (size_t)(n))
#else
#define HIDE(p, n) ((void)(p), (void)(n))
#define SHOW(p, n) ((void)(p), (void)(n))
#endif

/* ---- blocks ---------------------------------------------------------------------- */

typedef struct block block;
struct block {
    _Alignas(FNN_ALIGN) fnn_storage storage;
    _Alignas(FNN_ALIGN) block *next; /* in a free list */
    int64_t capacity;                /* bytes of data */
    int64_t size_class;
    char guard[40]; /* hidden from AddressSanitizer: underruns are reported */
    _Alignas(FNN_ALIGN) char data[];
};
_Static_assert(offsetof(block, data) == 2 * FNN_ALIGN &&
                   offsetof(block, guard) + 40 == offsetof(block, data),
               "two cache lines before the data, the guard right before it");

#define MAX_BYTES ((int64_t)1 << 47) /* the user address space; more is absurd */
#define HUGE_PAGE ((int64_t)2 << 20)
#define HUGE_BLOCK ((int64_t)4 << 20)    /* from here on aligned to huge pages */
#define DEFAULT_LIMIT ((int64_t)1 << 30) /* or a quarter of memory if that is less */

/* Units of 64 bytes: 1, 2, 3, 4 | 5, 6, 7, 8 | 10, 12, 14, 16 | 20, 24, 28, 32 | ... */
enum { N_CLASSES = 160 }; /* MAX_BYTES is the last */

static int size_class(int64_t nbytes, int64_t *capacity) {
    uint64_t units = ((uint64_t)nbytes + FNN_ALIGN - 1) / FNN_ALIGN;
    if (units <= 4) {
        units += units == 0;
        *capacity = (int64_t)units * FNN_ALIGN;
        return (int)units - 1;
    }
    int shift = 61 - __builtin_clzll(units - 1); /* keeps the top three bits */
    uint64_t top = (units - 1) >> shift;         /* 4 to 7 */
    *capacity = (int64_t)((top + 1) << shift) * FNN_ALIGN;
    return 4 * shift + (int)top;
}

static block *block_of(void *data) {
    return (block *)((char *)data - offsetof(block, data));
}

static void destroy(block *b) {
    SHOW(b->guard, (int64_t)sizeof b->guard + b->capacity);
    free(b);
}

static void destroy_list(block *b) {
    while (b) {
        block *next = b->next;
        destroy(b);
        b = next;
    }
}

/* ---- the cache ------------------------------------------------------------------- */

static struct {
    _Alignas(FNN_ALIGN) _Atomic bool locked;
    bool ready; /* limit has been read */
    block *free[N_CLASSES];
    int64_t last_use[N_CLASSES]; /* stats.allocations when the class was last popped */
    fnn_memory_stats stats;
} cache;

static void lock(void) {
    for (int spins = 0;
         atomic_exchange_explicit(&cache.locked, true, memory_order_acquire); spins++) {
        if (spins >= 64) { /* the holder has lost its CPU */
            sched_yield();
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static void unlock(void) {
    atomic_store_explicit(&cache.locked, false, memory_order_release);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(lock, unlock, unlock);
}

/* FASTNN_CACHE_BYTES, 0 included; false if it is set and no number. */
static bool read_limit(int64_t *limit) {
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    *limit = DEFAULT_LIMIT;
    if (memory > 0 && memory / 4 < *limit) {
        *limit = memory / 4;
    }
    const char *text = getenv("FASTNN_CACHE_BYTES");
    if (!text || !*text) {
        return true;
    }
    int64_t asked = fnn_parse_positive(text);
    char *end;
    if (asked == 0 && (strtod(text, &end) != 0 || end == text || *end)) {
        return false;
    }
    *limit = asked;
    return true;
}

/* Under the lock. */
static void get_ready(void) {
    if (!cache.ready) {
        read_limit(&cache.stats.cache_limit);
        cache.ready = true;
    }
}

fnn_status fnn_memory_init(fnn_error *err) {
    int64_t limit;
    if (!read_limit(&limit)) {
        return fnn_fail(err, FNN_ERR_VALUE,
                        "FASTNN_CACHE_BYTES: expected a number of bytes, got '%.80s'",
                        getenv("FASTNN_CACHE_BYTES"));
    }
    lock();
    get_ready();
    unlock();
    return FNN_OK;
}

/* Under the lock. Takes blocks of the classes that have been idle longest out of the
 * cache until `bytes` more fit, so that sizes no longer in use do not fill it for
 * ever. Classes used as lately as `own` stay. Returns what was taken. */
static block *make_room(int own, int64_t bytes) {
    block *taken = NULL;
    while (cache.stats.cached_bytes + bytes > cache.stats.cache_limit) {
        int idlest = own;
        for (int i = 0; i < N_CLASSES; i++) {
            if (cache.free[i] && cache.last_use[i] < cache.last_use[idlest]) {
                idlest = i;
            }
        }
        if (idlest == own) {
            break;
        }
        block *b = cache.free[idlest];
        cache.free[idlest] = b->next;
        cache.stats.cached_bytes -= b->capacity;
        b->next = taken;
        taken = b;
    }
    return taken;
}

static void give_back(block *b) {
    block *dropped = NULL;
    int class = (int)b->size_class;
    HIDE(b->data, b->capacity);
    lock();
    get_ready();
    cache.stats.allocated_bytes -= b->capacity;
    int64_t limit = cache.stats.cache_limit;
    if (cache.stats.cached_bytes + b->capacity > limit && b->capacity <= limit) {
        dropped = make_room(class, b->capacity);
    }
    if (cache.stats.cached_bytes + b->capacity <= limit) {
        cache.stats.cached_bytes += b->capacity;
        b->next = cache.free[class];
        cache.free[class] = b;
    } else {
        b->next = dropped;
        dropped = b;
    }
    unlock();
    destroy_list(dropped);
}

/* A block from the system; NULL if there is no memory. */
static block *fresh(int64_t capacity) {
    int64_t total = (int64_t)sizeof(block) + capacity;
    bool huge = capacity >= HUGE_BLOCK;
    size_t align = huge ? (size_t)HUGE_PAGE : FNN_ALIGN;
    void *memory;
    if (posix_memalign(&memory, align, (size_t)total) != 0) {
        return NULL;
    }
#if defined(MADV_HUGEPAGE)
    if (huge) { /* whole huge pages only: the slack at the end stays unmapped */
        (void)madvise(memory, (size_t)(total / HUGE_PAGE * HUGE_PAGE), MADV_HUGEPAGE);
    }
#endif
    return memory;
}

/* Under the lock. */
static void count_use(int class, int64_t capacity) {
    fnn_memory_stats *stats = &cache.stats;
    cache.last_use[class] = ++stats->allocations;
    stats->allocated_bytes += capacity;
    if (stats->allocated_bytes > stats->peak_bytes) {
        stats->peak_bytes = stats->allocated_bytes;
    }
}

/* A block with room for nbytes, its storage still to be filled. */
static block *take(int64_t nbytes) {
    if (nbytes < 0 || nbytes > MAX_BYTES) {
        return NULL;
    }
    int64_t capacity;
    int class = size_class(nbytes, &capacity);
    lock();
    block *b = cache.free[class];
    if (b) {
        cache.free[class] = b->next;
        cache.stats.cached_bytes -= capacity;
        cache.stats.cache_hits++;
        count_use(class, capacity);
    }
    unlock();
    if (!b) {
        b = fresh(capacity);
        if (!b) { /* what lies in the cache may be what is missing */
            fnn_memory_empty_cache();
            b = fresh(capacity);
        }
        if (!b) {
            return NULL;
        }
        b->capacity = capacity;
        b->size_class = class;
        HIDE(b->guard, (int64_t)sizeof b->guard + capacity);
        lock();
        count_use(class, capacity);
        unlock();
    }
    SHOW(b->data, nbytes);
    return b;
}

void fnn_memory_stats_read(fnn_memory_stats *out) {
    lock();
    get_ready();
    *out = cache.stats;
    unlock();
}

void fnn_memory_empty_cache(void) {
    block *all = NULL;
    lock();
    for (int i = 0; i < N_CLASSES; i++) {
        while (cache.free[i]) {
            block *b = cache.free[i];
            cache.free[i] = b->next;
            b->next = all;
            all = b;
        }
    }
    cache.stats.cached_bytes = 0;
    unlock();
    destroy_list(all);
}

/* ---- what others call ------------------------------------------------------------ */

void *fnn_alloc(int64_t nbytes) {
    block *b = take(nbytes);
    return b ? b->data : NULL;
}

void fnn_free(void *data) {
    if (data) {
        give_back(block_of(data));
    }
}

static fnn_storage *fill_storage(block *b, void *data, int64_t nbytes) {
    fnn_storage *s = &b->storage;
    atomic_init(&s->refs, 1);
    s->data = data;
    s->nbytes = nbytes;
    s->device = FNN_CPU_DEVICE;
    s->read_only = false;
    s->exports = 0;
    s->version = 0;
    s->history = 0;
    s->lent = 0;
    s->release = NULL;
    s->context = NULL;
    return s;
}

fnn_storage *fnn_storage_new(int64_t nbytes) {
    block *b = take(nbytes);
    return b ? fill_storage(b, b->data, nbytes) : NULL;
}

fnn_storage *fnn_storage_wrap(void *data, int64_t nbytes, void (*release)(void *),
                              void *context) {
    block *b = take(0); /* for its header only */
    if (!b) {
        return NULL;
    }
    fnn_storage *s = fill_storage(b, data, nbytes);
    s->release = release;
    s->context = context;
    return s;
}

void fnn_storage_retain(fnn_storage *s) {
    /* Relaxed: whoever retains holds a reference already. */
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void fnn_count_export(fnn_storage *s, int by) {
    __atomic_fetch_add(&s->exports, by, __ATOMIC_RELAXED);
    __atomic_fetch_add(&s->lent, 1, __ATOMIC_RELAXED);
}

void fnn_storage_release(fnn_storage *s) {
    if (!s) {
        return;
    }
    /* The last holder needs no atomic subtraction: nobody else can retain or
     * release. The acquire, here and below, sees all that earlier holders did to the
     * data. */
    if (atomic_load_explicit(&s->refs, memory_order_acquire) != 1) {
        if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_release) != 1) {
            return;
        }
        atomic_thread_fence(memory_order_acquire);
    }
    if (s->release) {
        s->release(s->context);
    }
    give_back((block *)s);
}
