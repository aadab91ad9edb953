/* SPDX-License-Identifier: MIT */
/*
 * uplink-private.h - what the files of the uplink share
 *
 *   core.c     clock, timer, window, last error, report to the owner
 *   progress.c whether the broker answers and the line carries
 *   aliases.c  topic aliases
 *   slots.c    messages: send into a slot, answer, sweep
 *   birth.c    messages about this gateway itself
 *   client.c   Paho's client and its callbacks
 *   presence.c the will, and answers to the messages of birth.c
 *   secret.c   a password in a file of its own
 *   attempt.c  one attempt to connect: secrets, TLS files, options
 *   file_check.c    are the files usable, and what is sent protected?
 *   certificates.c  when the certificates expire
 *   resolve.c  the addresses behind a broker's host name
 *   pacer.c    how fast messages may be sent
 *   state.c    the states of the link, and what is true in each
 *   limits.c   what a broker announced, and which message it takes
 *   files_mark.c  have the files of the settings changed?
 *   backoff.c  how long a pause is
 *   version.c  which version of MQTT, with "auto"
 *   retry.c    which broker is tried next, and when
 *   failback.c a connection has lasted, or is left for the first broker
 *   tls_reason.c  why a handshake of TLS failed, in words
 *   remedy.c   what the operator can do about an end
 *   reason.c   why an attempt or a connection ended, in words
 *   link.c     the life of the connection: attempts, events, deadlines, the end
 *   uplink.c   start and stop, the settings, the mailbox and the timer
 *
 * Each calls only those above it; slots.c, client.c and resolve.c do not call
 * one another. Each file has its struct, and a function that needs no more than
 * that takes it instead of struct uplink.
 *
 * Invariant: members marked (locked) are written by Paho's threads too, under the
 * mailbox's mutex; all others belong to the loop thread. Paho's callbacks get numbers
 * as context, never pointers, and find the one uplink of the process in uplink_instance.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_UPLINK_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_UPLINK_UPLINK_PRIVATE_H

#include <MQTTAsync.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "daemon/tls/tls_files.h"
#include "daemon/uplink/pacer.h"
#include "daemon/uplink/paho/paho_link.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"

/* Paho checks its own timeouts only every 3 s. */
#define UPLINK_GRACE_MS 4000

enum uplink_mail_kind {
    UPLINK_MAIL_SLOT,
    UPLINK_MAIL_EVENT,
    UPLINK_MAIL_TEXT,
    UPLINK_MAIL_LOOKUP
};

/* First member of everything that is posted: the loop sees what it has got. */
struct uplink_mail {
    struct mail mail;
    enum uplink_mail_kind kind;
};

/* FREE -> SENT (loop) -> ANSWERED (a callback, posts) -> FREE (loop). Without an answer of the
 * broker: SENT -> FREE by the sweep, or SENT -> ANSWERED -> ENDED (loop) -> FREE by the
 * sweep. */
enum uplink_slot_state { SLOT_FREE, SLOT_SENT, SLOT_ANSWERED, SLOT_ENDED };

struct uplink_slot {
    struct uplink_mail post;
    enum uplink_slot_state state;   /* (locked) */
    uint64_t generation;            /* (locked) rises with each use of the client */
    enum uplink_answer_kind answer; /* (locked) */
    int code;                       /* (locked) */
    int64_t answered_ms;            /* (locked) when the answer came */
    char *text;                     /* (locked) the broker's Reason String; NULL: none; owned */
    uint64_t id;
    uint64_t tag; /* of the message */
    uint64_t size_bytes;
    uint64_t number; /* of what was sent on the connection, from 1 on */
    unsigned alias;  /* that it establishes; 0: none */
    uint8_t qos;
    uint16_t packet_id; /* of Paho's; 0: QoS 0 */
    bool is_taken;      /* the peer has all of its bytes */
    STAILQ_ENTRY(uplink_slot) free;
    TAILQ_ENTRY(uplink_slot) order;
};

