/* SPDX-License-Identifier: MIT */
/*
 * svg.h - one value for each step of time, as a chart
 *
 * The plot alone is SVG and is stretched to the width there is; the figures of its axes are
 * text beside it. So they are as large on a phone as on paper. Colours are classes of the
 * style.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_SVG_H
#define MQTT_SPOOLD_CLI_REPORT_SVG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/report/buckets.h"
#include "cli/report/pauses.h"

enum svg_form { SVG_COLUMNS, SVG_AREA };

struct svg_chart {
    const char *id;    /* of elements; a literal */
    const char *title; /* literals */
    const char *text;  /* what it shows, in a sentence */
    enum svg_form form;
    const char *colour; /* class of the values */
    bool is_bytes;      /* the values are bytes, else counts */
    const struct buckets *buckets;
    const uint64_t *values;      /* one for each step */
    const uint64_t *line;        /* NULL: none; a second value for each step, drawn as a line */
    const struct pauses *pauses; /* NULL: none; shown as bands */
};

/* Of at least one step, and a value that is not 0. */
void svg_put_chart(FILE *stream, const struct svg_chart *chart);

#endif
