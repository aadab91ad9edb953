/* SPDX-License-Identifier: MIT */
/*
 * uplink-private.h - what the files of the uplink share
 *
 *   core.c     the state as all of them see it: clock, timer, phase, window
 *   slots.c    messages: send into a slot, answer, sweep
 *   client.c   Paho's client and its callbacks
 *   resolve.c  the addresses behind a broker's host name
 *   link.c     the life of the connection: attempts, back-off, watchdogs
 *   uplink.c   life, settings, the mailbox, the timer: the ways into the loop
 *
 * Each calls only those above it; slots.c, client.c and resolve.c do not call
 * one another.
 *
 * Fields marked (locked) are written by Paho's threads too, under the mailbox's
 * mutex. All others belong to the loop thread. Paho's callbacks get numbers as
 * context, never pointers, and find the one uplink of the process here.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_UPLINK_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_UPLINK_UPLINK_PRIVATE_H

#include <MQTTAsync.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/mailbox.h"
#include "daemon/uplink/paho/paho_link.h"
#include "daemon/uplink/tls_files.h"
#include "daemon/uplink/uplink.h"

/* Paho looks at its own timeouts every 3 s only. */
#define UPLINK_GRACE_MS 4000

enum uplink_mail_kind {
    UPLINK_MAIL_SLOT,
    UPLINK_MAIL_EVENT,
    UPLINK_MAIL_TEXT,
    UPLINK_MAIL_LOOKUP
};

/* First member of everything that is posted, so that the loop can tell what it holds. */
struct uplink_mail {
    struct mail mail;
    enum uplink_mail_kind kind;
};

/* FREE -> SENT (loop) -> ANSWERED (a callback, posts) -> FREE (loop); or SENT -> FREE by the
 * sweep. */
enum uplink_slot_state { SLOT_FREE, SLOT_SENT, SLOT_ANSWERED };

struct uplink_slot {
    struct uplink_mail post;
    enum uplink_slot_state state;   /* (locked) */
    uintptr_t generation;           /* (locked) rises with each use */
    enum uplink_answer_kind answer; /* (locked) */
    int code;                       /* (locked) */
    uint64_t id;
    uint64_t size_bytes;
    uint8_t qos;
    SLIST_ENTRY(uplink_slot) free;
};

enum uplink_event_kind {
    UPLINK_CONNECTED,
    UPLINK_CONNECT_FAILED,
    UPLINK_DISCONNECTED_BY_BROKER, /* v5 DISCONNECT with a reason; UPLINK_LOST does not follow
                                    */
    UPLINK_LOST,
    UPLINK_CLOSED, /* the answer to our own disconnect */
    UPLINK_EVENT_COUNT
};

/* What a CONNACK announced; zero or the widest value where it did not. */
struct uplink_limits {
    unsigned receive_maximum;
    unsigned maximum_qos;
    uint64_t maximum_packet;
    bool retain_available;
    unsigned keepalive_s; /* 0: ours stays */
};

/*
 * One per kind and parity of the epoch, so that one of an epoch that is over
 * and was not read yet is never in the way of the same kind in the next epoch.
 * @busy keeps an event as it is until the loop has copied it.
 */
struct uplink_event {
    struct uplink_mail post;
    enum uplink_event_kind kind;
    bool busy; /* (locked) and the rest too */
    uintptr_t epoch;
    int code;
    bool is_connack;             /* code came in a CONNACK */
    struct uplink_limits limits; /* with UPLINK_CONNECTED */
    char text[UPLINK_TEXT_MAX];  /* what Paho says about it, often "" */
};

/* A line from Paho or OpenSSL, kept for the failure it explains; the first one wins. */
struct uplink_text {
    struct uplink_mail post;
    char text[UPLINK_TEXT_MAX]; /* (locked) */
};

/* What the caller of uplink_new() gave. */
struct uplink_owner {
    const struct uplink_ops *ops;
    void *userdata;
    bool is_change_due; /* ops->changed, see uplink_report() */
};

/* The one timer. What it means depends on the state of the link. */
struct uplink_timer {
    sd_event_source *source;
    bool is_armed;
    bool is_extended; /* the deadline was moved once, because the loop stood still */
};

