/* SPDX-License-Identifier: BSD-3-Clause */
/* The least that a C test needs: say what did not hold, go on, count. */
#ifndef LABKIT_CHECK_H
#define LABKIT_CHECK_H

#include <inttypes.h>
#include <stdio.h>

static unsigned checks_failed;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            checks_failed++;                                                                                 \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);             \
        }                                                                                                    \
    } while (0)

#define CHECK_EQUAL(found, expected)                                                                         \
    do {                                                                                                     \
        int64_t found_ = (int64_t)(found);                                                                   \
        int64_t expected_ = (int64_t)(expected);                                                             \
        if (found_ != expected_) {                                                                           \
            checks_failed++;                                                                                 \
            (void)fprintf(stderr, "%s:%d: %s: expected %" PRId64 ", got %" PRId64 "\n", __FILE__, __LINE__,  \
                          #found, expected_, found_);                                                        \
        }                                                                                                    \
    } while (0)

#define CHECKS_DONE() (checks_failed == 0 ? 0 : 1)

#endif
