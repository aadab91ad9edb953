/* SPDX-License-Identifier: MIT */
/*
 * message_json.h - messages of the spool's files, each as an object of JSON
 *
 * In the form of daemon/record/selected.h.
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_MESSAGE_JSON_H
#define MQTT_SPOOLD_CLI_VERBS_MESSAGE_JSON_H

#include <stdint.h>

#include "base/attr.h"
#include "store/spool.h"

enum message_detail {
    MESSAGE_BRIEF,    /* the members of record_write_selected(), */
    MESSAGE_FULL,     /* and those of record_write_details(), */
    MESSAGE_PAYLOADS, /* and the payload */
};

/* @json: one line without a newline, terminated; valid during the call. Return: EX_OK to
 * continue; else the walk ends and returns it. */
typedef int message_json_fn(void *userdata, const char *json);

/*
 * message_json_each() - calls @fn for the selected messages, at most @limit
 *
 * Return: EX_OK; what @fn returned; EX_TEMPFAIL, EX_DATAERR or EX_UNAVAILABLE, reported.
 */
MUST_CHECK int message_json_each(struct spool *spool,
                                 enum spool_place place,
                                 const struct spool_selection *selection,
                                 enum message_detail detail,
                                 uint64_t limit,
                                 message_json_fn *fn,
                                 void *userdata);

#endif
