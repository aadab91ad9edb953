/* SPDX-License-Identifier: MIT */
/*
 * moment.c - an option's time: as such, or as an age
 */
#include "cli/cli.h"

#include "daemon/config/config.h"

#include <stdint.h>

int cli_parse_moment(const char *verb, const char *option, const char *text, int64_t *ret_ms)
{
    uint64_t age_ms;

    if (!text || cli_parse_time(text, ret_ms))
        return CLI_CONTINUE;
    if (!config_parse_time(text, &age_ms) || age_ms > INT64_MAX)
        return cli_usage(verb,
                         "--%s is a time (RFC 3339) like 2026-11-01T12:00:00Z or "
                         "2026-11-01T13:00:00.5+01:00, or an age like 1h, not \"%s\"",
                         option, text);
    *ret_ms = cli_now().wall_ms - (int64_t)age_ms;
    return CLI_CONTINUE;
}
