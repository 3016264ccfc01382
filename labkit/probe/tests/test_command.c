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
    CHECK_EQUAL(command.generate.above_ns, 0);
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
    refused(GENERATE "\"load_pps\":1,\"count\":1,\"tag\":1,\"above_us\":0}", "bad-argument", "above_us");
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
/* With a tag each of 802.1ad and 802.1Q; all with 18 bytes of payload. */
#define TCP_IN_TWO_TAGS                                                                                      \
    "02000000000202000000000188a80064810000c808004500003a000000004006ee96c6120001c612"                       \
    "00024e200007000000000000000050102000b5730000000000000000000000000000000000000000"
#define TCP6                                                                                                 \
    "02000000000202000000000186dd6000000000260640200100020000000000000000000000012001"                       \
    "00020000000000000000000000024e20000700000000000000005010200001930000000000000000"                       \
    "000000000000000000000000"
#define ECHO                                                                                                 \
    "02000000000202000000000108004500002e000000004001eea7c6120001c61200020800a9df4e20"                       \
    "0000000000000000000000000000000000000000"
#define ECHO6                                                                                                \
    "02000000000202000000000186dd60000000001a3a40200100020000000000000000000000012001"                       \
    "00020000000000000000000000028000f1814e200000000000000000000000000000000000000000"
#define UDP6                                                                                                 \
    "02000000000202000000000186dd60000000001a1140200100020000000000000000000000012001"                       \
    "00020000000000000000000000024e200007001a718a000000000000000000000000000000000000"
#define FRAMES(data, signature, checksum, order, flows, fields)                                              \
    "{\"id\":1,\"cmd\":\"frames\",\"templates\":[{\"data\":\"" data "\",\"signature_offset\":" signature     \
    ",\"checksum_offset\":" checksum "}],\"order\":" order ",\"flows\":" flows ",\"fields\":[" fields "]}"
#define FIELD(offset, bytes, first, count)                                                                   \
    "{\"offset\":" offset ",\"bytes\":" bytes ",\"first\":" first ",\"count\":" count "}"
#define VALUES(offset, bytes, values) "{\"offset\":" offset ",\"bytes\":" bytes ",\"values\":[" values "]}"
#define PORTS(count) FIELD("34", "2", "65000", count)

static void templates_must_be_frames(void)
{
    CHECK_EQUAL(parse(FRAMES(FRAME, "42", "-1", "[0]", "1", PORTS("1"))), 0);
    CHECK_EQUAL(command.frames->templates[0].length, 60);
    CHECK_EQUAL(command.frames->port, htobe16(7));
    CHECK_EQUAL(command.frames->port_mask, 0xffff);
    CHECK(command.frames->plain);
    CHECK_EQUAL(parse(FRAMES(FRAME, "42", "40", "[0,0]", "536", PORTS("536"))), 0);
    CHECK_EQUAL(parse(FRAMES(TCP_IN_TWO_TAGS, "62", "58", "[0]", "1", "")), 0);
    CHECK_EQUAL(parse(FRAMES(ECHO, "42", "36", "[0]", "1", "")), 0);
    CHECK_EQUAL(command.frames->port_mask, 0);
    CHECK_EQUAL(parse(FRAMES(ECHO6, "62", "56", "[0]", "1", "")), 0);
    refused(FRAMES(FRAME, "43", "-1", "[0]", "1", ""), "bad-argument", "signature_offset");
    refused(FRAMES(FRAME, "42", "39", "[0]", "1", ""), "bad-argument", "checksum_offset");
    refused(FRAMES(ECHO, "42", "-1", "[0]", "1", ""), "bad-argument", "checksum_offset");
    refused(FRAMES(UDP6, "62", "-1", "[0]", "1", ""), "bad-argument", "checksum_offset");
    refused(FRAMES(FRAME, "42", "-1", "[1]", "1", ""), "bad-argument", "order[0]");
    refused(FRAMES(FRAME, "42", "-1", "[]", "1", ""), "bad-argument", "order");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "0", ""), "bad-argument", "flows");
    refused(FRAMES("zz" FRAME, "42", "-1", "[0]", "1", ""), "bad-argument", "data: no hex digit");
    refused(FRAMES("0", "42", "-1", "[0]", "1", ""), "bad-argument", "data");
}

