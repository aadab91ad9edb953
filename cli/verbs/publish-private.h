/* SPDX-License-Identifier: MIT */
/*
 * publish-private.h - what the files of `mqtt-spool publish` share
 *
 * Functions are listed from the lowest file to the highest: each file calls
 * those above it here only, and publish.c all of them.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_PUBLISH_PRIVATE_H
#define MQTT_SPOOLD_CLI_VERBS_PUBLISH_PRIVATE_H

#include <mosquitto.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/bytes.h"
#include "base/view.h"
#include "cli/lines.h"
#include "cli/verbs/publish.h"

#define PUBLISH_WINDOW 100 /* messages in flight */

/* A place in the window: a message that was sent and has no answer yet. */
struct publish_message {
    bool is_open;
    int mid;         /* the library's id */
    uint64_t number; /* from 1; with -l that of the line */
    size_t bytes;    /* of payload */
    unsigned qos;
    bool is_system_topic; /* begins with $ */
};

/* A message that is to be sent. */
struct publish_item {
    const char *topic;
    struct view payload;
    unsigned qos;
    bool is_retained;
    mosquitto_property *properties;
};

struct publisher;
/*
 * A line of input as a message. Return: true, it is to be sent, and the item is valid until the
 * next call; false: it is passed over, or publisher->ended is set and the cause reported.
 */
typedef bool publish_decode_fn(struct publisher *publisher,
                               const struct line *line,
                               uint64_t number,
                               struct publish_item *ret);

/* What was accepted although a message before it was refused. */
struct publish_order {
    uint64_t first_refused;  /* its number; 0: none */
    uint64_t accepted_after; /* with a number above it, */
    uint64_t last_accepted;  /* and the newest of them */
};

struct publisher {
    const struct publish_options *options;
    struct mosquitto *client;
    mosquitto_property *properties; /* of each message */
    struct lines lines;
    uint64_t line;             /* the number of the newest one */
    publish_decode_fn *decode; /* NULL: a line is a payload */
    void *userdata;            /* of decode */
    struct view single;        /* the payload, unless messages come in lines */
    struct publish_message messages[PUBLISH_WINDOW];
    unsigned in_flight;
    size_t in_flight_bytes;
    bool connected;
    bool ended; /* there is nothing more to send */
    bool lost;
    bool is_end_reported; /* the daemon gave a reason for it */
    bool timed_out;       /* the cause of lost: the connection stood, and nothing came */
    uint64_t sent;
    uint64_t accepted;
    unsigned refusals;
    struct publish_order order;
    int code;            /* of the first failure; EX_OK: none */
    int64_t progress_ms; /* when something was last sent or answered, CLOCK_BOOTTIME */
    char *json_memory;
    size_t json_size;
};

/* publish_text.c: MQTT has no room for more than 65535 bytes. NULL is not too long. */
bool publish_is_too_long(const char *text);
/* U+0001 to U+001F and U+007F to U+009F, which MQTT lets the library refuse in any text. */
bool publish_has_control(const char *text);
/* Return: EX_OK; EX_DATAERR, reported. */
MUST_CHECK int publish_check_topic(const char *topic);

/* From here on a v5 reason code is a refusal. */
#define PUBLISH_FIRST_REFUSAL 0x80

/* No CONNACK came. A connection that systemd or the kernel took for the daemon is no sign that
 * it runs. */
#define PUBLISH_NO_ANSWER                                                                      \
    "it cannot start, is stopped or is busy; systemctl status mqtt-spoold shows which; then "  \
    "try again"

/* publish_reason.c: of a v5 reason code. */
int publish_exit_code(int reason);
const char *publish_reason_text(int reason);
const char *publish_puback_text(const struct publish_message *message, int reason);
const char *publish_connack_text(int reason);
/* The reason code that a CONNACK means, which in 3.1.1 has codes of its own. */
int publish_connack_reason(const struct publisher *publisher, int code);
/* The reason code for an error of mosquitto_publish_v5(), as the daemon would have refused
 * it. */
int publish_library_reason(int result);

/* publish_report.c: notes a failure; the first one decides the exit code. */
void publish_fail(struct publisher *publisher, int code);
/* @id: the spool's; 0: it gave none. */
void publish_report_accepted(struct publisher *publisher,
                             const struct publish_message *message,
                             uint64_t id);
/* @is_too_large: no other try can succeed, whatever the code says. */
void publish_report_refused(struct publisher *publisher,
                            const struct publish_message *message,
                            int reason,
                            bool is_too_large);
/* Messages without an answer, and how many were accepted, unless all went well. */
void publish_report_end(struct publisher *publisher);

/* publish_properties.c: sets @publisher->properties, which the caller frees.
 * Return: EX_OK; EX_DATAERR or EX_UNAVAILABLE, reported. */
MUST_CHECK int publish_make_properties(struct publisher *publisher);
/* The user property spool-id of an answer; 0: there is none. */
uint64_t publish_read_id(const mosquitto_property *properties);
/* Does the answer say that the message is larger than its lane may get? */
bool publish_is_too_large(const mosquitto_property *properties);

/* publish_payload.c: the one message of @options; @bytes holds it unless it is an argument.
 * Return: EX_OK; EX_DATAERR, EX_NOPERM or EX_UNAVAILABLE, reported. */
MUST_CHECK int publish_read_payload(const struct publish_options *options,
                                    struct bytes *bytes,
                                    struct view *ret);

static inline bool publish_reads_lines(const struct publish_options *options)
{
    return options->source == PUBLISH_LINES || options->source == PUBLISH_IMPORT;
}

/* publish_send.c: CLOCK_BOOTTIME. */
int64_t publish_now_ms(void);
bool publish_has_room(const struct publisher *publisher);
/* Sends what is there and has room in the window. */
void publish_send(struct publisher *publisher);
/* One read of standard input. */
void publish_read_lines(struct publisher *publisher);
/* A message has its answer: its place in the window is free. */
void publish_close_message(struct publisher *publisher, struct publish_message *message);

/* publish_loop.c: connects, sends all that there is and reports what came of it. The caller has
 * set options, and what of properties, single, decode, json_memory and json_size is used.
 * Return: the exit code. */
MUST_CHECK int publish_exchange(struct publisher *publisher);

#endif
