/* SPDX-License-Identifier: MIT */
/*
 * values.c - numbers, times and texts in arguments and on pages
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/text.h"
#include "store/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spool_time cli_now(void)
{
    struct clock_reading reading;

    clock_read(&reading);
    return (struct spool_time){
        .wall_ms = reading.wall_ms,
        .boot_ms = reading.boot_ms,
        .wall_credible = reading.synchronized,
    };
}

const char *cli_size(uint64_t bytes, char text[static CLI_SIZE_MAX])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(text, CLI_SIZE_MAX, "%" PRIu64 " B", bytes);
        return text;
    }
    while (size >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(text, CLI_SIZE_MAX, "%.1f %s", size, units[unit]);
    return text;
}

bool cli_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret)
{
    unsigned long long number;

    if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
        return false;
    errno = 0;
    number = strtoull(text, NULL, 10);
    if (errno != 0 || number < minimum || number > maximum)
        return false;
    *ret = number;
    return true;
}

const char *cli_printable(char *text, size_t size, const char *from)
{
    (void)text_show(text, size, from, strlen(from));
    return text;
}

/* "Z", or hours and minutes ahead of UTC; false when it is neither. */
static bool parse_offset(const char *text, int64_t *ret_ms)
{
    static const char form[] = "dd:dd";
    int hours, minutes;

    *ret_ms = 0;
    if ((*text == 'Z' || *text == 'z') && text[1] == '\0')
        return true;
    if ((*text != '+' && *text != '-') || strlen(text + 1) != strlen(form))
        return false;
    for (size_t i = 0; form[i] != '\0'; i++) {
        if (form[i] == 'd' ? text[i + 1] < '0' || text[i + 1] > '9' : text[i + 1] != form[i])
            return false;
    }
    hours = (text[1] - '0') * 10 + text[2] - '0';
    minutes = (text[4] - '0') * 10 + text[5] - '0';
    *ret_ms = (int64_t)(hours * 60 + minutes) * (*text == '-' ? -60000 : 60000);
    return hours < 24 && minutes < 60;
}

bool cli_parse_time(const char *text, int64_t *ret_wall_ms)
{
    char whole[] = "0000-00-00T00:00:00.000Z"; /* the one form that the clock knows */
    const size_t seconds = strlen("0000-00-00T00:00:00");
    size_t digits = 0;
    int64_t wall_ms, offset_ms;

    if (strlen(text) <= seconds)
        return false;
    memcpy(whole, text, seconds);
    if (whole[10] == 't')
        whole[10] = 'T';
    text += seconds;
    if (*text == '.') {
        digits = strspn(++text, "0123456789");
        if (digits < 1 || digits > 9)
            return false;
        memcpy(whole + seconds + 1, text, digits < 3 ? digits : 3);
    }
    if (!parse_offset(text + digits, &offset_ms) || !clock_parse(whole, &wall_ms))
        return false;
    *ret_wall_ms = wall_ms - offset_ms;
    return true;
}