enum uplink_event_kind {
    UPLINK_CONNECTED,
    UPLINK_CONNECT_FAILED,
    UPLINK_DISCONNECTED_BY_BROKER, /* v5 DISCONNECT with a reason; no UPLINK_LOST follows */
    UPLINK_LOST,
    UPLINK_CLOSED, /* the answer to our own disconnect */
    UPLINK_EVENT_COUNT
};

#define CLIENT_ID_MAX 64

/* What a CONNACK announced; zero or the widest value if it did not. */
struct uplink_limits {
    unsigned receive_maximum;
    unsigned maximum_qos;
    uint64_t maximum_packet;
    bool retain_available;
    unsigned keepalive_s;          /* 0: ours stays */
    unsigned alias_maximum;        /* topic aliases */
    char client_id[CLIENT_ID_MAX]; /* its beginning; "": ours stays */
};

/*
 * One for each kind and parity of the epoch, so that an unread one of the last
 * epoch never occupies the place of the same kind in the next.
 * @is_unread keeps an event as it is until the loop has copied it.
 */
struct uplink_event {
    struct uplink_mail post;
    enum uplink_event_kind kind;
    bool is_unread; /* (locked) and the rest too */
    uintptr_t epoch;
    int code;
    bool is_connack;             /* code came in a CONNACK */
    struct uplink_limits limits; /* with UPLINK_CONNECTED */
    char text[UPLINK_TEXT_MAX];  /* Paho's message, often "" */
    char words[UPLINK_TEXT_MAX]; /* the broker's texts, to be put behind a reason; or "" */
};

/* A line of OpenSSL, kept for the failure that it explains; the first of an attempt counts. */
struct uplink_text {
    struct uplink_mail post;
    char text[UPLINK_TEXT_MAX]; /* (locked) */
};

/* What the caller of uplink_new() passed. */
struct uplink_owner {
    const struct uplink_ops *ops;
    void *userdata;
    bool is_change_due; /* ops->changed, see uplink_report() */
};

/* The one timer. What it means depends on the state of the link. */
struct uplink_timer {
    sd_event_source *source;
    bool is_armed;
    int64_t due_ms;   /* boot time, while it is armed */
    bool is_extended; /* the deadline was moved once, because the loop did not run */
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
    bool is_destroying; /* (locked) callbacks of now are no late answers */
    bool is_tls;        /* Paho never takes TLS back from a client */
    bool is_unusable;   /* an attempt or messages may still be inside: the next one is new */
    /* Of the newest attempt: */
    unsigned protocol; /* MQTTVERSION_3_1_1 or MQTTVERSION_5 */
    unsigned keepalive_s;
    struct tls_files tls_files;
};

/* More than a gateway with few topics needs; some brokers allow 10, some 65,535. */
#define ALIASES_MAX     64
#define ALIAS_TOPIC_MAX 255

struct uplink_alias {
    uint64_t id;   /* of the message that establishes it */
    uint32_t sum;  /* of the topic */
    uint16_t size; /* likewise; 0: the place is free */
    bool is_confirmed;
    uint8_t uses; /* lately */
    char topic[ALIAS_TOPIC_MAX];
};

/* Of the connection. */
struct uplink_aliases {
    unsigned count; /* those that the broker allows */
    unsigned misses;
    unsigned hand; /* the place that is looked at next */
    struct uplink_alias list[ALIASES_MAX];
};

struct uplink_alias_use {
    unsigned number; /* 0: none */
    bool
        omits_topic; /* else both are sent, and the answer is passed to uplink_alias_answer() */
};

/* The messages in flight. */
struct uplink_slots {
    struct uplink_slot *array;
    unsigned count;
    unsigned index_bits;     /* of the context of a callback; the rest is the generation */
    uint64_t generation_max; /* that the rest can hold */
    STAILQ_HEAD(, uplink_slot) free; /* the one that was not used for the longest time first */
    TAILQ_HEAD(, uplink_slot) sent;  /* in use, as they were sent: the oldest first */
    unsigned in_flight;
    uint64_t in_flight_bytes;
    _Atomic uint64_t late_answers; /* counted on any thread */
    char *topic; /* of the message being sent, with its prefix, as Paho takes it */
};

