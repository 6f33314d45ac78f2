/* Philox4x32-10, the counter-based generator: 128 random bits are a function of a
 * 64-bit key (the seed) and a 128-bit counter (block index, stream), so that element
 * i of a tensor gets the same bits whatever the thread or the order.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC11, section 4.3: multipliers, Weyl constants and ten rounds. */
#ifndef FNN_PHILOX_H
#define FNN_PHILOX_H

#include <stdint.h>

typedef struct {
    uint32_t word[4];
} fnn_philox_block;

static inline fnn_philox_block fnn_philox(uint64_t seed, uint64_t block,
                                          uint64_t stream) {
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    return (fnn_philox_block){{c0, c1, c2, c3}};
}

#endif
