/* SPDX-License-Identifier: MIT */
/*
 * gateway_fakes.h - the gateway over a real spool, with all its other neighbours replaced
 *
 * Linked in place of the listener, the connections, the uplink, the audit and the
 * host. The spool is real and lies in a temporary folder; which of its calls fail
 * is for a case to say (--wrap), as is the time. Whatever the gateway asks of a
 * neighbour leaves a word in the trace, so that a case can compare the order.
 * Diagnostics are kept as lines.
 */
#ifndef MQTT_SPOOLD_TESTS_GATEWAY_FAKES_H
#define MQTT_SPOOLD_TESTS_GATEWAY_FAKES_H

#include "base/clock.h"
#include "base/peer.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/users.h"
#include "daemon/ingress/connection.h"
#include "daemon/ingress/listener.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "store/salvage/salvage.h"
#include "store/spool.h"

#define FAKES_LINES_MAX       256
#define FAKES_TRACE_MAX       4096
#define FAKES_CONNECTIONS_MAX 512
#define FAKES_MESSAGES_MAX    16
/* Of each answer, as if all messages were of one topic. */
#define FAKES_TAG      1
#define FAKES_SENT_MAX 4096

/* What a call of the spool returns in place of doing something. All zero: it does it. */
struct fake_result {
    int value;
    unsigned count; /* so many calls return it; 0: each */
};

struct connection {
    const struct connection_ops *ops;
    void *owner;
    struct peer peer;
    char client_id[32];
    unsigned connect_timeout_ms;
    bool is_closed;
    bool was_refused; /* as connection_was_refused() says */
    uint8_t code;     /* with which it was closed or refused */
    unsigned acknowledged;
    unsigned resumed;
    enum packet_version version; /* 0: 5 */
    struct connection_connect connect;
    struct connection_admission admission;
    uint8_t connect_code; /* as the owner answered last */
    bool unreleased[65536];
    uint8_t qos; /* of the next PUBLISH; 0: QoS 1 */
    uint16_t packet_id;
    bool is_owed; /* as connection_refuse_owed() answers */
    /* The PUBLISH that it keeps. */
    bool keeps;
    char topic[64];
    char payload[4096];
    struct connection_verdict verdict; /* of the last offer */
    bool is_confirming;                /* a SUBACK waits */
    bool awaits_room;
    bool closes_late;             /* until fakes_leave() it is closing only */
    struct connection_will *will; /* NULL: none */
    /* Messages to the client. */
    unsigned room; /* so many more are taken */
    unsigned sent;
    struct fake_message {
        char topic[128];
        char payload[4096]; /* cut */
        uint8_t qos;
        bool is_repeated;
        uint16_t packet_id;
        uint64_t tag;
    } messages[FAKES_MESSAGES_MAX]; /* the last ones, by their number */
};

struct fakes {
    char directory[64];
    const char *uplink_keys; /* more of group uplink in the configuration; NULL: none */
    sd_event *event;
    struct gateway *gateway; /* of the last fakes_open() */
    struct clock_reading now;
    uint64_t monotonic_us; /* of clock_monotonic_us() */
    uint64_t boot_us;      /* of clock_boot_us(), from which timers count */

    char trace[FAKES_TRACE_MAX];
    char lines[FAKES_LINES_MAX][1024];
    unsigned line_count;
    char systemd_status[512];
    unsigned journaled;

    struct fake_result open, survey, salvage, append, retain, commit, next, settle, give_back,
        verify, restore, set_lanes, get_ledger, get_stats, checkpoint, checkpoint_idle;
    unsigned idle_moments; /* calls of spool_checkpoint_idle() */
    struct spool_salvage salvaged;
    bool (*stop_asks)(void); /* of spool_stop_if() */
    struct spool_moved moved;
    uint64_t disk_evictions; /* reported besides the real ones, as the next five are */
    bool is_disk_short;
    uint64_t reads_repeated;
    uint64_t waiting, record_bytes, pruned;
    uint64_t settled_bytes;
    uint64_t waiting_max;               /* as the gateway set it last */
    char set_aside[64];                 /* of spool_take_set_aside(); "": nothing */
    char replaced_name[SPOOL_NAME_MAX]; /* of spool_restore() */

    struct connection *connections[FAKES_CONNECTIONS_MAX]; /* made since the start */
    unsigned connection_count;
    struct fake_result new_connection;

    const struct listener_ops *listener_ops;
    void *listener_owner;
    struct fake_result new_listener;
    bool is_listener_paused;

