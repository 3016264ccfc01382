/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <stdio.h>
#include <string.h>

static int refuse(struct error *err, const char *where, const char *key,
                  const char *expected, const json_t *found) {
  char *text = json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT);
  error_set(err, "bad-argument", "%s.%s: expected %s, got %.80s", where, key,
            expected, text ? text : "?");
  free(text);
  return -1;
}

int options_check_known(const json_t *object, const char *where,
                        const char *const *known, struct error *err) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    const char *const *name = known;
    while (*name && strcmp(*name, key) != 0) {
      name++;
    }
    if (!*name) {
      char list[256] = "";
      for (name = known; *name; name++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
                 *name);
      }
      error_set(err, "bad-argument", "%s.%.64s: unknown; this engine knows %s",
                where, key, list);
      return -1;
    }
  }
  return 0;
}

int option_bool(const json_t *object, const char *where, const char *key,
                bool *value, struct error *err) {
  const json_t *found = json_object_get(object, key);
  if (found && !json_is_boolean(found)) {
    return refuse(err, where, key, "true or false", found);
  }
  if (found) {
    *value = json_is_true(found);
  }
  return 0;
}

int option_uint(const json_t *object, const char *where, const char *key,
                uint32_t low, uint32_t high, uint32_t *value,
                struct error *err) {
  const json_t *found = json_object_get(object, key);
  if (!found) {
    return 0;
  }
  json_int_t number = json_integer_value(found);
  if (!json_is_integer(found) || number < low || number > high) {
    char expected[64];
    snprintf(expected, sizeof(expected), "an integer from %u to %u", low, high);
    return refuse(err, where, key, expected, found);
  }
  *value = (uint32_t)number;
  return 0;
}

int option_power_of_two(const json_t *object, const char *where,
                        const char *key, uint32_t low, uint32_t high,
                        uint32_t *value, struct error *err) {
  if (option_uint(object, where, key, low, high, value, err)) {
    return -1;
  }
  if (*value & (*value - 1)) {
    return refuse(err, where, key, "a power of two",
                  json_object_get(object, key));
  }
  return 0;
}

int option_choice(const json_t *object, const char *where, const char *key,
                  const char *const *choices, unsigned *value,
                  struct error *err) {
  const json_t *found = json_object_get(object, key);
  if (!found) {
    return 0;
  }
  const char *text = json_string_value(found);
  char expected[128] = "one of";
  for (unsigned i = 0; choices[i]; i++) {
    if (text && strcmp(text, choices[i]) == 0) {
      *value = i;
      return 0;
    }
    size_t used = strlen(expected);
    snprintf(expected + used, sizeof(expected) - used, "%s \"%s\"",
             i ? "," : "", choices[i]);
  }
  return refuse(err, where, key, expected, found);
}
