/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which frames of a trial came back: one bit for each sequence number, so that loss and duplicates are exact
 * to the frame. Memory is reserved for the largest trial and touched only as far as a trial gets.
 */
#ifndef LABKIT_SEQUENCE_H
#define LABKIT_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQUENCE_CAPACITY (1ULL << 34)

struct sequence {
    uint64_t *bits;
    uint64_t next; /* one above the highest number seen (RFC 4737 NextExp) */
    uint64_t received;
    uint64_t duplicates;
    uint64_t reordered;
};

/* Returns 0, or -1 with errno set. */
int sequence_init(struct sequence *sequence);
void sequence_free(struct sequence *sequence);
/* Forgets everything: a new trial. */
void sequence_clear(struct sequence *sequence);

/* Accounts for one arrival; number < SEQUENCE_CAPACITY. False: it was a duplicate. */
static inline bool sequence_arrived(struct sequence *sequence, uint64_t number)
{
    uint64_t *word = &sequence->bits[number >> 6];
    uint64_t bit = 1ULL << (number & 63);
    uint64_t old = *word;

    if (__builtin_expect((old & bit) != 0, 0)) {
        sequence->duplicates++;
        return false;
    }
    *word = old | bit;
    sequence->received++;
    /* Only the first copy of a frame is looked at (RFC 4737, section 3.3): a duplicate is not a reordering.
     */
    if (__builtin_expect(number < sequence->next, 0))
        sequence->reordered++;
    else
        sequence->next = number + 1;
    return true;
}

#endif
