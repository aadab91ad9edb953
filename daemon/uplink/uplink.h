/* SPDX-License-Identifier: MIT */
/*
 * uplink.h - the connection to the remote broker, through Eclipse Paho MQTT C
 *
 * One client for each connection, and one that never connects, so that the
 * library's threads stay. Paho's own reconnect, buffering, eviction and persistence
 * are never used. Messages are sent into slots: a slot's generation and index are
 * Paho's context, never a pointer and never the 16-bit MQTT token. A slot is
 * released by the first of success, failure, refused send and epoch sweep
 * (connection lost, destroy), so a callback that Paho loses cannot leak a message,
 * and a late one is counted and ignored.
 *
 * Thread: Paho's threads touch only their slot and the mailbox. All functions
 * here and all ops run on the loop thread; ops never run inside a call of
 * uplink_send(), and ops->answered may call no function of the uplink but uplink_get_link(),
 * uplink_room(), uplink_excuse_broker(), uplink_stay(), uplink_blame_topic(),
 * uplink_want_other(), uplink_is_away() and uplink_set_refused().
 *
 * Diagnostics: link_online, link_lost, link_retry, link_failback, link_renew, link_keepalive,
 * link_closed, link_limits, link_protocol, uplink_file_unusable, uplink_file_suspect,
 * uplink_insecure, uplink_certificate_dates, uplink_setting_unusable.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_UPLINK_H
#define MQTT_SPOOLD_DAEMON_UPLINK_UPLINK_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "base/view.h"
#include "daemon/uplink/settings.h"

enum uplink_state { UPLINK_IDLE, UPLINK_CONNECTING, UPLINK_ONLINE, UPLINK_CLOSING };

/* One message to forward; everything is copied before uplink_send() returns. */
struct uplink_message {
    uint64_t id;        /* comes back in the answer; below UINT64_MAX */
    struct view prefix; /* of the topic; may be empty */
    struct view topic;
    struct view payload;
    struct view properties; /* encoded MQTT 5 properties, left out on a 3.1.1 link */
    struct view stamp;      /* more of them, which are sent behind those */
    uint8_t qos;
    bool retain;
    uint64_t tag;      /* comes back in the answer */
    int64_t expiry_ms; /* what is left, -1: none; sent rounded up to seconds */
};

enum uplink_answer_kind {
    UPLINK_DELIVERED, /* QoS 1 and 2: the broker has it; QoS 0: the kernel has it */
    UPLINK_REFUSED,   /* the broker did not take it: code is its reason code (v5) */
    UPLINK_UNKNOWN    /* the connection ended first: send it again */
};
/* Why the connection ended before the broker answered. */
enum uplink_cause {
    UPLINK_CAUSE_NONE,          /* the broker answered */
    UPLINK_CAUSE_BROKER_CLOSED, /* it closed or reset the connection, or sent DISCONNECT */
    UPLINK_CAUSE_CUT,           /* the network broke it: no route, nothing came through */
    UPLINK_CAUSE_KEEPALIVE,     /* the broker no longer answered PINGREQ */
    UPLINK_CAUSE_STALLED,       /* we closed it: the oldest was not answered in time */
    UPLINK_CAUSE_DROPPED        /* we closed it: a stop, a new setting, a broken rule */
};
struct uplink_answer {
    uint64_t id;
    uint64_t tag; /* of the message */
    enum uplink_answer_kind kind;
    /* The broker's; UNKNOWN: of its DISCONNECT; -1: there is none. DELIVERED: only a code other
     * than 0, such as MQTT_NO_MATCHING_SUBSCRIBERS. */
    int code;
    int64_t boot_ms; /* when it came; QoS 0: when the kernel took the message; UNKNOWN: 0 */
    int64_t acknowledged_boot_ms; /* the same, if the broker answered; 0: it did not */
    /* UNKNOWN only: */
    enum uplink_cause cause;
    bool was_written; /* the peer's TCP took all of its bytes; true where that is not known */
    bool was_oldest;  /* it was sent first of those without an answer; one in a connection */
    bool was_passed;  /* the broker answered a message that was sent later */
    /* Borrowed until ops->answered returns, never NULL. REFUSED: the broker's Reason String,
     * unfiltered, at most UPLINK_TEXT_MAX - 1 bytes; UNKNOWN: why the connection ended. */
    const char *text;
};

struct uplink_ops {
    /* In the order in which the answers arrived; exactly one for each id that was sent. */
    void (*answered)(void *userdata, const struct uplink_answer *answer);
    /* The state changed, or there is room again: see uplink_room(). */
    void (*changed)(void *userdata);
};

/* The remedy if the broker refuses messages. */
#define UPLINK_CHECK_RIGHTS "check the rights and limits of this client id at the broker"

#define UPLINK_TEXT_MAX 256
struct uplink_link {
    enum uplink_state state;
    unsigned broker_index;        /* of the list, the one below */
    char broker[UPLINK_TEXT_MAX]; /* connected to or being tried; "" before the first attempt */
    /* "" when there was none, or the link has been good for a while since */
    char last_error[UPLINK_TEXT_MAX];
    int64_t last_error_boot_ms;     /* when; 0: as above */
    const char *remedy;             /* what helps against it, a literal; NULL: as above */
    int64_t since_boot_ms;          /* when the state began */
    int64_t next_attempt_boot_ms;   /* when the pause ends; 0: there is none */
    int64_t certificate_expires_ms; /* wall clock: the first of ours; 0: there is none */
    uint64_t connects;              /* successful ones */
    uint64_t late_answers;          /* counted and ignored */
    unsigned in_flight;
    /* Why the newest message of uplink.presence was refused; "": it was not */
    char presence_error[UPLINK_TEXT_MAX];
    const char *protocol; /* of the newest attempt: "5", "3.1.1"; "": there was none */
    unsigned window;      /* as the broker's Receive Maximum limits it now */
};
const char *uplink_state_name(enum uplink_state state);

