/* SPDX-License-Identifier: MIT */
/* hidden_text.c - prints the ranges of code points that are never shown as they are,
 * one a line */
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"

int main(void)
{
    uint32_t first = 0;

    for (uint32_t code = 0; code <= 0x110000; code++) {
        bool was = code > 0 && text_is_hidden(code - 1);
        bool is = code < 0x110000 && text_is_hidden(code);

        if (is && !was)
            first = code;
        if (!is && was)
            (void)printf("%" PRIX32 " %" PRIX32 "\n", first, code - 1);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