/* What keeps to the rates, see uplink_is_paced(). */
struct uplink_pace {
    struct pacer pacer;
    sd_event_source *source; /* enabled while nothing may be sent */
};

struct uplink_lookup;

struct uplink_resolver {
    struct mailbox *mailbox;    /* where the answers go */
    char host[UPLINK_TEXT_MAX]; /* of the attempt */
    SLIST_HEAD(, uplink_lookup) lookups;
};

/* The message of its own that is in flight, and what became of earlier ones: presence.c. */
struct uplink_presence_state {
    char *topic; /* with its prefix; NULL: there is none */
    bool is_birth_due;
    unsigned in_flight;
    bool is_leaving;             /* the offline message was sent */
    bool has_left;               /* and the broker has it */
    unsigned closed;             /* connections in a row that the broker closed at one */
    char error[UPLINK_TEXT_MAX]; /* why the newest one was refused; "": it was not */
    struct log_limit warnings;
};

/* What is known of the version of MQTT that a broker speaks: version.c. */
struct uplink_version {
    bool is_5_refused;  /* by a code: 3.1.1 is used */
    bool closes_at_5;   /* at the newest such CONNECT, without an answer */
    bool accepts_3_1_1; /* and has accepted 3.1.1 since */
    bool is_logged;
    unsigned trials;  /* of 5, since it accepted 3.1.1 */
    int64_t trial_ms; /* boot time of the next one */
};

/* The history of one broker of the list. */
struct uplink_broker {
    bool has_session; /* of the last connection, and no QoS 2 message is open in it */
    char address[PAHO_LINK_ADDRESS_MAX]; /* of its host, the one tried last; "": none yet */
    bool is_address_suspect;             /* the last connection to it was not a good one */
    unsigned failures; /* attempts, and connections that did not last, since one that did */
    unsigned moments;  /* of these: connections that were online, and did not last */
    unsigned backoff_round;
    int64_t next_try_ms; /* boot time; no attempt before */
    /* Boot times of the first and the newest failed attempt since it was connected to. */
    int64_t away_since_ms; /* 0: none has failed */
    int64_t away_until_ms;
    int64_t logged_ms;   /* boot time of the last line about it */
    unsigned suppressed; /* lines since then that were not logged */
    bool is_retry_due;   /* its loss was logged, and no attempt that failed since */
    unsigned window;     /* of the next connection, at first; 0: the whole one */
    bool has_limits;     /* of its newest CONNACK */
    bool is_usable;      /* with these limits */
    struct uplink_limits limits;
    struct uplink_version version;
    bool refuses_aliases;      /* it ended a connection for one */
    unsigned keepalive_s;      /* the lowest that it demanded; 0: none */
    uint64_t keepalive_set_ms; /* the setting at that time */
};

struct uplink_brokers {
    struct uplink_broker *list; /* one for each of the settings */
    size_t count;
    size_t current;
    bool has_tried; /* the current one is connected to or being tried */
    /* A planned change: the connection ends when nothing is in flight. */
    size_t target;
    bool is_leaving;
    size_t home; /* if the attempt at the target fails */
    bool has_home;
    const char *renewal; /* why target is the same broker, static; NULL: it is another one */
    size_t wanted;       /* by a message that the current one cannot take */
    bool is_other_wanted;
    bool is_leave_held;   /* by the owner, see uplink_hold_leave() */
    bool is_given_up;     /* the current one, see uplink_set_refused() */
    int64_t other_due_ms; /* boot time; it is not left for another before */
};

