/* SPDX-License-Identifier: MIT */
/*
 * gateway-private.h - the gateway's state, shared by its own files only
 *
 *   core.c         the turn's clock, its timers, the one failure, arming the edge
 *   publish.c      in: what becomes of a producer's PUBLISH
 *   intake.c       why messages are not accepted, noted and logged in one place
 *   edge.c         the batch edge: the one commit, then all that it makes true
 *   forward.c      out: to the broker, and what its answers make of a message
 *   clients.c      producers come, are admitted, and go
 *   audit_watch.c  when records wait for the audit file
 *   moved.c        when files of the spool were removed or renamed
 *   ticks.c        what happens by time alone
 *   status.c       what the outside sees: status file, STATUS= line
 *   stop.c         the steps of stopping
 *   spool_open.c   opens the spool, and what to do about one that does not open
 *   reload.c       HUP: what of a new configuration applies while running
 *   settings.c     from the configuration to each part's settings
 *   gateway.c      the parts put together: made, started, stopped, freed
 *
 * No two of them need each other, and none needs gateway.c, which registers the
 * callbacks of the event loop and of the parts.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_GATEWAY_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_GATEWAY_PRIVATE_H

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/gateway.h"
#include "daemon/host/service.h"
#include "daemon/ingress/listener.h"
#include "daemon/ingress/session.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

/* A batch is committed at once when it holds this much; it bounds what a crash leaves
 * unacknowledged and how long a commit takes. */
#define GATEWAY_BATCH_MESSAGES 1000
#define GATEWAY_BATCH_BYTES    (1024 * 1024)
/* With so much settled and not committed nothing more is forwarded. */
#define GATEWAY_SETTLED_BYTES (4 * GATEWAY_BATCH_BYTES)
/* The batch edge waits for an idle moment, but not longer than this. */
#define GATEWAY_EDGE_LATEST_MS 20
/* Settlements wait so long for company at the most: that of a slow stream then shares the
 * commit of the message after it, which spares flash (docs/performance.md). */
#define GATEWAY_SETTLE_LATEST_MS 250
/* Retention may end this many messages per millisecond since the last batch, in addition to what
 * the batch itself appended. While limits are still exceeded it runs again after
 * GATEWAY_RETAIN_PAUSE_MS. */
#define GATEWAY_RETAIN_PER_MS   5
#define GATEWAY_RETAIN_PAUSE_MS 10
/* While another program locks the database: one try to write in so long, each of which may wait
 * for GATEWAY_BUSY_MS; after the patience new messages are refused. At the end, when nobody else
 * waits, the lock is waited for. */
#define GATEWAY_BUSY_MS            20
#define GATEWAY_BUSY_LAST_MS       5000
#define GATEWAY_LOCKED_RETRY_MS    250
#define GATEWAY_LOCKED_PATIENCE_MS 5000
/* Failure rows kept for `mqtt-spool failures`; the audit file has them all. */
#define GATEWAY_FAILURES_KEPT 250000
/* All outcome rows together take no more bytes than audit.max_waiting or GATEWAY_FAILURES_KEPT of
 * them, of this size: SPOOL_RECORD_OVERHEAD, and 48 for topic, client id and ref. */
#define GATEWAY_RECORD_BYTES (SPOOL_RECORD_OVERHEAD + 48)
#define GATEWAY_TICK_MS      1000
/* Between two lines of the log about messages that ended undelivered. */
#define GATEWAY_EVICTED_LOG_MS 10000
/* Between two commits while messages are refused for want of room. */
#define GATEWAY_FULL_RETRY_MS 250

/* Counted since the start, for rates and the status. */
struct gateway_counters {
    uint64_t accepted; /* and committed */
    uint64_t ended;    /* by any outcome */
    uint64_t refused;  /* messages, also those of a batch that was rolled back */
    uint64_t clients_refused;
};

struct gateway_rates {
    int64_t since_boot_ms;
    uint64_t accepted;
    uint64_t ended;
    double in_per_s;
    double out_per_s;
    /* Of each lane, for the forecast; what was spooled is not known after the lanes changed. */
    bool lanes_known;
    uint64_t lane_messages[SPOOL_LANES_MAX];
    double lane_growth_per_s[SPOOL_LANES_MAX];
};

