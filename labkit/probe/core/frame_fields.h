/* SPDX-License-Identifier: BSD-3-Clause */
/* The fields of headers that differ from flow to flow, and the checksums that they are in. */
#ifndef LABKIT_FRAME_FIELDS_H
#define LABKIT_FRAME_FIELDS_H

#include "frames.h"

/* Reads `fields` of the `frames` command into a set that has its templates and its number of flows. -1 with
 * err set when it is not what PROTOCOL.md says. */
int frame_fields_parse(struct frame_set *frames, const json_t *list, struct error *err);
/* What frames_stamp needs of them, once they are read. -1 with err set where memory is lacking. */
int frame_fields_prepare(struct frame_set *frames, struct error *err);

#endif
