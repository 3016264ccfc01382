/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "command.h"
#include "line_reader.h"

static struct command command;
static struct error err;

static int parse(const char *line)
{
    command_free(&command);
    memset(&err, 0, sizeof(err));
    return command_parse(line, strlen(line), &command, &err);
}

static void refused(const char *line, const char *code, const char *said)
{
    int outcome = parse(line);

    if (outcome == 0 || strcmp(err.code, code) != 0 || strstr(err.message, said) == NULL) {
        checks_failed++;
        (void)fprintf(stderr, "%s\n  expected %s with \"%s\", got %s: %s\n", line, code, said, err.code,
                      err.message);
    }
}

static void what_is_well_formed_is_taken(void)
{
    CHECK_EQUAL(parse("{\"id\":7,\"cmd\":\"generate\",\"load_pps\":1e6,\"duration_s\":0.5,\"tag\":9}"), 0);
    CHECK_EQUAL(command.id, 7);
    CHECK_EQUAL(command.kind, COMMAND_GENERATE);
    CHECK_EQUAL(command.generate.duration_ns, 500000000);
    CHECK_EQUAL(command.generate.drain_quiet_ns, 20000000);
    CHECK_EQUAL(command.generate.drain_max_ns, 40000000);
    CHECK_EQUAL(command.generate.late_ns, 0);
    CHECK_EQUAL(command.generate.burst, 32);
    CHECK(command.generate.expect_return && !command.generate.closed && !command.generate.unpaced);
    CHECK_EQUAL(parse("{\"id\":1,\"cmd\":\"generate\",\"load_pps\":null,\"count\":5,\"tag\":65535,\"loop\":"
                      "\"closed\"}"),
                0);
    CHECK(command.generate.unpaced && command.generate.counted && command.generate.closed);
    CHECK_EQUAL(parse("{\"id\":1,\"cmd\":\"reflect\"}"), 0);
    CHECK_EQUAL(command.reflect.swap, SWAP_ALL);
    CHECK(!command.reflect.impaired);
    CHECK_EQUAL(parse("{\"id\":1,\"cmd\":\"reflect\",\"swap\":\"mac\",\"impair\":{\"drop_one_in\":3}}"), 0);
    CHECK_EQUAL(command.reflect.impairment.drop_one_in, 3);
    CHECK_EQUAL(parse("{\"id\":1,\"cmd\":\"open\",\"core\":null,\"ports\":[{}]}"), 0);
    CHECK_EQUAL(command.core, -1);
    CHECK_EQUAL(parse("{\"id\":-1,\"cmd\":\"quit\"}"), 0);
}

static void what_is_not_is_refused_by_name(void)
{
    refused("", "bad-json", "");
    refused("{", "bad-json", "");
    refused("7", "bad-json", "");
    refused("{\"id\":1,\"id\":2,\"cmd\":\"quit\"}", "bad-json", "duplicate");
    refused("{\"cmd\":\"quit\"}", "bad-argument", "id");
    refused("{\"id\":1}", "bad-argument", "cmd");
    refused("{\"id\":1,\"cmd\":\"fly\"}", "bad-argument", "fly");
    refused("{\"id\":1,\"cmd\":\"quit\",\"x\":1}", "bad-argument", "x: unknown field");
#define GENERATE "{\"id\":1,\"cmd\":\"generate\","
    refused(GENERATE "\"load_pps\":-3,\"count\":1,\"tag\":1}", "bad-argument",
            "load_pps: expected a number > 0");
    refused(GENERATE "\"count\":1,\"tag\":1}", "bad-argument", "load_pps");
    refused(GENERATE "\"load_pps\":1,\"tag\":1}", "bad-argument", "exactly one");
    refused(GENERATE "\"load_pps\":1,\"count\":1,\"duration_s\":1,\"tag\":1}", "bad-argument", "exactly one");
    refused(GENERATE "\"load_pps\":1,\"count\":1,\"tag\":0}", "bad-argument",
            "tag: expected an integer from 1 to 65535");
    refused(GENERATE "\"load_pps\":1,\"count\":1,\"tag\":1,\"burst\":65}", "bad-argument", "burst");
    refused(GENERATE "\"load_pps\":1,\"count\":1,\"tag\":1,\"loop\":\"round\"}", "bad-argument", "loop");
    refused(GENERATE "\"load_pps\":1,\"count\":1,\"tag\":1,\"loop\":\"closed\",\"return\":false}",
            "bad-argument", "return");
    refused(GENERATE "\"load_pps\":1,\"count\":99999999999999,\"tag\":1}", "bad-argument",
            "count: expected at most");
    refused(GENERATE "\"load_pps\":null,\"duration_s\":86400,\"tag\":1}", "bad-argument",
            "duration_s: expected at most");
    refused("{\"id\":1,\"cmd\":\"reflect\",\"impair\":{\"drop_one_in\":1}}", "bad-argument", "drop_one_in");
    refused("{\"id\":1,\"cmd\":\"reflect\",\"impair\":{\"drop_one_in\":2,\"cap_pps\":1}}", "bad-argument",
            "at most one");
    refused("{\"id\":1,\"cmd\":\"reflect\",\"swap\":\"ip\"}", "bad-argument", "swap");
    refused("{\"id\":1,\"cmd\":\"open\",\"ports\":[]}", "bad-argument", "ports");
    refused("{\"id\":1,\"cmd\":\"open\",\"ports\":[1]}", "bad-argument", "ports[0]");
    refused("{\"id\":1,\"cmd\":\"open\",\"core\":-1,\"ports\":[{}]}", "bad-argument", "core");
    CHECK(command.has_id);
    CHECK_EQUAL(command.id, 1);
}