/* Why nothing at all is accepted. */
enum gateway_full {
    GATEWAY_HAS_ROOM,
    GATEWAY_FULL_DISK,
    GATEWAY_FULL_AUDIT,
    GATEWAY_FULL_LOCKED,
    GATEWAY_FULL_MOVED
};

enum gateway_phase {
    GATEWAY_SERVING,
    GATEWAY_DRAINING,      /* TERM: what is in flight may still be answered */
    GATEWAY_DISCONNECTING, /* the uplink says goodbye */
    GATEWAY_ENDED
};

/* A session and what the gateway notes about it. Owned by the list it is in: clients or closed. */
struct client {
    TAILQ_ENTRY(client) link;
    TAILQ_ENTRY(client) owing_link;
    TAILQ_ENTRY(client) waiting_link;
    struct gateway *gateway;
    struct session *session;
    bool owing;
    bool waiting;
    bool surplus; /* one client too many */
    bool told;    /* the log says why it is turned away */
};
TAILQ_HEAD(client_list, client);

struct gateway {
    sd_event *event;
    struct config *config;
    struct spool *spool;
    struct audit *audit;
    struct listener *listener;
    struct uplink *uplink;

    const struct session_ops *session_ops; /* of every client; @owner: the client */
    struct client_list clients;            /* open ones */
    struct client_list owing;              /* with a message in the open batch */
    struct client_list waiting;            /* with a PUBLISH that was not taken yet */
    struct client_list closed;             /* freed at the batch edge */
    unsigned max_clients;   /* of the configuration, or less for want of descriptors */
    unsigned max_surplus;   /* of those above it that are heard */
    unsigned client_count;  /* without the surplus */
    unsigned surplus_count; /* above max_clients, to be told so */

    sd_event_source *edge;          /* idle priority, or at once */
    sd_event_source *edge_deadline; /* so that a busy loop cannot starve it */
    sd_event_source *tick;
    sd_event_source *status_timer;
    sd_event_source *stop_timer;
    sd_event_source *refill; /* idle priority: forward between two edges */
    sd_event_source *refill_deadline;
    bool edge_armed;
    bool edge_awaited; /* not armed, but edge_deadline will */
    bool refill_armed;

    enum gateway_phase phase;
    bool failed; /* a fatal error: nothing may be committed or acknowledged any more */
    bool moved;  /* nor now, but what only we hold has to be put back before the end */
    bool restore_logged;
    int64_t restore_due_ms;

    struct spool_salvage salvage; /* what the start did about a damaged spool; else all zero */
    int64_t salvaged_ms;          /* and when, by the wall clock; 0: it did nothing */
    struct clock_reading now;     /* as last read */
    int64_t started_boot_ms;
    struct gateway_counters counters;
    struct gateway_rates rates;

    unsigned appended; /* not yet committed */
    unsigned settled;  /* not yet committed: a crash would send them again */
    unsigned window;   /* of the uplink, as last told */
    enum uplink_state link_state;

    enum gateway_full full_why; /* while: */
    struct condition full;
    int64_t full_noted_ms;       /* when that reason was last found */
    struct condition disk_short; /* messages are refused or evicted for the disk */
    uint64_t disk_evictions;     /* of spool_disk_evictions(), as last seen */
    int64_t disk_look_ms;        /* no look before whether that is over */
    struct condition unsent;     /* no commit has room, so nothing is sent */
    unsigned full_commits;       /* in a row */
    struct condition lane_full[SPOOL_LANES_MAX]; /* by its limits: refused or held back */
    bool locked;                                 /* the database, by another program */
    int64_t locked_since_ms;
    int64_t locked_try_ms; /* not tried before */
    struct condition locking;
    struct condition status_unwritten;
    struct stat status_file; /* as it was written last; all zero: it was not */
    bool status_shared_told;
    unsigned transient_in_a_row;  /* refusals by the broker that may pass */
    int64_t acknowledged_boot_ms; /* by which a message ended; 0: none since the start */
    int64_t retained_ms;          /* boot time of the last batch */
    uint64_t evicted_unlogged;
    int64_t evicted_logged_ms;
    struct log_limit client_warnings;
    struct log_limit refusal_warnings;
    struct log_limit read_warnings;
    uint64_t reads_logged; /* of spool_reads_repeated() */
    struct log_limit token_warnings;
    struct condition audit_unwritten;
    bool audit_half_told; /* said once while that stands */
    bool audit_pruning_told;
    uint64_t audit_pruned_before; /* in earlier times of that kind */
};