enum {
    UPLINK_E_OFFLINE = 1, /* not connected */
    UPLINK_E_FULL,        /* no slot, the bytes of the window are used up, or the rate is */
    UPLINK_E_TOO_LARGE,   /* above the Maximum Packet Size of each broker of the list */
    UPLINK_E_RETAIN,      /* the brokers announced that they keep no retained messages */
    /* This broker does not take it, another one of the list does or may, and is tried when
     * nothing is in flight, but not often: offer it again after a while. */
    UPLINK_E_OTHER_BROKER,
    UPLINK_E_IMPOSSIBLE, /* no MQTT packet can hold it: no broker will ever take it */
    UPLINK_E_SETTINGS    /* logged: the settings cannot work */
};

struct uplink;

/*
 * uplink_new() - prepare; nothing connects before uplink_start()
 * @settings: borrowed until uplink_free(). Between two calls the owner may change any
 *            number but broker_count, protocol and window. backoff_*_ms apply from the
 *            next pause on, failback_ms from the next connection, keepalive_ms and
 *            connect_timeout_ms from the next attempt, ack_timeout_ms when the wait under
 *            way is over, window_bytes, max_qos and rate from the next
 *            message.
 *
 * Blocks no signal and starts no thread; the caller has blocked the signals it
 * handles, for Paho's threads inherit the mask at the first connect.
 *
 * Return: 0; UPLINK_E_SETTINGS: they cannot work, which is logged; negative errno: not
 * logged. A missing file is logged, and opened at each attempt.
 */
MUST_CHECK int uplink_new(sd_event *event,
                          const struct uplink_settings *settings,
                          const struct uplink_ops *ops,
                          void *userdata,
                          struct uplink **ret);
MUST_CHECK int uplink_start(struct uplink *uplink);

/*
 * uplink_send() - forward one message
 *
 * Return: 0: it is in flight and will be answered; any other UPLINK_E_*: it is
 * not, and will not be answered; negative errno.
 */
MUST_CHECK int uplink_send(struct uplink *uplink, const struct uplink_message *message);

/*
 * uplink_cork(), uplink_uncork() - around a run of uplink_send()
 *
 * While corked, Paho's sending thread is not woken; it is woken once at the
 * end. If it woke at the first message of a run, it would contend with the loop
 * for Paho's locks at each of the others. Never across a turn of the loop.
 */
void uplink_cork(struct uplink *uplink);
void uplink_uncork(struct uplink *uplink);

/* How many messages may be sent now; 0 unless online, and 0 while the rate allows none. */
unsigned uplink_room(const struct uplink *uplink);
void uplink_get_link(const struct uplink *uplink, struct uplink_link *ret);

/*
 * uplink_retry_now() - the settings, or what the operator knows, have changed
 *
 * Ends the pause before the next attempt; each broker has the shortest pause again, and with
 * protocol 0 is tried with version 5. A connection stays, unless the settings now exclude what
 * its broker announced, or a file of the settings was replaced: then it is replaced as well,
 * when nothing is in flight.
 */
void uplink_retry_now(struct uplink *uplink);

/*
 * uplink_hold_leave() - not to leave the broker in use for another one, by failback or for a
 * message that it does not take, while messages wait that it has not been offered
 *
 * Until it is called with false, or the connection ends.
 */
void uplink_hold_leave(struct uplink *uplink, bool is_held);

/*
 * uplink_want_other() - a message waits for broker @other of the list
 *
 * That one is tried when nothing is in flight, its pause is over and the broker in use is not
 * held, at most once in failback_ms; with failback_ms 0 in ten minutes.
 */
void uplink_want_other(struct uplink *uplink, size_t other);

/* Each attempt at broker @other of the list has failed for ten minutes or longer. */
bool uplink_is_away(const struct uplink *uplink, size_t other);

/*
 * uplink_set_refused() - the broker in use accepts no message, or accepts one again
 *
 * If it accepts none and the pause of another one of the list is over, it is left when nothing
 * is in flight, as after an attempt that failed: its pause grows, and the next one is tried. If
 * no other one may be tried now it stays, until this is called again.
 */
void uplink_set_refused(struct uplink *uplink, bool is_refused);

/* It was a message because of which connections ended, and it has ended: the pause of the
 * broker in use is the shortest again. */
void uplink_excuse_broker(struct uplink *uplink);
/* From ops->answered, with UPLINK_CAUSE_BROKER_CLOSED: the next attempt is at this broker, too,
 * however short the connection was, since no other one takes the message. */
void uplink_stay(struct uplink *uplink);
/* From ops->answered, with UPLINK_CAUSE_STALLED: the connection ends because the broker does
 * not answer this topic, while it answers others. The status and the log have it so. */
void uplink_blame_topic(struct uplink *uplink, const char *topic);

/*
 * uplink_stop() - no more sends, disconnect
 *
 * ops->changed is called when the state is IDLE. Messages that are still in flight
 * are answered UNKNOWN: the caller gives them time before.
 */
void uplink_stop(struct uplink *uplink);
/* Destroys the client, answers what is in flight UNKNOWN through ops, frees. NULL: nothing. */
void uplink_free(struct uplink *uplink);

/* What does not work with this build's way of linking Paho, for the log; NULL: nothing. */
const char *uplink_build_limitations(void);

#endif
