/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LABKIT_DRIVER_STATS_H
#define LABKIT_DRIVER_STATS_H

#include <stdint.h>

/* The sum of an interface's driver statistics (as `ethtool -S` prints them) whose names end with `suffix`:
 * one a queue. 0 when the driver has none of that name. */
uint64_t driver_stats_sum(const char *interface, const char *suffix);

#endif
