/* SPDX-License-Identifier: MIT */
/*
 * publish.h - the arguments of `mqtt-spool publish`, parsed
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_PUBLISH_H
#define MQTT_SPOOLD_CLI_VERBS_PUBLISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "cli/cli.h"
#include "daemon/config/config.h"

enum publish_source {
    PUBLISH_NOTHING, /* none was given yet */
    PUBLISH_TEXT,    /* -m: the argument */
    PUBLISH_FILE,    /* -f: a whole file */
    PUBLISH_LINES,   /* -l: standard input, one message a line */
    PUBLISH_INPUT,   /* -s: all of standard input */
    PUBLISH_IMPORT   /* of import: standard input, a message with all that it has a line */
};

/* All pointers are into argv, except user_properties itself, which is the caller's to free. */
struct publish_options {
    enum publish_source source;
    const char *text_or_file;
    const char *socket; /* NULL: as configured */
    const char *topic;
    const char *client_id; /* NULL: generated */
    unsigned version;      /* 4 or 5 */
    unsigned qos;
    bool is_retained;
    bool is_json;
    bool is_verbose;
    uint64_t timeout_ms;
    uint64_t max_packet; /* of the configuration; 0: not known */
    /* MQTT 5 alone */
    uint32_t expiry_s; /* 0: none */
    const char *content_type;
    const char *response_topic;
    const char *correlation;
    bool is_utf8;
    const char *ref;
    const char **user_properties; /* "NAME=VALUE", checked */
    size_t user_property_count;
};

/* Return: CLI_CONTINUE; or the exit code: help was printed, or what is wrong. */
MUST_CHECK int publish_parse(int argc, char **argv, struct publish_options *ret);

/*
 * publish_configure() - what was not given and the configuration has
 * @ret_config: set if it was read; @options point into it
 *
 * Return: CLI_CONTINUE; the exit code, reported.
 */
MUST_CHECK int publish_configure(const struct cli *cli,
                                 struct publish_options *options,
                                 struct config **ret_config);

#endif
