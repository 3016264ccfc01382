/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading an engine's options: every error names the field, what was expected
 * and what was found. */
#ifndef LABKIT_OPTIONS_H
#define LABKIT_OPTIONS_H

#include "io.h"

/* All return 0, or -1 with err set (`bad-argument`). `object` may be NULL: then
 * all options have their defaults. */

/* `known` ends with NULL; `where` is "options" or "ports". */
int options_check_known(const json_t *object, const char *where,
                        const char *const *known, struct error *err);
int option_bool(const json_t *object, const char *where, const char *key,
                bool *value, struct error *err);
/* *value keeps its default when the key is missing. */
int option_uint(const json_t *object, const char *where, const char *key,
                uint32_t low, uint32_t high, uint32_t *value,
                struct error *err);
int option_power_of_two(const json_t *object, const char *where,
                        const char *key, uint32_t low, uint32_t high,
                        uint32_t *value, struct error *err);
/* `choices` ends with NULL; *value becomes the index of the one found. */
int option_choice(const json_t *object, const char *where, const char *key,
                  const char *const *choices, unsigned *value,
                  struct error *err);

#endif
