/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Intended departures of an open loop: frame k is due at start + k / load, whatever happened to the frames
 * before it. Kept as nanoseconds with a 32-bit fraction: after 1e9 frames the error is under half a
 * nanosecond, and there is no division a frame.
 */
#ifndef LABKIT_PACING_H
#define LABKIT_PACING_H

#include <stdint.h>

struct pacing {
    uint64_t interval_ns;
    uint32_t interval_fraction;
    uint32_t next_fraction;
    uint64_t next_ns;
    double per_ns;
};

static inline void pacing_start(struct pacing *pacing, double load_pps, uint64_t start_ns)
{
    double interval = 1e9 / load_pps;

    pacing->interval_ns = (uint64_t)interval;
    pacing->interval_fraction = (uint32_t)((interval - (double)pacing->interval_ns) * 4294967296.0);
    pacing->next_ns = start_ns;
    pacing->next_fraction = 0;
    pacing->per_ns = load_pps / 1e9;
}

static inline void pacing_advance(struct pacing *pacing)
{
    uint64_t fraction = (uint64_t)pacing->next_fraction + pacing->interval_fraction;

    pacing->next_ns += pacing->interval_ns + (fraction >> 32);
    pacing->next_fraction = (uint32_t)fraction;
}

/* How many frames are due at `now`, at most `limit`; may be one too many, never too few: the caller sends a
 * frame only when its own next_ns has come. */
static inline unsigned pacing_due(const struct pacing *pacing, uint64_t now, unsigned limit)
{
    if (now < pacing->next_ns)
        return 0;
    double due = (double)(now - pacing->next_ns) * pacing->per_ns + 1.5;
    return due >= (double)limit ? limit : (unsigned)due;
}

#endif