/* The newest attempt, and the connection that came of it. */
struct uplink_connection {
    struct uplink_limits limits;
    int64_t online_ms;       /* boot time; 0: the attempt has not succeeded */
    bool is_proven;          /* the broker acknowledged something */
    unsigned acknowledged;   /* of QoS 1 and 2, at most the window */
    unsigned window;         /* for now, see uplink_window(); 0: the whole one */
    bool has_accepted;       /* a message of the owner, of QoS 1 or 2 */
    bool is_fruitless;       /* of several brokers, one that takes no message */
    bool is_loss_suspected;  /* Paho refused a send, but no loss was reported yet */
    bool reconnects_at_once; /* we end it, and it is no failure */
    bool is_followed_here;   /* the next attempt is at the same broker */
    bool is_settled;         /* it has lasted */
    bool is_online_logged;
    uint64_t sent;                       /* messages */
    uint64_t answered;                   /* the newest of them with an answer; 0: none */
    unsigned unanswered;                 /* messages its end left without an answer */
    enum uplink_cause cause;             /* of its end; NONE: it has not ended */
    int connack_code;                    /* of a refused attempt; -1: there was none */
    bool is_broken;                      /* the attempt: by no code, and by no timeout */
    bool is_unprepared;                  /* the attempt did not get as far as the network */
    const char *remedy;                  /* a literal; NULL: see remedy.c */
    int end_code;                        /* of the broker's DISCONNECT; -1: it sent none */
    const struct uplink_slot *oldest;    /* at its end; NULL: nothing was without an answer */
    char library_error[UPLINK_TEXT_MAX]; /* a line of OpenSSL: the cause of a failure */
    char end_reason[UPLINK_TEXT_MAX];    /* when the broker or we gave one */
};

/* Of the connection: what is awaited of the broker, and since when. Boot times. */
struct uplink_progress {
    uint64_t taken; /* at the last check */
    uint64_t received;
    int64_t answer_ms; /* the oldest message was answered, became the only one or was carried */
    int64_t line_ms;   /* something came, or the peer took what was sent up to a PINGREQ */
};

/* The history of attempts, at any broker. */
struct uplink_retry {
    unsigned failed_attempts; /* in a row, at any broker */
    unsigned stalls;          /* ack timeouts in a row */
    int64_t due_ms;           /* boot time of the next attempt */
    uint64_t files_mark;      /* of the newest attempt, see uplink_files_mark() */
    /* While online: when the connection has lasted, and when to return to the first broker. */
    struct uplink_timer online_timer;
};

struct uplink_certificates {
    sd_event_source *timer;
    int64_t expires_ms; /* wall clock: the first of them; 0: there is none */
    int64_t logged_ms;  /* boot time of the last lines */
    bool has_logged;
};

struct uplink_error {
    char text[UPLINK_TEXT_MAX]; /* "": there was none */
    const char *remedy;         /* a literal; NULL: there was none */
    int64_t boot_ms;
};

enum uplink_link_state {
    LINK_STOPPED,
    LINK_WAITING,   /* for the next attempt */
    LINK_RESOLVING, /* an attempt: its host name is looked up */
    LINK_CONNECTING,
    LINK_ONLINE,
    LINK_PARTING,  /* the offline message is on its way, then STOPPING follows */
    LINK_DROPPING, /* our own disconnect under way, another attempt follows */
    LINK_STOPPING, /* the same, and no attempt follows */
    LINK_FREED,    /* uplink_free(): what the library reports now changes nothing */
    LINK_STATES
};