/* core.c */
/* What the store says went wrong, as a value of the log; a longer text is cut. Returns @text. */
#define GATEWAY_ERROR_QUOTED_MAX 640
const char *gateway_quote_error(const char *error, char text[static GATEWAY_ERROR_QUOTED_MAX]);
void gateway_fail(struct gateway *gateway, int error, const char *what);
/* Before whatever is stamped or measured; what a dispatch read before a commit is too early. */
void gateway_read_clock(struct gateway *gateway);
/* Timers of the gateway run from now on and not from the time when the dispatch began. */
int gateway_add_timer(struct gateway *gateway,
                      uint64_t after_ms,
                      sd_event_time_handler_t handler,
                      int enabled,
                      sd_event_source **ret);
int gateway_set_timer(sd_event_source *timer, uint64_t after_ms);
int gateway_set_deadline(sd_event_source *deadline, uint64_t after_ms);
struct spool_time gateway_spool_time(const struct gateway *gateway);
void gateway_arm_edge(struct gateway *gateway);
/* For what nobody waits for; what is appended meanwhile has its edge at once all the same. */
void gateway_arm_edge_later(struct gateway *gateway, uint64_t after_ms);
void gateway_hasten_edge(struct gateway *gateway);
int gateway_on_edge_deadline(sd_event_source *source, uint64_t usec, void *owner);

/* publish.c; @owner: a client */
struct session_verdict
gateway_on_publish(void *owner, struct session *session, const struct session_publish *publish);

/* intake.c */
/* Of several reasons one stands: see the head of that file. */
void gateway_note_full(struct gateway *gateway, enum gateway_full why);
/* Why nothing was accepted just now, or within the last second. */
enum gateway_full gateway_is_full(const struct gateway *gateway);
bool gateway_lane_is_full(const struct gateway *gateway, unsigned lane);
void gateway_note_short_disk(struct gateway *gateway);
/* After a commit: was something evicted for the disk, is that over, has a commit had room? */
void gateway_watch_disk(struct gateway *gateway, bool had_room);
/* What is short, in words; "": nothing. Valid until the store is called again. */
const char *gateway_describe_disk(const struct gateway *gateway);
bool gateway_sends_nothing(const struct gateway *gateway);
void gateway_note_room(struct gateway *gateway);
void gateway_note_lane_full(struct gateway *gateway, unsigned lane);
void gateway_note_lane_room(struct gateway *gateway, unsigned lane);
bool gateway_prunes_audit(const struct gateway *gateway);
bool gateway_audit_is_full(const struct gateway *gateway);
/* For the log and the status; "" where there is room. */
const char *gateway_full_name(enum gateway_full why);
void gateway_note_locked(struct gateway *gateway);
void gateway_note_unlocked(struct gateway *gateway);
bool gateway_is_taken_for_locked(const struct gateway *gateway);
/* Once a second: what is over is reported, though no message came since. */
void gateway_look_for_room(struct gateway *gateway);
/* The lanes are those of the configuration now; they were @lanes: the conditions of a lane follow
 * its name. */
void gateway_keep_lane_conditions(struct gateway *gateway,
                                  const struct config_lane *lanes,
                                  size_t count);
/* How many more messages like those it holds a lane takes. */
double gateway_room_of(const struct config_limits *limits, const struct spool_lane_stats *lane);
/* Why nothing at all is taken; "": it is. */
const char *gateway_refusing(const struct gateway *gateway);
/* A lane that keeps what it has takes nothing more once it stands at its limit, also where nobody
 * has tried. */
