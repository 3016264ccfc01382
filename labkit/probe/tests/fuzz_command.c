/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer: no line, whatever is in it, breaks the command reader; what it accepts is within its own limits.
 */
#include <stdlib.h>

#include "command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct command command;
    struct error err = {.code = ""};

    if (command_parse((const char *)data, size, &command, &err) != 0) {
        if (err.code[0] == '\0')
            abort();
    } else if (command.kind == COMMAND_FRAMES) {
        const struct frame_set *frames = command.frames;

        for (unsigned i = 0; i < frames->order_count; i++) {
            const struct frame_template *template = &frames->templates[frames->order[i]];
            uint8_t *frame = malloc(template->length);

            if (frame == NULL)
                abort();
            memcpy(frame, template->data, template->length);
            frames_stamp(frame, template, frames, frames->flows - 1, 65535, UINT64_MAX, UINT64_MAX);
            free(frame);
            if (i == 100)
                break;
        }
    }
    command_free(&command);
    return 0;
}