/* 64 bytes with FCS: Ethernet, IPv4, UDP from port 65000 to port 7, room for the signature. */
#define FRAME                                                                                                \
    "0200000000020200000000010800"                                                                           \
    "4500002e0000000040110000c6120001c6120002"                                                               \
    "fde80007001a0000"                                                                                       \
    "000000000000000000000000000000000000"
#define FRAMES(data, signature, checksum, version, order, flows, offset)                                     \
    "{\"id\":1,\"cmd\":\"frames\",\"templates\":[{\"data\":\"" data "\",\"signature_offset\":" signature     \
    ",\"udp_checksum_offset\":" checksum ",\"ip_version\":" version "}],\"order\":" order                    \
    ",\"flows\":" flows ",\"flow_offset\":" offset "}"

static void templates_must_be_frames(void)
{
    CHECK_EQUAL(parse(FRAMES(FRAME, "42", "-1", "4", "[0]", "1", "34")), 0);
    CHECK_EQUAL(command.frames->templates[0].length, 60);
    CHECK_EQUAL(command.frames->templates[0].source_port, 65000);
    CHECK_EQUAL(command.frames->templates[0].destination_port, 7);
    CHECK_EQUAL(parse(FRAMES(FRAME, "42", "40", "4", "[0,0]", "536", "34")), 0);
    refused(FRAMES(FRAME, "42", "-1", "4", "[0]", "537", "34"), "bad-argument", "flows");
    refused(FRAMES(FRAME, "43", "-1", "4", "[0]", "1", "34"), "bad-argument", "signature_offset");
    refused(FRAMES(FRAME, "42", "39", "4", "[0]", "1", "34"), "bad-argument", "udp_checksum_offset");
    refused(FRAMES(FRAME, "42", "-1", "6", "[0]", "1", "34"), "bad-argument", "ip_version");
    refused(FRAMES(FRAME, "42", "-1", "4", "[1]", "1", "34"), "bad-argument", "order[0]");
    refused(FRAMES(FRAME, "42", "-1", "4", "[]", "1", "34"), "bad-argument", "order");
    refused(FRAMES(FRAME, "42", "-1", "4", "[0]", "0", "34"), "bad-argument", "flows");
    refused(FRAMES(FRAME, "42", "-1", "4", "[0]", "1", "36"), "bad-argument", "flow_offset");
    refused(FRAMES("zz" FRAME, "42", "-1", "4", "[0]", "1", "34"), "bad-argument", "data: no hex digit");
    refused(FRAMES("0", "42", "-1", "4", "[0]", "1", "34"), "bad-argument", "data");
}

static uint32_t folded_sum(const uint8_t *data, uint32_t length)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)data[i] << 8 | data[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* Whatever is stamped, the sum over the UDP part stays what it was in the template: the checksum follows. */
static void the_checksum_follows_what_is_stamped(void)
{
    uint8_t frame[60];
    const struct frame_template *template;
    uint32_t before;

    CHECK_EQUAL(parse(FRAMES(FRAME, "42", "40", "4", "[0]", "500", "34")), 0);
    template = &command.frames->templates[0];
    before = folded_sum(template->data + 34, 26);
    for (uint64_t i = 0; i < 20000; i++) {
        memcpy(frame, template->data, sizeof(frame));
        frames_stamp(frame, template, 34, (uint32_t)(i % 500), (uint16_t)(i * 7 + 1), i * i * 977,
                     i << (i % 40));
        uint32_t after = folded_sum(frame + 34, 26);
        /* 0 and 0xffff are the same number in ones' complement. */
        CHECK(after % 0xffff == before % 0xffff);
        CHECK(frame[40] != 0 || frame[41] != 0);
    }
}

static void lines_of_any_length_are_told_apart(void)
{
    struct line_reader reader;
    const char *line;
    size_t length;
    int ends[2];
    char longer[40];

    memset(longer, 'x', sizeof(longer));
    CHECK_EQUAL(pipe(ends), 0);
    CHECK_EQUAL(line_reader_init(&reader, ends[0], 16), 0);
    CHECK_EQUAL(write(ends[1], "one\n\n", 5), 5);
    CHECK_EQUAL(write(ends[1], longer, sizeof(longer)), sizeof(longer));
    CHECK_EQUAL(write(ends[1], "\n0123456789abcdef\nlast", 22), 22);
    (void)close(ends[1]);
    CHECK_EQUAL(line_reader_next(&reader, &line, &length), LINE_READY);
    CHECK(length == 3 && memcmp(line, "one", 3) == 0);
    CHECK_EQUAL(line_reader_next(&reader, &line, &length), LINE_READY);
    CHECK_EQUAL(length, 0);
    CHECK_EQUAL(line_reader_next(&reader, &line, &length), LINE_TOO_LONG);
    CHECK_EQUAL(line_reader_next(&reader, &line, &length), LINE_READY);
    CHECK(length == 16 && memcmp(line, "0123456789abcdef", 16) == 0);
    CHECK_EQUAL(line_reader_next(&reader, &line, &length), LINE_READY);
    CHECK(length == 4 && memcmp(line, "last", 4) == 0);
    CHECK_EQUAL(line_reader_next(&reader, &line, &length), LINE_END);
    line_reader_free(&reader);
    (void)close(ends[0]);
}

int main(void)
{
    what_is_well_formed_is_taken();
    what_is_not_is_refused_by_name();
    templates_must_be_frames();
    the_checksum_follows_what_is_stamped();
    lines_of_any_length_are_told_apart();
    command_free(&command);
    return CHECKS_DONE();
}