struct uplink {
    sd_event *event;
    const struct uplink_settings *settings; /* borrowed; see uplink_new() for what may change */
    struct uplink_owner owner;
    struct uplink_inbox inbox;
    struct uplink_timer timer;
    struct uplink_slots slots;
    struct uplink_pace pace;
    struct uplink_resolver resolver;
    struct uplink_client client;
    struct uplink_brokers brokers;
    struct uplink_connection connection;
    struct uplink_aliases aliases;
    struct uplink_progress progress;
    struct uplink_retry retry;
    struct uplink_presence_state presence;
    struct uplink_certificates certificates;
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
/* Calls ops->changed, if that is due. */
void uplink_report(struct uplink_owner *owner);
/* @remedy: a literal. */
void uplink_set_error(struct uplink_error *error, const char *remedy, const char *format, ...)
    PRINTF_LIKE(3, 4);
struct uplink_limits uplink_no_limits(void);
unsigned uplink_window(const struct uplink *uplink);
/* The broker that is connected to, being tried or the next to be tried. */
bool uplink_is_connected(const struct uplink *uplink);
const char *uplink_broker_uri(const struct uplink *uplink);
bool uplink_uri_is_tls(const char *uri);
/* The files of TLS by name, "": none is set. */
void uplink_tls_paths(const struct uplink_settings *settings,
                      const char *ret_paths[static TLS_FILES]);

/* progress.c */
enum uplink_health {
    UPLINK_HEALTHY,
    UPLINK_STALLED, /* the oldest message has no answer within ack_timeout */
    UPLINK_SILENT   /* PINGREQ has no answer */
};
/* The link is online: sets the timer. */
void uplink_progress_begin(struct uplink *uplink);
/* The first message after none is sent: sets the timer. */
void uplink_progress_expect(struct uplink *uplink);
/* The broker has answered the oldest message. @now_ms: as uplink_now_ms(). */
void uplink_progress_note_answer(struct uplink *uplink, int64_t now_ms);
/* If healthy: sets the timer for the next check, if there is anything to check. */
enum uplink_health uplink_progress_check(struct uplink *uplink);

/* aliases.c */
void uplink_aliases_begin(struct uplink_aliases *aliases, unsigned maximum);
/* For the message @id with @topic. @may_establish: its answer will be known. */
struct uplink_alias_use uplink_alias_choose(struct uplink_aliases *aliases,
                                            const char *topic,
                                            bool may_establish,
                                            uint64_t id);
/* Of the message that established alias @number; also if it was not sent. */
void uplink_alias_answer(struct uplink_aliases *aliases,
                         unsigned number,
                         uint64_t id,
                         bool is_delivered);

/* The id of messages that no owner sent: no message of the owner has it. */
#define UPLINK_OWN_ID UINT64_MAX

/* slots.c */
MUST_CHECK int uplink_slots_init(struct uplink *uplink);
void uplink_slots_done(struct uplink *uplink);
/* The client is a new one: generations begin again. */
void uplink_slots_restart(struct uplink *uplink);
/* Of a context, for so many slots. */
unsigned uplink_index_bits(unsigned count);
/* The greatest generation in a context of so many bits. */
uint64_t uplink_generation_max(unsigned pointer_bits, unsigned index_bits);
/* Does the rate keep the next message back? Then the timer of the pace is set, and reports
 * when it does not any more. */
bool uplink_is_paced(const struct uplink *uplink);
/* The timer of the pace has expired. */
void uplink_on_pace(struct uplink *uplink);
void uplink_on_slot(struct uplink *uplink, struct uplink_slot *slot);
/* The end of an epoch: everything without an answer is answered UNKNOWN, with the cause and the
 * text of uplink->connection. */
void uplink_sweep(struct uplink *uplink);
/* Is a QoS 2 message without an answer? */
bool uplink_has_open_qos2(const struct uplink *uplink);
/* Does no slot wait for an answer of the library? */
bool uplink_is_swept(struct uplink *uplink);

/* client.c */
/* Return of both: 0 or a code of Paho's. */
int uplink_create_client(struct uplink *uplink, const char *uri);
int uplink_set_callbacks(struct uplink *uplink);
void uplink_set_connect_callbacks(const struct uplink *uplink,
                                  MQTTAsync_connectOptions *options);
/* @code: of the DISCONNECT of version 5. Return: is it under way? */
bool uplink_client_disconnect(struct uplink *uplink, int code);
/* NULL handle: only forgets that it was unusable. */
void uplink_destroy_client(struct uplink *uplink);
/* The client and all that the library holds: its threads end. */
void uplink_release_library(struct uplink *uplink);
/* The readable part of an OpenSSL error line. */
void uplink_tls_text(const char *line, size_t size, char text[static UPLINK_TEXT_MAX]);

/* attempt.c */
/* Begins an attempt at the current broker. Return: is it under way? If not, @reason is set. */
bool uplink_attempt(struct uplink *uplink, char reason[static UPLINK_TEXT_MAX]);

/* file_check.c */
/* The name of the setting. */
const char *uplink_tls_key(enum tls_file file);

/* certificates.c */
/* Return: 0 or negative errno. */
MUST_CHECK int uplink_watch_certificates(struct uplink *uplink);

/* resolve.c */
/* As Paho finds it in @uri, without brackets. */
void uplink_host_of(const char *uri, char host[static UPLINK_TEXT_MAX]);
bool uplink_host_is_address(const char *host);
/* Looks resolver->host up; the answer comes as mail. Return: 0 or negative errno. */
MUST_CHECK int uplink_resolve(struct uplink_resolver *resolver);
/* Is @lookup about resolver->host? */
bool uplink_lookup_matches(const struct uplink_resolver *resolver,
                           const struct uplink_lookup *lookup);
/* Keeps an answer that no attempt waits for, or frees it. */
void uplink_cache_lookup(struct uplink_resolver *resolver, struct uplink_lookup *lookup);
/* Chooses the address of the attempt at @broker; frees @lookup. Return: is there one? If not,
 * @reason is set. */
bool uplink_apply_lookup(struct uplink_resolver *resolver,
                         struct uplink_lookup *lookup,
                         struct uplink_broker *broker,
                         char reason[static UPLINK_TEXT_MAX]);
void uplink_describe_slow_lookup(const struct uplink_resolver *resolver,
                                 uint64_t timeout_ms,
                                 char reason[static UPLINK_TEXT_MAX]);
/* Before the mailbox is destroyed: lookups under way end without it. */
void uplink_detach_lookups(struct uplink_resolver *resolver);

/* presence.c */
MUST_CHECK int uplink_presence_init(struct uplink *uplink);
void uplink_presence_done(struct uplink *uplink);
/* Does the attempt resume the session of the last connection? */
bool uplink_presence_resumes(const struct uplink *uplink);
/* The offline message, if there is one; @will and the texts live until MQTTAsync_connect(). */
void uplink_presence_set_will(const struct uplink *uplink,
                              MQTTAsync_willOptions *will,
                              MQTTAsync_connectOptions *options);
/* MQTT 5 only. Return: 0 or a code of Paho's. */
int uplink_presence_add_properties(const struct uplink *uplink,
                                   MQTTProperties *connect,
                                   MQTTProperties *will);
/* Is the offline message not at the broker yet, so that its will is needed? */
bool uplink_presence_is_unfinished(const struct uplink *uplink);
/* Is the broker to publish the will after our DISCONNECT? */
bool uplink_presence_wants_will(const struct uplink *uplink);
/* The answer to a message of birth.c. */
void uplink_presence_on_answer(struct uplink *uplink, const struct uplink_answer *answer);
/* Is there one, and does the broker take it? */
bool uplink_has_presence(const struct uplink *uplink);

/* birth.c */
/* A connection begins: the online message goes first. */
void uplink_birth_begin(struct uplink *uplink);
/* After mail and timers: what had no room before. */
void uplink_birth_continue(struct uplink *uplink);
/* Sends the offline message. Return: is it on its way? */
bool uplink_birth_leave(struct uplink *uplink);

/* state.c */
/* The only place that moves the link. The timer of the new state is set before. */
void uplink_set_state(struct uplink *uplink, enum uplink_link_state state);

/* remedy.c */
#define UPLINK_LOOK_AT_BROKER "look for this client id in the log of the broker"
#define UPLINK_CHECK_TLS                                                                       \
    "correct what the reason names: uplink.tls, uplink.brokers, the certificate of the "       \
    "broker, or the clock"
#define UPLINK_CHECK_TLS_PORT                                                                  \
    "write the broker's port for TLS in uplink.brokers (mostly 8883), or tcp:// if this port " \
    "is one without TLS; if it is the right one, look at the log of the broker"
/* What helps against the end of the attempt or connection; a literal without quotes. */
const char *uplink_remedy(const struct uplink *uplink);

/* version.c */
unsigned uplink_choose_protocol(const struct uplink_settings *settings,
                                const struct uplink_broker *broker);
/* Is it a refusal, of an attempt with version 5, by a broker that speaks 3.1.1 only? */
bool uplink_is_3_1_1_answer(const struct uplink *uplink, const struct uplink_event *event);
/* Do the settings exclude 3.1.1? */
bool uplink_needs_protocol_5(const struct uplink_settings *settings);
/* The next attempt, at once, is with 3.1.1, and so are the later ones at this broker. */
void uplink_fall_back(struct uplink *uplink, const struct uplink_event *event);
/* At the start: what the configured protocol costs. */
void uplink_log_protocol(const struct uplink_settings *settings);
/* Has the broker, or who stands before it, closed at the CONNECT of the attempt that ends, with
 * no byte of an answer? */
bool uplink_is_closed_unanswered(const struct uplink *uplink);
/* An attempt has failed: which version is the next one with, and is it at once? */
void uplink_judge_version(struct uplink *uplink);
/* A CONNACK of success. Return: may the connection be used? If not, it is left for a trial of
 * version 5. */
bool uplink_accept_version(struct uplink *uplink);
void uplink_forget_version(struct uplink_version *version, bool is_5_refused);
/* Boot time at which 5 is tried again at the broker in use; INT64_MAX: never. */
int64_t uplink_trial_due_ms(const struct uplink *uplink);

/* limits.c */
/* Keeps what the CONNACK announced. Return: NULL: the broker may be used; else the remedy, a
 * literal, and @reason is set, and @ret_code for the DISCONNECT. */
MUST_CHECK const char *uplink_take_limits(struct uplink *uplink,
                                          const struct uplink_limits *limits,
                                          char reason[static UPLINK_TEXT_MAX],
                                          int *ret_code);
/* The same of the broker in use, whose settings may have changed. */
MUST_CHECK const char *uplink_recheck_limits(const struct uplink *uplink,
                                             char reason[static UPLINK_TEXT_MAX],
                                             int *ret_code);
/* For the next attempt at @broker. */
unsigned uplink_keepalive_s(const struct uplink_settings *settings,
                            const struct uplink_broker *broker);
/* @packet: its bytes. Return: 0; UPLINK_E_TOO_LARGE, UPLINK_E_RETAIN: no broker of the list
 * takes it; UPLINK_E_OTHER_BROKER, and @ret_other: that one may. */
MUST_CHECK int uplink_check_limits(const struct uplink *uplink,
                                   uint64_t packet,
                                   bool has_retain,
                                   size_t *ret_other);

/* files_mark.c */
/* Changes with the password and TLS files of @settings. */
uint64_t uplink_files_mark(const struct uplink_settings *settings);

/* backoff.c */
/* min * 2^round, at most max. */
uint64_t uplink_backoff_limit_ms(uint64_t min_ms, uint64_t max_ms, unsigned round);
/* Full jitter: 0 to that limit. @random: any 64 bits. */
uint64_t uplink_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned round, uint64_t random);

