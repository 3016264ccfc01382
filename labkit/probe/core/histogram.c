/* SPDX-License-Identifier: BSD-3-Clause */
#include "histogram.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define COOKIE_V2 0x1c849313U
#define COOKIE_V2_COMPRESSED 0x1c849314U
#define HEADER_BYTES 40U
#define VARINT_BYTES 9U

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
    histogram->min_ns = UINT64_MAX;
}

uint64_t histogram_value_at(uint32_t index)
{
    uint32_t bucket = index >> HISTOGRAM_HALF_MAGNITUDE;
    uint64_t sub = index & ((HISTOGRAM_SUB_BUCKETS / 2) - 1);

    if (bucket == 0)
        return sub;
    return (sub + HISTOGRAM_SUB_BUCKETS / 2) << (bucket - 1);
}

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(value >> shift);
    return at;
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
    return put_u32(put_u32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

/* ZigZag LEB128 as HdrHistogram has it: 7 bits a byte, the ninth byte carries 8. */
static uint8_t *put_varint(uint8_t *at, int64_t signed_value)
{
    uint64_t value = ((uint64_t)signed_value << 1) ^ (uint64_t)(signed_value >> 63);

    for (unsigned i = 0; i < VARINT_BYTES - 1; i++) {
        if (value < 0x80) {
            *at++ = (uint8_t)value;
            return at;
        }
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *put_counts(uint8_t *at, const struct histogram *histogram)
{
    uint32_t used = histogram->n == 0 ? 0 : histogram_index(histogram->max_ns) + 1;

    for (uint32_t i = 0; i < used;) {
        if (histogram->counts[i] != 0) {
            at = put_varint(at, (int64_t)histogram->counts[i++]);
            continue;
        }
        int64_t zeros = 0;
        while (i < used && histogram->counts[i] == 0) {
            zeros++;
            i++;
        }
        at = put_varint(at, -zeros);
    }
    return at;
}

static char *base64(const uint8_t *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((length + 2) / 3 * 4 + 1);
    char *at = text;

    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group = (uint32_t)bytes[i] << 16;

        if (left > 1)
            group |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2)
            group |= bytes[i + 2];
        *at++ = digits[group >> 18];
        *at++ = digits[(group >> 12) & 63];
        *at++ = left > 1 ? digits[(group >> 6) & 63] : '=';
        *at++ = left > 2 ? digits[group & 63] : '=';
    }
    *at = '\0';
    return text;
}

char *histogram_encode(const struct histogram *histogram)
{
    static const double ratio = 1.0;
    uint64_t ratio_bits;
    uint8_t *plain = malloc(HEADER_BYTES + (size_t)HISTOGRAM_COUNTS * VARINT_BYTES);
    uint8_t *packed = NULL;
    char *text = NULL;

    if (plain == NULL)
        return NULL;
    memcpy(&ratio_bits, &ratio, sizeof(ratio_bits));
    uint8_t *end = put_counts(plain + HEADER_BYTES, histogram);
    uint8_t *at = put_u32(plain, COOKIE_V2);
    at = put_u32(at, (uint32_t)(end - plain - HEADER_BYTES));
    at = put_u32(at, 0); /* normalizing index offset */
    at = put_u32(at, HISTOGRAM_DIGITS);
    at = put_u64(at, 1);
    at = put_u64(at, HISTOGRAM_HIGHEST_NS);
    (void)put_u64(at, ratio_bits);

    uLongf packed_length = compressBound((uLong)(end - plain));
    packed = malloc(packed_length + 8);
    if (packed != NULL &&
        compress2(packed + 8, &packed_length, plain, (uLong)(end - plain), Z_BEST_SPEED) == Z_OK) {
        (void)put_u32(put_u32(packed, COOKIE_V2_COMPRESSED), (uint32_t)packed_length);
        text = base64(packed, packed_length + 8);
    }
    free(packed);
    free(plain);
    return text;
}

json_t *histogram_json(const struct histogram *histogram)
{
    char *hdr = histogram_encode(histogram);
    json_t *object = NULL;

    if (hdr == NULL)
        return NULL;
    object =
        json_pack("{s:I, s:I, s:I, s:f, s:s, s:I}", "n", (json_int_t)histogram->n, "min_ns",
                  (json_int_t)(histogram->n ? histogram->min_ns : 0), "max_ns", (json_int_t)histogram->max_ns,
                  "mean_ns", histogram->n ? (double)histogram->sum_ns / (double)histogram->n : 0.0, "hdr",
                  hdr, "overflow", (json_int_t)histogram->overflow);
    free(hdr);
    return object;
}
