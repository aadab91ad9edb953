/* SPDX-License-Identifier: MIT */
/*
 * control-private.h - what the files of the control share
 *
 * control.c has the jobs and their states; control_admit.c bounds them; control_apply.c
 * does what is asked; control_reply.c answers. Each calls those behind it only. No other
 * file includes this.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_CONTROL_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_CONTROL_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/attr.h"
#include "daemon/control/request.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/control.h"
#include "daemon/gateway/gateway-private.h"
#include "store/spool.h"

/*
 *   WAITING -> STEPPING -> CHANGED -> RECORDED -> REPLYING
 *
 * Only what takes steps waits. What changes nothing begins with REPLYING. The job of a lost
 * batch goes from CHANGED back to STEPPING.
 */
enum control_state {
    CONTROL_WAITING,  /* for the job before it */
    CONTROL_STEPPING, /* a part of it in each batch */
    CONTROL_CHANGED,  /* all of it in memory or in the open batch */
    CONTROL_RECORDED, /* committed; its line goes to the audit file */
    CONTROL_REPLYING, /* done, or failed: its PUBLISH is acknowledged, then it is answered */
};

/* Of what walks over messages. */
struct control_walk {
    struct spool_selection selection; /* borrows from the request */
    enum spool_place place;
    struct spool_select *select;    /* owned; NULL: it begins at the first one */
    struct spool_selected selected; /* of show; borrows from @select */
    uint64_t listed;
    size_t payload_sent;
};

/* Of what ends or appends messages. */
struct control_steps {
    bool has_begun;
    bool was_cut_short;
    struct spool_changes committed; /* by the batches before */
    struct spool_changes batch;     /* in the open one */
    int64_t progress_boot_ms;       /* when it was last reported */
};

struct control_answers {
    char *topic; /* owned, as the next two are */
    uint8_t *correlation;
    char *unsent;         /* one that there was no room for; NULL: none */
    int64_t full_boot_ms; /* since when there is no room for @unsent; 0: there was */
    size_t correlation_size;
    size_t unsent_size;
    bool has_correlation;
    bool is_last_composed; /* no further one follows */
    bool is_too_large;     /* that is what it says */
};

struct control_job {
    TAILQ_ENTRY(control_job) link;
    enum control_state state;
    uint64_t pass;         /* of control_answer(), in which it was visited last */
    struct client *client; /* borrowed; NULL: it has left */
    uid_t uid;
    pid_t pid;
    bool is_awaited;  /* nothing is read from the client until it is acknowledged */
    bool has_command; /* the command is known, whatever else was wrong */
    struct request request;
    struct control_walk walk;
    struct control_steps steps;
    struct control_answers answers;
    int64_t retry_boot_ms; /* there is no room for it, or nothing to be found, before */
    uint8_t code;          /* with which its PUBLISH is acknowledged */
    char error[REQUEST_ERROR_MAX];
};

/* control_admit.c */

/* Has a job, whose request was read, a place beside those that there are? May close another
 * client that does not read its answers. */
bool control_admit(struct gateway *gateway, const struct control_job *job);

/* control_apply.c */

/* Does it end or append messages, a part in each batch? */
bool control_takes_steps(const struct request *request);

/* Begins the job, whose request is sound: sets its state, and error and code if it failed. */
void control_apply(struct gateway *gateway, struct control_job *job);
/* The next step of a job that is STEPPING; a small one if it @is_short. Return: 0; negative
 * errno. */
MUST_CHECK int
control_apply_step(struct gateway *gateway, struct control_job *job, bool is_short);
/* It has failed, and is answered so. @format: NULL: the error is there already. */
void control_fail(struct control_job *job, uint8_t code, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* It is committed: the line for the audit file, and the one in the log. */
void control_record(struct gateway *gateway, const struct control_job *job);

/* control_reply.c */

/* Sends what the client has room for. Return: is all of it sent, or is there no receiver? */
bool control_reply(struct gateway *gateway, struct control_job *job);
/* What is composed is not sent. @is_last: nothing else follows. */
void control_discard_answers(struct control_job *job, bool is_last);
/* How far a job that takes steps has come, now and then. */
void control_report_progress(struct gateway *gateway, struct control_job *job);

#endif