static void fields_must_be_in_the_headers(void)
{
    refused(FRAMES(FRAME, "42", "-1", "[0]", "537", PORTS("537")), "bad-argument", "count");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "3", PORTS("2")), "bad-argument", "flows");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", ""), "bad-argument", "flows");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", FIELD("12", "2", "1", "2")), "bad-argument", "offset");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", FIELD("42", "2", "1", "2")), "bad-argument", "offset");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", FIELD("40", "2", "1", "2")), "bad-argument", "offset");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", FIELD("22", "4", "1", "2")), "bad-argument", "offset");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", FIELD("35", "2", "1", "2")), "bad-argument", "offset");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", FIELD("34", "3", "1", "2")), "bad-argument", "bytes");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", VALUES("34", "2", "1,65536")), "bad-argument", "values[1]");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", VALUES("34", "2", "")), "bad-argument", "values");
    refused(FRAMES(FRAME, "42", "-1", "[0]", "2", PORTS("2") "," FIELD("34", "4", "1", "2")), "bad-argument",
            "fields");
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

/* Whether the checksums of a frame are right, by RFC 1071: with them, the sums are all ones. */
static bool sums_are_right(const uint8_t *frame, uint32_t length)
{
    struct packet packet;
    uint32_t sum;

    if (!packet_find(frame, length, &packet))
        return false;
    if (packet.version == 4 && folded_sum(frame + packet.ip, packet.l4 - packet.ip) != 0xffff)
        return false;
    sum = folded_sum(frame + packet.l4, length - packet.l4);
    if (packet.protocol != IPPROTO_ICMP) {
        const uint32_t addresses = packet.version == 4 ? 8 : 32;

        sum += folded_sum(frame + packet.l4 - addresses, addresses);
        sum += packet.protocol + length - packet.l4;
    }
    return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

static void stamped(const char *line, void (*look)(const uint8_t *, uint32_t flow))
{
    uint8_t frame[128];
    const struct frame_template *template;

    CHECK_EQUAL(parse(line), 0);
    template = &command.frames->templates[0];
    CHECK(sums_are_right(template->data, template->length));
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t flow = (uint32_t)(i % command.frames->flows);

        memcpy(frame, template->data, template->length);
        frames_stamp(frame, template, command.frames, flow, (uint16_t)(i * 7 + 1), i * i * 977,
                     i << (i % 40));
        CHECK(sums_are_right(frame, template->length));
        look(frame, flow);
    }
}

static void two_ports(const uint8_t *frame, uint32_t flow)
{
    CHECK_EQUAL(packet_u16(frame + 42), 1000 + flow % 4);
    CHECK_EQUAL(packet_u16(frame + 44), 9 - flow % 3);
    CHECK_EQUAL(frame[37], 1 + flow % 2);
}

static void one_port(const uint8_t *frame, uint32_t flow)
{
    CHECK_EQUAL(packet_u16(frame + 54), 20000 + flow);
    CHECK(frame[20] == IPPROTO_TCP || packet_u16(frame + 60) != 0); /* UDP says "none" by zero */
}

static void echo(const uint8_t *frame, uint32_t flow)
{
    CHECK_EQUAL(packet_u16(frame + 38), 20000 + flow);
}

static void addresses(const uint8_t *frame, uint32_t flow)
{
    CHECK_EQUAL(packet_u16(frame + 36), flow == 0 ? 0xffff : flow);
}

/* Whatever is stamped, all checksums follow. */
static void checksums_follow_what_is_stamped(void)
{
    stamped(FRAMES(TCP_IN_TWO_TAGS, "62", "58", "[0]", "12",
                   FIELD("42", "2", "1000", "4") "," VALUES("44", "2", "9,8,7") "," FIELD("34", "4",
                                                                                          "3323068417", "2")),
            two_ports);
    stamped(FRAMES(UDP6, "62", "60", "[0]", "500", FIELD("54", "2", "20000", "500")), one_port);
    stamped(FRAMES(TCP6, "74", "70", "[0]", "500", FIELD("54", "2", "20000", "500")), one_port);
    stamped(FRAMES(ECHO, "42", "36", "[0]", "500", FIELD("38", "2", "20000", "500")), echo);
    stamped(FRAMES(ECHO6, "62", "56", "[0]", "3", VALUES("34", "4", "4294967295,1,2")), addresses);
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
    fields_must_be_in_the_headers();
    checksums_follow_what_is_stamped();
    lines_of_any_length_are_told_apart();
    command_free(&command);
    return CHECKS_DONE();
}
