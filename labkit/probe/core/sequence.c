/* SPDX-License-Identifier: BSD-3-Clause */
#include "sequence.h"

#include <string.h>
#include <sys/mman.h>

#define MAP_BYTES (SEQUENCE_CAPACITY / 8)
#define KEEP_BYTES (8U << 20) /* cheaper to wipe than to fault in again */

int sequence_init(struct sequence *sequence)
{
    void *map =
        mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    memset(sequence, 0, sizeof(*sequence));
    if (map == MAP_FAILED)
        return -1;
    /* A 2 MB page is 100 us of zeroing in the middle of a trial; a small one is well under 1 us. */
    (void)madvise(map, MAP_BYTES, MADV_NOHUGEPAGE);
    sequence->bits = map;
    return 0;
}

void sequence_free(struct sequence *sequence)
{
    if (sequence->bits != NULL)
        (void)munmap(sequence->bits, MAP_BYTES);
    memset(sequence, 0, sizeof(*sequence));
}

void sequence_clear(struct sequence *sequence)
{
    uint64_t *bits = sequence->bits;
    size_t used = (size_t)((sequence->next + 63) / 64 * 8);

    if (used > KEEP_BYTES) {
        (void)madvise((uint8_t *)bits + KEEP_BYTES, MAP_BYTES - KEEP_BYTES, MADV_DONTNEED);
        used = KEEP_BYTES;
    }
    memset(bits, 0, used);
    memset(sequence, 0, sizeof(*sequence));
    sequence->bits = bits;
}