/* What comes from other threads. */
struct uplink_inbox {
    struct mailbox mailbox;
    bool is_ready;
    sd_event_source *source;
    struct uplink_event events[2][UPLINK_EVENT_COUNT];
    struct uplink_text text;
};

/* Paho's client; a new one, or the same again, for each attempt. */
struct uplink_client {
    MQTTAsync handle;   /* NULL: there is none */
    uintptr_t epoch;    /* (locked) one for each attempt; events of older ones are ignored */
    bool is_destroying; /* (locked) what Paho calls back now is no late answer */
    bool is_tls;        /* Paho never takes TLS back from a client */
    bool is_unusable;   /* an attempt or messages may still be inside: the next one is new */
    uint64_t keepalive_set_ms; /* the setting of which keepalive_s was made */
    unsigned
        keepalive_s; /* of the newest attempt: the setting, lowered to what brokers demand */
    struct tls_files tls_files; /* of the newest attempt */
};

/* The messages in flight. */
struct uplink_slots {
    struct uplink_slot *array;
    unsigned count;
    SLIST_HEAD(, uplink_slot) free;
    unsigned in_flight;
    uint64_t in_flight_bytes;
    int64_t progress_ms; /* boot time of the last answer, or of the first message after none */
    _Atomic uint64_t late_answers; /* counted on any thread */
};

struct uplink_lookup;

struct uplink_resolver {
    struct mailbox *mailbox;    /* where the answers go */
    char host[UPLINK_TEXT_MAX]; /* of the attempt */
    SLIST_HEAD(, uplink_lookup) lookups;
};

/* What is known of one broker of the list. */
struct uplink_broker {
    char address[PAHO_LINK_ADDRESS_MAX]; /* of its host, the one tried last; "": none yet */
    bool is_address_suspect;             /* the last connection to it was no good one */
};

struct uplink_brokers {
    struct uplink_broker *list; /* one for each of the settings */
    size_t current;
    bool has_tried; /* the current one is connected to or being tried */
};

/* The newest attempt, and the connection that came of it. */
struct uplink_connection {
    struct uplink_limits limits;
    int64_t online_ms;                   /* boot time; 0: the attempt has not succeeded */
    bool is_proven;                      /* the broker acknowledged something */
    bool is_loss_suspected;              /* Paho refused a send, but no loss was reported yet */
    bool reconnects_at_once;             /* we end it, and it is no failure */
    unsigned unanswered;                 /* messages its end left without an answer */
    char library_error[UPLINK_TEXT_MAX]; /* a line of Paho or OpenSSL: the cause of a failure */
    char end_reason[UPLINK_TEXT_MAX];    /* when the broker or we gave one */
};

/* What successive attempts have to do with each other. */
struct uplink_retry {
    unsigned failed_attempts; /* since the last good connection */
    unsigned backoff_round;
    unsigned stalls; /* ack timeouts in a row */
    int64_t logged_ms;
};

struct uplink_error {
    char text[UPLINK_TEXT_MAX]; /* "": there was none */
    int64_t boot_ms;
};

enum uplink_link_state {
    LINK_STOPPED,
    LINK_WAITING,   /* for the next attempt */
    LINK_RESOLVING, /* an attempt, before Paho hears of it */
    LINK_CONNECTING,
    LINK_ONLINE,
    LINK_DROPPING, /* our own disconnect under way, another attempt follows */
    LINK_STOPPING
};

struct uplink {
    sd_event *event;
    const struct uplink_settings *settings; /* borrowed; see uplink_new() for what may change */
    struct uplink_owner owner;
    struct uplink_inbox inbox;
    struct uplink_timer timer;
    struct uplink_slots slots;
    struct uplink_resolver resolver;
    struct uplink_client client;
    struct uplink_brokers brokers;
    struct uplink_connection connection;
    struct uplink_retry retry;
    struct uplink_error last_error; /* as the status shows it */
    enum uplink_link_state state;
    int64_t since_boot_ms; /* when the state began, as the owner sees it */
    uint64_t connects;
};

/* The one uplink of the process; set before the first client and cleared after the last. */
extern struct uplink *uplink_instance;

