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

enum publish_source {
    PUBLISH_NOTHING, /* none was given yet */
    PUBLISH_TEXT,    /* -m: the argument */
    PUBLISH_FILE,    /* -f: a whole file */
    PUBLISH_LINES,   /* -l: standard input, one message a line */
    PUBLISH_INPUT    /* -s: all of standard input */
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

#endif
