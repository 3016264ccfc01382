/* SPDX-License-Identifier: BSD-3-Clause */
/* Strict reading of JSON objects: what is unknown, missing or of the wrong type is refused by name. */
#ifndef LABKIT_ARGUMENTS_H
#define LABKIT_ARGUMENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "io.h"

/* All return 0, or -1 with err set to bad-argument. `known` ends with NULL. */
int arguments_known(const json_t *object, const char *what, const char *const *known, struct error *err);
/* An absent integer leaves *value alone when it is optional. */
int arguments_integer(const json_t *object, const char *name, bool required, int64_t low, int64_t high,
                      int64_t *value, struct error *err);
int arguments_boolean(const json_t *object, const char *name, bool *value, struct error *err);
/* *value points into the object. */
int arguments_string(const json_t *object, const char *name, bool required, const char **value,
                     struct error *err);

#endif