bool gateway_takes_nothing(struct gateway *gateway, unsigned lane);
/* What of the new messages is not taken, for a line that ends with it. */
void gateway_describe_full(const struct gateway *gateway, char text[static 128]);

/* edge.c */
int gateway_on_edge(sd_event_source *source, void *owner);

/* forward.c */
int gateway_forward(struct gateway *gateway);
int gateway_on_refill(sd_event_source *source, void *owner);
int gateway_on_refill_deadline(sd_event_source *source, uint64_t usec, void *owner);
void gateway_on_answer(void *owner, const struct uplink_answer *answer);
void gateway_on_link(void *owner);

/* clients.c */
/* At the start and when max_clients has changed. */
void gateway_fit_clients(struct gateway *gateway);
int gateway_on_accept(void *owner, int fd, const struct peer *peer);
uint8_t gateway_on_connected(void *owner, struct session *session);
void gateway_on_closed(void *owner, struct session *session, const char *why);
void gateway_acknowledge(struct gateway *gateway);
void gateway_refuse_owed(struct gateway *gateway, uint8_t code);
/* Closes those that are owed an acknowledgement: whether their messages are stored is open. */
void gateway_drop_owed(struct gateway *gateway, uint8_t code, const char *why);
/* It has a message in the open batch, with or without an acknowledgement to come. */
void gateway_note_owing(struct client *client);
void gateway_note_waiting(struct client *client);
void gateway_resume_waiting(struct gateway *gateway);
void gateway_free_closed(struct gateway *gateway);
void gateway_close_sessions(struct gateway *gateway);
void gateway_free_sessions(struct gateway *gateway);

/* audit_watch.c */
/* Before a commit: may it remove records? */
void gateway_bound_audit(struct gateway *gateway);
/* After an export. */
void gateway_watch_audit(struct gateway *gateway);

/* moved.c */
/* After SPOOL_E_MOVED: refuses what is owed, and ends the loop when nothing can be lost by it. */
void gateway_on_moved(struct gateway *gateway);
/* By the tick. */
void gateway_verify_files(struct gateway *gateway);
/* At the end: one more try, and a line of what is lost. */
void gateway_give_moved_up(struct gateway *gateway);

/* ticks.c */
int gateway_on_tick(sd_event_source *source, uint64_t usec, void *owner);
int gateway_on_status_timer(sd_event_source *source, uint64_t usec, void *owner);
/* Also at the end. */
void gateway_log_repeated_reads(struct gateway *gateway);

/* status.c */
void gateway_publish_status(struct gateway *gateway);
/* What a person would look for has changed: do not wait for the interval. */
void gateway_hasten_status(struct gateway *gateway);
void gateway_remove_status(struct gateway *gateway);

/* stop.c */
/* To the next step, if this one has not ended by then. */
void gateway_set_stop_timer(struct gateway *gateway, uint64_t after_ms);
void gateway_stop_further(struct gateway *gateway);

/* spool_open.c */
/* Return: 0; GATEWAY_E_TOLD, GATEWAY_E_OPERATOR or GATEWAY_E_STOPPED. */
int gateway_open_spool(struct gateway *gateway);
/* What was in the way in the folder of the spool, after a call that may have moved it. */
void gateway_log_set_aside(void);
/* What to do about a spool that cannot be opened, in the words of the person who must do it. */
const char *gateway_spool_remedy(int condition);
#define GATEWAY_PATH_QUOTED_MAX 1024 /* of a path in the log; a longer one is cut */
const char *gateway_quote_directory(const struct gateway *gateway,
                                    char text[static GATEWAY_PATH_QUOTED_MAX]);

/* reload.c */
/* Also at the start. */
void gateway_log_left_lanes(struct gateway *gateway);

/* settings.c: borrowed from the configuration */
uint64_t gateway_records_max(const struct config *config);
struct audit_settings gateway_audit_settings(const struct config *config);
struct listener_settings
gateway_listener_settings(const struct config *config, const int *passed, size_t passed_count);

#endif
