/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"
#include "sequence.h"

static struct sequence sequence;

static void arrive(const uint64_t *numbers, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)sequence_arrived(&sequence, numbers[i]);
}

static void in_order(void)
{
    for (uint64_t i = 0; i < 1000; i++)
        CHECK(sequence_arrived(&sequence, i));
    CHECK_EQUAL(sequence.received, 1000);
    CHECK_EQUAL(sequence.reordered, 0);
    CHECK_EQUAL(sequence.duplicates, 0);
}

static void a_duplicate_is_neither_received_nor_reordered(void)
{
    arrive((const uint64_t[]){0, 1, 2, 1, 2, 3, 0}, 7);
    CHECK_EQUAL(sequence.received, 4);
    CHECK_EQUAL(sequence.duplicates, 3);
    CHECK_EQUAL(sequence.reordered, 0);
}

static void a_gap_is_loss_and_not_reordering(void)
{
    arrive((const uint64_t[]){0, 5, 6, 200, 201}, 5);
    CHECK_EQUAL(sequence.received, 5);
    CHECK_EQUAL(sequence.reordered, 0);
    CHECK_EQUAL(sequence.next, 202);
}

/* RFC 4737, section 4.2.3: a late packet is reordered, the early one is not. */
static void late_ones_are_reordered(void)
{
    arrive((const uint64_t[]){1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11}, 11);
    CHECK_EQUAL(sequence.reordered, 3);
    CHECK_EQUAL(sequence.received, 11);
}

static void neighbours_swapped(void)
{
    for (uint64_t i = 0; i < 1000; i += 2) {
        (void)sequence_arrived(&sequence, i + 1);
        (void)sequence_arrived(&sequence, i);
    }
    CHECK_EQUAL(sequence.received, 1000);
    CHECK_EQUAL(sequence.reordered, 500);
}

/* More than what is wiped by hand: the rest goes back to the system, and must be clean all the same. */
static void nothing_is_left_of_a_long_trial(void)
{
    const uint64_t far = 100ULL * 1000 * 1000;

    arrive((const uint64_t[]){3, far, SEQUENCE_CAPACITY - 1}, 3);
    sequence_clear(&sequence);
    CHECK_EQUAL(sequence.received, 0);
    CHECK(sequence_arrived(&sequence, 3));
    CHECK(sequence_arrived(&sequence, far));
    CHECK(sequence_arrived(&sequence, SEQUENCE_CAPACITY - 1));
    CHECK_EQUAL(sequence.duplicates, 0);
}

int main(void)
{
    void (*const tests[])(void) = {
        in_order,
        a_duplicate_is_neither_received_nor_reordered,
        a_gap_is_loss_and_not_reordering,
        late_ones_are_reordered,
        neighbours_swapped,
        nothing_is_left_of_a_long_trial,
    };

    CHECK_EQUAL(sequence_init(&sequence), 0);
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        sequence_clear(&sequence);
        tests[i]();
    }
    sequence_free(&sequence);
    return CHECKS_DONE();
}