    const struct uplink_ops *uplink_ops;
    void *uplink_owner;
    const struct uplink_settings *uplink_settings; /* as given, borrowed */
    struct uplink_link link;
    unsigned room; /* of the uplink */
    uint64_t sent[FAKES_SENT_MAX];
    unsigned sent_count;
    uint64_t answer_tag;  /* of the next answers; 0: FAKES_TAG */
    char sent_topic[256]; /* of the last one */
    uint8_t sent_qos;
    struct fake_result send, new_uplink, start_uplink;
    uint64_t excluded_id;   /* up to this one: UPLINK_E_TOO_LARGE */
    bool is_leave_held;     /* of uplink_hold_leave() */
    char blamed_topic[256]; /* of uplink_blame_topic() */
    unsigned excuses;       /* calls of uplink_excuse_broker() */
    unsigned stays;         /* the same of uplink_stay() */
    size_t wanted;          /* of the newest call of uplink_want_other(); 0: none */
    bool is_refused;        /* of uplink_set_refused() */
    bool can_others_take;   /* or are they away: uplink_is_away() */
    unsigned retries;       /* calls of uplink_retry_now() */
    bool uplink_stops_late; /* it becomes idle by fakes_link_state() only */

    bool is_audit_broken;
    unsigned exports_left; /* so many exports leave more to do */
    int64_t audit_due_ms;
    bool is_audit_moved;
    unsigned admin_lines;  /* given to the audit */
    char admin_line[1024]; /* the last of them */
    bool does_admin_wait;  /* of audit_admin_waits() */
    struct fake_result export;
};
extern struct fakes fakes;

/* A folder and a loop; nothing is made yet. As a cmocka setup and teardown. */
int fakes_setup(void **state);
int fakes_teardown(void **state);
#define FAKES_TEST(name) cmocka_unit_test_setup_teardown(name, fakes_setup, fakes_teardown)

/* Makes the gateway with @extra added to the configuration. Returns what gateway_new() did. */
int fakes_new(const char *extra);
/* The same, which succeeds, and starts it; the link is online with a window of 100. */
struct gateway *fakes_open(const char *extra);
/* Loads a configuration as HUP does, and has the gateway take it over. */
void fakes_reload(const char *extra);
struct config *fakes_config(const char *extra);

/* A connection that has sent its CONNECT; NULL: it was rejected before it could. */
struct connection *
fakes_connect_session(const char *client_id, uid_t uid, bool is_clean, uint32_t expiry_s);
struct connection *fakes_connect(const char *client_id, uid_t uid);
struct connection *fakes_accept(uid_t uid);
uint8_t fakes_say_connect(struct connection *connection, const char *client_id);
/* Before its CONNECT: of QoS 1. */
void fakes_set_will(struct connection *connection, const char *topic, const char *payload);
struct connection_verdict
fakes_publish(struct connection *connection, const char *topic, const char *payload);
void fakes_leave(struct connection *connection);
/* Its SUBSCRIBE, answered. Return: the code. */
uint8_t fakes_subscribe(struct connection *connection, const char *filter, uint8_t qos);
/* It has room for so many more messages. */
void fakes_give_room(struct connection *connection, unsigned room);
/* Its PUBACK for the message with this tag. */
void fakes_acknowledge(struct connection *connection, uint64_t tag);
/* The newest message to it, which is there. */
const struct fake_message *fakes_message(const struct connection *connection);
/* @count clients "0", "1", ... of one user. */
void fakes_connect_many(struct connection **ret, unsigned count, uid_t uid);
/* The user of @uid, with one more client, which is active. */
struct user *fakes_add_client(struct users *users, uid_t uid);

/* The batch edge, now. */
void fakes_edge(void);
void fakes_pass_time(int64_t ms);
void fakes_tick(void);
void fakes_refill(void);
/* Everything that is ready on the loop. */
void fakes_run(void);
/* The broker's answer. */
void fakes_answer(uint64_t id, enum uplink_answer_kind kind, int code);
/* The broker closes the connection, and this was the oldest written message without an answer.
 * @code: of its DISCONNECT; -1: it sent none. */
void fakes_close_at(uint64_t id, int code);
/* The connection ends because a message was not answered in time; this one was written.
 * @was_passed: a later one was answered. */
void fakes_stall_at(uint64_t id, bool was_passed);
void fakes_link_state(enum uplink_state state);

/* The words since the last call, each followed by a space. Valid until the next call. */
const char *fakes_take_trace(void);
/* How many lines of the log hold @text. */
unsigned fakes_logged(const char *text);
void fakes_forget_log(void);
/* The exit code that the loop ends with; -1: it does not end. */
int fakes_exit_code(void);
struct spool_ledger fakes_ledger(void);
/* When the timer is due, from now on; -1: it is off or not there. */
int64_t fakes_due_ms(sd_event_source *timer);
/* It elapses, and everything that is ready then runs. */
void fakes_reach(sd_event_source *timer);

#endif
