/* SPDX-License-Identifier: MIT */
/*
 * status_source.h - the status object, of the daemon or from the files
 *
 * For the verbs that show it: status, its watch, and metrics. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_STATUS_SOURCE_H
#define MQTT_SPOOLD_CLI_VERBS_STATUS_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "cli/cli.h"
#include "daemon/config/config.h"

#define STATUS_SOURCE_INTERVAL_MS 5000 /* without a configuration */

/* Begins with zeros, except interval_ms; end it with status_source_done(). */
struct status_source {
    const char *directory; /* of an option; NULL: of the configuration, or not known */
    const char *socket;    /* likewise */
    uint64_t interval_ms;  /* between two writes of the status file */
    bool running_required;
    const struct config *config; /* NULL: not read, or only in part */
    struct config *owned_config;
    /* By status_source_load(): */
    bool running;
    bool is_own;  /* the object is that of the daemon, which runs */
    char *text;   /* the object, one line; owned */
    json_t *root; /* the same, parsed; owned */
};

/* What was not given comes from the configuration; with one of both given, only from a -c.
 * Return: EX_OK; the exit code, reported. */
MUST_CHECK int status_source_configure(struct status_source *status, const struct cli *cli);

/* Sets the object; may be called again for a newer one. Return: EX_OK; the exit code, reported,
 * and there is no object. */
MUST_CHECK int status_source_load(struct status_source *status);

void status_source_done(struct status_source *status);

#endif
