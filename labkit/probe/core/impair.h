/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults made on purpose, exact to the frame: a tester that does not find them out is broken. Frames that
 * must outlive a burst are copied, so that every engine can do it.
 */
#ifndef LABKIT_IMPAIR_H
#define LABKIT_IMPAIR_H

#include "command.h"
#include "counters.h"
#include "io.h"

struct impair;

struct impair *impair_new(const struct impairment *impairment, struct io *io, struct counters *counters,
                          struct error *err);
void impair_free(struct impair *impair);
/* Takes over n received frames (all are forwarded or released); returns how many were sent. */
unsigned impair_burst(struct impair *impair, unsigned from, unsigned to, struct io_frame *frames, unsigned n,
                      uint64_t now);
/* Sends what was held back and is due. */
unsigned impair_turn(struct impair *impair, uint64_t now);
/* Time until impair_turn has something to do, at most `most`. */
uint64_t impair_idle_ns(const struct impair *impair, uint64_t now, uint64_t most);

#endif