/* retry.c */
/* That of the newest attempt, or of the next one. */
struct uplink_broker *uplink_broker(struct uplink *uplink);
/* How long a connection is online before it counts as a good one. */
int64_t uplink_lasting_ms(const struct uplink_settings *settings);
bool uplink_has_lasted(const struct uplink *uplink);
/* The next pause is the shortest again. */
void uplink_forgive(struct uplink_broker *broker);
/* After an end: chooses the next broker, and when it is tried. */
void uplink_plan_retry(struct uplink *uplink);
/* Sets the timer of LINK_WAITING. */
void uplink_set_wait(struct uplink *uplink);
/* Of several brokers: has the one in use accepted nothing, and left messages unanswered? */
bool uplink_is_mute(const struct uplink *uplink);
/* Its end: is the pause over, or was a file of the settings replaced? */
bool uplink_is_attempt_due(const struct uplink *uplink);
/* Each broker may be tried now, with the shortest pause after it. */
void uplink_end_pauses(struct uplink *uplink);
/* Lines about the current broker, or the one that was; of those that repeat, few. @has_lasted:
 * it is the last of a series. */
void uplink_log_online(struct uplink *uplink, bool has_lasted);
void uplink_log_lost(struct uplink *uplink, struct uplink_broker *broker, const char *uri);
void uplink_log_retry(struct uplink *uplink, struct uplink_broker *broker, const char *uri);
/*
 * If memory was short for a moment the library may keep a list in which something
 * is missing, and no connection of it works again (upstream: none known). Its last
 * client frees all of that. It costs the loop some 0.1 s, so it is done seldom,
 * and the longer the broker is away the more seldom.
 */
