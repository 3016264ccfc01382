/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers on stdout, one line each; control and worker thread both write them. */
#ifndef LABKIT_ANSWER_H
#define LABKIT_ANSWER_H

#include <jansson.h>

#include "io.h"

/* Takes the reference to result; NULL stands for "no memory left to build it". */
void answer_result(json_int_t id, json_t *result);
/* id NULL: the line had none. */
void answer_error(const json_int_t *id, const struct error *err);

#endif
