/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A histogram of times in the layout of HdrHistogram: 1 ns to 10 s, 3 significant digits. Recording is a
 * count of leading zeros and a few additions; writing it out gives the compressed V2 encoding that every
 * HdrHistogram library reads.
 */
#ifndef LABKIT_HISTOGRAM_H
#define LABKIT_HISTOGRAM_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_HIGHEST_NS 10000000000ULL
#define HISTOGRAM_DIGITS 3
/* 3 digits need 2048 sub-buckets; 24 buckets of them reach past 10 s: (24 + 1) * 2048 / 2 counters. */
#define HISTOGRAM_SUB_BUCKETS 2048U
#define HISTOGRAM_HALF_MAGNITUDE 10U
#define HISTOGRAM_COUNTS 25600U

struct histogram {
    uint64_t n;
    uint64_t min_ns;
    uint64_t max_ns;
    uint64_t sum_ns;
    uint64_t overflow;
    uint64_t counts[HISTOGRAM_COUNTS];
};

void histogram_clear(struct histogram *histogram);
/* Lowest value that counts[index] stands for. */
uint64_t histogram_value_at(uint32_t index);
/* Base64 of the compressed encoding; free() it. NULL when out of memory. */
char *histogram_encode(const struct histogram *histogram);
/* The object of PROTOCOL.md; NULL when out of memory. */
json_t *histogram_json(const struct histogram *histogram);

static inline uint32_t histogram_index(uint64_t value)
{
    uint32_t bucket = 53U - (uint32_t)__builtin_clzll(value | (HISTOGRAM_SUB_BUCKETS - 1));

    return (bucket << HISTOGRAM_HALF_MAGNITUDE) + (uint32_t)(value >> bucket);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    if (__builtin_expect(value > HISTOGRAM_HIGHEST_NS, 0)) {
        histogram->overflow++;
        value = HISTOGRAM_HIGHEST_NS;
    }
    histogram->n++;
    histogram->sum_ns += value;
    histogram->min_ns = value < histogram->min_ns ? value : histogram->min_ns;
    histogram->max_ns = value > histogram->max_ns ? value : histogram->max_ns;
    histogram->counts[histogram_index(value)]++;
}

#endif