bool uplink_is_library_suspect(const struct uplink_retry *retry);

/* failback.c */
/* The link is online. */
void uplink_note_online(struct uplink *uplink);
/* After a change of what uplink_end_pauses() resets. */
void uplink_plan_leave(struct uplink *uplink);
/* retry.online_timer has expired. */
void uplink_on_online_timer(struct uplink *uplink);
/* Were files of the settings replaced since the connection that is online began? */
bool uplink_has_old_files(const struct uplink *uplink);
/* Leaves the broker for itself: with a new client. @reason: a literal. */
void uplink_renew(struct uplink *uplink, const char *reason);
/* Is the connection to be left for brokers.target now? */
bool uplink_is_leave_due(const struct uplink *uplink);
void uplink_log_leave(const struct uplink *uplink);

/* tls_reason.c */
/* Return: the remedy, and @reason is set; NULL: the seam does not know why. */
const char *uplink_describe_tls(const struct uplink *uplink,
                                char reason[static UPLINK_TEXT_MAX]);
/* If it does not, and neither does OpenSSL. Return: the remedy. */
const char *uplink_describe_tls_silence(const struct uplink *uplink,
                                        char reason[static UPLINK_TEXT_MAX]);

/* reason.c */
/* Not online within connect_timeout, and the attempt is still open. Return: the remedy; NULL:
 * that of its kind. */
