/* SPDX-License-Identifier: BSD-3-Clause */
/* The layout against its definition, and against the hdrhistogram package where Python has it (argument:
 * python). */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "histogram.h"

static struct histogram histogram;

static void every_index_stands_for_the_values_that_are_counted_there(void)
{
    for (uint32_t i = 0; i + 1 < HISTOGRAM_COUNTS; i++) {
        CHECK_EQUAL(histogram_index(histogram_value_at(i)), i);
        CHECK_EQUAL(histogram_index(histogram_value_at(i + 1) - 1), i);
    }
}

static void a_value_is_kept_to_three_digits(void)
{
    for (uint64_t value = 1; value <= HISTOGRAM_HIGHEST_NS; value += value / 97 + 1) {
        uint64_t kept = histogram_value_at(histogram_index(value));

        CHECK(kept <= value);
        CHECK((double)(value - kept) <= (double)value / 1000);
    }
}

static void known_values(void)
{
    CHECK_EQUAL(histogram_index(0), 0);
    CHECK_EQUAL(histogram_index(1), 1);
    CHECK_EQUAL(histogram_index(2047), 2047);
    CHECK_EQUAL(histogram_index(2048), 2048);
    CHECK_EQUAL(histogram_index(2049), 2048);
    CHECK_EQUAL(histogram_index(4096), 3072);
    CHECK(histogram_index(HISTOGRAM_HIGHEST_NS) < HISTOGRAM_COUNTS);
}

static void recording_keeps_extremes_sum_and_overflow(void)
{
    histogram_clear(&histogram);
    histogram_record(&histogram, 500);
    histogram_record(&histogram, 7);
    histogram_record(&histogram, HISTOGRAM_HIGHEST_NS + 1);
    CHECK_EQUAL(histogram.n, 3);
    CHECK_EQUAL(histogram.min_ns, 7);
    CHECK_EQUAL(histogram.max_ns, HISTOGRAM_HIGHEST_NS);
    CHECK_EQUAL(histogram.overflow, 1);
    CHECK_EQUAL(histogram.sum_ns, HISTOGRAM_HIGHEST_NS + 507);
    histogram_clear(&histogram);
    CHECK_EQUAL(histogram.n, 0);
    CHECK_EQUAL(histogram.counts[7], 0);
}

static void an_empty_one_can_be_written(void)
{
    json_t *object;

    histogram_clear(&histogram);
    object = histogram_json(&histogram);
    CHECK(object != NULL);
    CHECK_EQUAL(json_integer_value(json_object_get(object, "n")), 0);
    CHECK_EQUAL(json_integer_value(json_object_get(object, "min_ns")), 0);
    json_decref(object);
}

/* Values of every magnitude, counts from 1 to more than two bytes of a varint. */
static void fill(void)
{
    uint64_t state = 88172645463325252ULL;

    histogram_clear(&histogram);
    for (unsigned i = 0; i < 200000; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        histogram_record(&histogram, (state >> 11) % (1ULL << (1 + i % 33)));
    }
    for (unsigned i = 0; i < 100000; i++)
        histogram_record(&histogram, 12345);
}

static const char decoder[] = "import sys\n"
                              "try:\n"
                              "    from hdrh.histogram import HdrHistogram\n"
                              "except ImportError:\n"
                              "    print('skipped: no hdrhistogram package')\n"
                              "    sys.stdin.read()\n" /* without a reader pclose may fail */
                              "    sys.exit(0)\n"
                              "h = HdrHistogram.decode(sys.stdin.readline().strip())\n"
                              "assert (h.lowest_trackable_value, h.highest_trackable_value,\n"
                              "        h.significant_figures) == (1, 10_000_000_000, 3)\n"
                              "n = 0\n"
                              "for line in sys.stdin:\n"
                              "    value, count = map(int, line.split())\n"
                              "    assert h.get_count_at_value(value) == count, (value, count)\n"
                              "    n += count\n"
                              "assert h.get_total_count() == n, (h.get_total_count(), n)\n";

static void python_reads_every_count(const char *python)
{
    char command[4096];
    char *hdr = histogram_encode(&histogram);
    FILE *pipe;

    CHECK(hdr != NULL);
    (void)setenv("LABKIT_DECODER", decoder, 1);
    (void)snprintf(command, sizeof(command), "'%s' -c \"$LABKIT_DECODER\"", python);
    pipe = popen(command, "w");
    CHECK(pipe != NULL && hdr != NULL);
    if (pipe == NULL || hdr == NULL)
        return;
    (void)fprintf(pipe, "%s\n", hdr);
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i++)
        if (histogram.counts[i] != 0)
            (void)fprintf(pipe, "%" PRIu64 " %" PRIu64 "\n", histogram_value_at(i), histogram.counts[i]);
    CHECK_EQUAL(pclose(pipe), 0);
    free(hdr);
}

int main(void)
{
    const char *python = getenv("LABKIT_PYTHON"); /* one that has the hdrhistogram package */

    (void)signal(SIGPIPE, SIG_IGN);
    known_values();
    every_index_stands_for_the_values_that_are_counted_there();
    a_value_is_kept_to_three_digits();
    recording_keeps_extremes_sum_and_overflow();
    an_empty_one_can_be_written();
    fill();
    python_reads_every_count(python != NULL ? python : "python3");
    return CHECKS_DONE();
}
