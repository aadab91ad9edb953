/* SPDX-License-Identifier: MIT */
/*
 * status_page.h - the status as a page for a person
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_STATUS_PAGE_H
#define MQTT_SPOOLD_CLI_VERBS_STATUS_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* @root: the status object (docs/status.md), borrowed. */
struct status_page {
    const json_t *root;
    int64_t now_ms; /* wall clock: how old the object is */
    bool running;   /* the daemon does */
    bool is_own;    /* it wrote the object; else that was made from the database */
};

/* To standard output. */
void status_page_print(const struct status_page *page);

#endif
