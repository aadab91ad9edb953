/* SPDX-License-Identifier: MIT */
/*
 * metrics_page.h - the status object as metrics
 *
 * Prometheus text exposition format 0.0.4: names with their base units, counters end with
 * _total. Labels are lane, state, outcome, reason and version, whose values are few; never a
 * topic or a client id. docs/metrics.md has each metric.
 *
 * What is not known is left out. Counters come from the ledger in the database, so they never
 * step back; what the daemon counts since its start is a gauge.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_METRICS_PAGE_H
#define MQTT_SPOOLD_CLI_VERBS_METRICS_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct metrics_page {
    const json_t *root; /* the status object, borrowed */
    bool running;       /* a daemon runs */
    bool is_own;        /* and has written the object */
    bool is_json;       /* one JSON object a sample instead: name, type, labels, value */
};

/* What cannot be written is the caller's to find: ferror(). */
/* How each page begins. */
#define METRICS_PAGE_BEGINS "# HELP mqtt_spool_"
void metrics_page_print(const struct metrics_page *page, FILE *stream);

#endif
