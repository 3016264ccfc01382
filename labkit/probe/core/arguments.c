/* SPDX-License-Identifier: BSD-3-Clause */
#include "arguments.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What was found instead, short enough for a message. */
static void refuse(struct error *err, const char *name, const char *expected, const json_t *found)
{
    char *text = found == NULL ? NULL : json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY);

    error_set(err, "bad-argument", "%s: expected %s, got %.80s", name, expected, text ? text : "nothing");
    free(text);
}

int arguments_known(const json_t *object, const char *what, const char *const *known, struct error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
        const char *const *at = known;

        while (*at != NULL && strcmp(*at, key) != 0)
            at++;
        if (*at == NULL) {
            error_set(err, "bad-argument", "%.64s: unknown field of %s", key, what);
            return -1;
        }
    }
    return 0;
}

int arguments_integer(const json_t *object, const char *name, bool required, int64_t low, int64_t high,
                      int64_t *value, struct error *err)
{
    const json_t *found = json_object_get(object, name);
    char expected[80];

    if (found == NULL && !required)
        return 0;
    if (!json_is_integer(found) || json_integer_value(found) < low || json_integer_value(found) > high) {
        (void)snprintf(expected, sizeof(expected), "an integer from %" PRId64 " to %" PRId64, low, high);
        refuse(err, name, expected, found);
        return -1;
    }
    *value = json_integer_value(found);
    return 0;
}

int arguments_boolean(const json_t *object, const char *name, bool *value, struct error *err)
{
    const json_t *found = json_object_get(object, name);

    if (found == NULL)
        return 0;
    if (!json_is_boolean(found)) {
        refuse(err, name, "true or false", found);
        return -1;
    }
    *value = json_is_true(found);
    return 0;
}

int arguments_string(const json_t *object, const char *name, bool required, const char **value,
                     struct error *err)
{
    const json_t *found = json_object_get(object, name);

    if (found == NULL && !required)
        return 0;
    if (!json_is_string(found)) {
        refuse(err, name, "a string", found);
        return -1;
    }
    *value = json_string_value(found);
    return 0;
}
