/* SPDX-License-Identifier: MIT */
/*
 * status_member.h - members of the status object, as the pages of the tool read them
 *
 * @part: a member of @root that holds the wanted one; NULL: @root itself. What is not there
 * is 0 or "". Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_STATUS_MEMBER_H
#define MQTT_SPOOLD_CLI_VERBS_STATUS_MEMBER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define STATUS_CELL_MAX 256

/* Borrowed; NULL: there is none. */
const json_t *status_member(const json_t *root, const char *part, const char *name);
int64_t status_integer(const json_t *root, const char *part, const char *name);
/* For a terminal, in the visible form of text.h. Returns @text. */
const char *status_text(const json_t *root,
                        const char *part,
                        const char *name,
                        char text[static STATUS_CELL_MAX]);
/* A number of bytes, for people: "3.4 MiB". Returns @text. */
const char *status_size(const json_t *root,
                        const char *part,
                        const char *name,
                        char text[static STATUS_CELL_MAX]);

/* "THE BROKER REFUSES 2 of 3 messages at their last try; each is sent again after a pause";
 * "": none, or the link is refused and refuses all. Returns @text. */
const char *status_refused_waiting(const json_t *root, char text[static STATUS_CELL_MAX]);

/* "3 messages delivered since the start had no subscriber at the broker"; "": none had.
 * Returns @text. */
const char *status_no_subscriber(const json_t *root, char text[static STATUS_CELL_MAX]);
#define STATUS_NO_SUBSCRIBER_REMEDY "subscribe there, or correct the topic"

/* The link is connected and has been good since its last error: the broker has acknowledged a
 * message since, and none waits that it refused at the last try; or the link came up since, and
 * none is to be sent. False: no, or not known. */
bool status_link_error_is_over(const json_t *root);

/* "next attempt in 12 s; at once: mqtt-spool flush"; "": the link waits for none. Returns
 * @text. */
const char *status_next_attempt(const json_t *root, char text[static STATUS_CELL_MAX]);

/* Of a member of "lanes": it is no longer configured. Nothing new comes to it, and its limits
 * are those of "default". */
bool status_lane_has_left(const json_t *lane);
/* A daemon runs, and the lane has no room for one more message of the size that it holds, so
 * that each new one evicts the oldest. */
bool status_lane_evicts(const json_t *lane);
/* A full lane may be so by its bytes too. */
bool status_lane_is_full_by_messages(const json_t *lane);
/* What to do: "bring the link back, or raise its max_messages and reload". Returns @text. */
const char *status_lane_remedy(const json_t *lane, char text[static STATUS_CELL_MAX]);

/* What to do about what a HUP did not apply for an error. @refused: configuration.refused. */
const char *status_refused_remedy(const char *refused);
/* Why the disk is short, with the figures of this object: those in spool.disk_short are of the
 * last measurement. Returns @text. */
#define STATUS_SHORTAGE_MAX 640
const char *status_disk_shortage(const json_t *root, char text[static STATUS_SHORTAGE_MAX]);
/* What to do while the disk is short. @detail: spool.disk_short. */
const char *status_disk_remedy(const char *detail);
/* What to do while the audit file is not written. @error: audit.error. */
const char *status_audit_remedy(const char *error);

#endif
