/* SPDX-License-Identifier: MIT */
/*
 * message_page.h - a message for a person, from its object of JSON
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_MESSAGE_PAGE_H
#define MQTT_SPOOLD_CLI_VERBS_MESSAGE_PAGE_H

#include <jansson.h>

void message_page_heading(void);
/* A line of list. */
void message_page_row(const json_t *message);
/* A page of show. */
void message_page(json_t *message);

#endif