const char *uplink_describe_timeout(const struct uplink *uplink,
                                    char reason[static UPLINK_TEXT_MAX]);
/* Did the attempt fail by the deadline of the library? */
bool uplink_is_timeout(const struct uplink_event *event);
/* An attempt that the library reported as failed. Takes the seam's errno. Return: the remedy, a
 * literal; NULL: that of its kind, see remedy.c. */
const char *uplink_describe_failure(const struct uplink *uplink,
                                    const struct uplink_event *event,
                                    char reason[static UPLINK_TEXT_MAX]);
/* Of a connection that the library reported as lost. */
enum uplink_cause uplink_cause_of_loss(const struct uplink *uplink);
/* A connection that ended; valid until the next attempt. */
const char *uplink_describe_loss(const struct uplink *uplink);

/* link.c */
/* If the timer, due at @due_us, was late because the loop did not run: sets it again, once.
 * Return: did it? */
bool uplink_extend_deadline(struct uplink *uplink, uint64_t due_us);
/* The timer has expired. */
void uplink_on_deadline(struct uplink *uplink);
/* Ends the connection for another broker, if that is due: after each turn of the mail. */
void uplink_leave_if_due(struct uplink *uplink);
/* Our own disconnect with @code; @state: LINK_DROPPING or LINK_STOPPING. */
void uplink_disconnect(struct uplink *uplink, enum uplink_link_state state, int code);
/* The first cause and the first reason count: what comes after is their consequence. */
void uplink_note_end(struct uplink_connection *connection,
                     enum uplink_cause cause,
                     const char *reason);
/* Also of a connection that was never online. */
void uplink_end_connection(struct uplink *uplink, const char *reason);
void uplink_on_event(struct uplink *uplink, struct uplink_event *event);
void uplink_on_text(struct uplink *uplink);
void uplink_on_lookup(struct uplink *uplink, struct uplink_lookup *lookup);

#endif