/* core.c */
int64_t uplink_now_ms(void);
void uplink_timer_set(struct uplink_timer *timer, int64_t due_boot_ms);
void uplink_timer_set_in(struct uplink_timer *timer, uint64_t ms);
void uplink_timer_off(struct uplink_timer *timer);
void uplink_set_state(struct uplink *uplink, enum uplink_link_state state);
/* Calls ops->changed, if that is due. */
void uplink_report(struct uplink_owner *owner);
void uplink_set_error(struct uplink_error *error, const char *format, ...) PRINTF_LIKE(2, 3);
struct uplink_limits uplink_no_limits(void);
unsigned uplink_window(const struct uplink *uplink);
/* The broker that is connected to, being tried or the next to be tried. */
const char *uplink_broker_uri(const struct uplink *uplink);
bool uplink_uri_is_tls(const char *uri);

/* slots.c */
MUST_CHECK int uplink_slots_init(struct uplink *uplink);
void uplink_slots_done(struct uplink *uplink);
void uplink_on_slot(struct uplink *uplink, struct uplink_slot *slot);
/* The epoch's end: everything still open is answered UNKNOWN. */
void uplink_sweep(struct uplink *uplink);

/* link.c */
/* Was the timer, due at @due_us, late because the loop stood still? Then it was set anew. */
bool uplink_excuse(struct uplink *uplink, uint64_t due_us);
/* The timer is due: what that means is for the phase to say. */
void uplink_on_due(struct uplink *uplink);
void uplink_connect(struct uplink *uplink);
void uplink_disconnect(struct uplink *uplink, enum uplink_link_state state);
/* Also for a connection that never came to be. */
void uplink_end_connection(struct uplink *uplink, const char *reason);
void uplink_on_event(struct uplink *uplink, struct uplink_event *event);
void uplink_on_text(struct uplink *uplink);
/* Full jitter: 0 to min * 2^round, at most max. @random: any 64 bits. */
uint64_t uplink_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned round, uint64_t random);

void uplink_on_lookup(struct uplink *uplink, struct uplink_lookup *lookup);

/* resolve.c */
/* As Paho finds it in @uri, without brackets. */
void uplink_host_of(const char *uri, char host[static UPLINK_TEXT_MAX]);
bool uplink_host_is_address(const char *host);
/* The addresses of resolver->host are wanted; the answer comes as mail. Return: 0 or negative
 * errno. */
MUST_CHECK int uplink_resolve(struct uplink_resolver *resolver);
/* Is @lookup about resolver->host? */
bool uplink_lookup_matches(const struct uplink_resolver *resolver,
                           const struct uplink_lookup *lookup);
/* An answer that no attempt waits for. @lookup may be gone afterwards. */
void uplink_keep_lookup(struct uplink_resolver *resolver, struct uplink_lookup *lookup);
/* Chooses the address of the attempt at @broker; @lookup is gone afterwards. Return: is there one?
 * If not, @reason says why. */
bool uplink_use_lookup(struct uplink_resolver *resolver,
                       struct uplink_lookup *lookup,
                       struct uplink_broker *broker,
                       char reason[static UPLINK_TEXT_MAX]);
void uplink_explain_slow_lookup(const struct uplink_resolver *resolver,
                                uint64_t timeout_ms,
                                char reason[static UPLINK_TEXT_MAX]);
/* Before the mailbox goes: lookups under way end without it. */
void uplink_leave_lookups(struct uplink_resolver *resolver);

/* client.c */
/* Begins an attempt at uplink->broker. Return: is it under way? If not, @reason says why. */
bool uplink_client_connect(struct uplink *uplink, char reason[static UPLINK_TEXT_MAX]);
/* Return: is it under way? */
bool uplink_client_disconnect(struct uplink *uplink);
void uplink_destroy_client(struct uplink *uplink);
/* The client and all that the library keeps: its threads end. */
void uplink_leave_library(struct uplink *uplink);
/* The part of an OpenSSL error line that helps a person. */
void uplink_tls_text(const char *line, size_t size, char text[static UPLINK_TEXT_MAX]);

#endif
