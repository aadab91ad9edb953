/* SPDX-License-Identifier: MIT */
/*
 * gateway-private.h - the gateway as a whole: its parts, and what needs all of them
 *
 * A part is a struct of its own file, whose functions take that part and borrow
 * the others that they use; gateway.c puts them together. From the lowest to the
 * highest:
 *
 *   turn.c         the turn's clock, timers, the one failure
 *   edge_timer.c   when the batch edge runs
 *   stop.c         the steps of stopping
 *   intake.c       why messages are not accepted, noted and logged in one place
 *   access.c       what a local program may do, by the access list
 *   users.c        a user for each uid that has clients: what its clients share
 *   batch.c        how the open batch is shared among users and their clients
 *   waiting.c      whose turn it is among the clients whose PUBLISH waits
 *   throttle.c     producers above the rate of their user wait
 *   subscriptions.c what a producer has subscribed to, and who may
 *   sessions.c     which sessions outlive their connections, and for how long
 *   clients.c      producers connect, are admitted, and leave
 *   clients_access.c what the access list allows a client while it is connected
 *   record_queue.c records that one client is to be sent, in memory
 *   outcome_topic.c the topics of outcomes
 *   replay.c       the records of a session's outbox, sent to its client
 *   outcomes.c     producers are sent how their messages ended
 *   feed.c         what producers are sent for their subscriptions
 *   audit_watch.c  when records wait for the audit file
 *   status.c       what is seen of the daemon: status file, STATUS= line
 *   moved.c        when files of the spool were removed or renamed
 *   verdict.c      what an answer means for its message and for the link
 *   refusal.c      when the broker refuses everything, and how it is then tried
 *   shape.c        how a message looks at the broker, by its lane
 *   stamp.c        user properties that say what a message is to the far side
 *   poison.c       which message the broker closes at
 *   careful.c      which message the process dies at
 *   forward.c      out: to the broker, and what its answers make of a message
 *   report.c       reports of failures, as messages
 *   seal_topic.c   seals of the audit file, as messages
 *   control_reply.c, control_apply.c, control.c
 *                  commands of operators: answers, what is done, jobs
 *   publish.c      in: what becomes of a producer's PUBLISH
 *   wills.c        messages that clients leave when they do not disconnect orderly
 *   edge.c         the batch edge: the one commit, then all that it makes true
 *   ticks.c        what happens by time alone
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

#include "base/attr.h"
#include "base/json.h"
#include "base/view.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/audit_watch.h"
#include "daemon/gateway/batch.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/control.h"
#include "daemon/gateway/counters.h"
#include "daemon/gateway/edge.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/feed.h"
#include "daemon/gateway/forward.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/moved.h"
#include "daemon/gateway/report.h"
#include "daemon/gateway/seal_topic.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/status.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/ticks.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/ingress/listener.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

struct gateway {
    struct config *config; /* owned, all five */
    struct spool *spool;
    struct audit *audit;
    struct listener *listener;
    struct uplink *uplink;
    struct turn turn;
    struct edge_timer edge_timer;
    struct stop stop;
    struct counters counters;
    struct intake intake;
    struct batch batch;
    struct clients clients;
    struct feed feed;
    struct audit_watch audit_watch;
    struct status status;
    struct moved moved;
    struct shape shape;
    struct forward forward;
    struct report report;
    struct seal_topic seal_topic;
    struct control control;
    struct edge edge;
    struct ticks ticks;
};

/* publish.c; @userdata: struct gateway. */
struct connection_verdict gateway_on_publish(void *userdata,
                                             struct client *client,
                                             const struct connection_publish *publish);

/* A producer's message, of the first lane that has a matching filter. Borrows all of it. */
struct spool_message gateway_message_of(const struct config *config,
                                        const struct packet_publish *packet,
                                        struct view kept_properties,
                                        struct view client,
                                        uint32_t uid);
/* Appends it to the open batch. Return: as spool_append(); SPOOL_E_BUSY has been noted, and is
 * returned without a try while that would only keep the loop waiting. */
MUST_CHECK int
gateway_append(struct gateway *gateway, const struct spool_message *message, uint64_t *ret);

/* Is it what a bridge of mosquitto publishes about itself, at its defaults? */
bool gateway_is_bridge_notification(struct view topic);

/* wills.c; as clients_will_ops has them, @userdata: struct gateway. */
uint8_t
gateway_check_will(void *userdata, struct client *client, const struct connection_will *will);
void gateway_take_will(void *userdata, struct client *client);
void gateway_resume_will(void *userdata, struct client *client, bool is_resumed);
/* Now and then: which delayed ones are due? */
void gateway_end_delays(struct gateway *gateway);
/* Into the open batch, as far as there is room. Return: 0; negative errno. */
int gateway_run_wills(struct gateway *gateway);
/* Its commit was made, or it was rolled back. */
void gateway_settle_wills(struct gateway *gateway, bool is_committed);

/* edge.c; @userdata: struct gateway. */
int gateway_on_edge(sd_event_source *source, void *userdata);

/* status.c */
void gateway_publish_status(struct gateway *gateway);
/* To those that have subscribed since the last one. */
void gateway_answer_status(struct gateway *gateway);
/* The object as it is now. Return: 0, or an error of the store: then the output is to be
 * discarded. */
MUST_CHECK int gateway_write_status(struct gateway *gateway, struct json *json);

/* ticks.c; @userdata: struct gateway. */
int gateway_on_tick(sd_event_source *source, uint64_t usec, void *userdata);
int gateway_on_status_timer(sd_event_source *source, uint64_t usec, void *userdata);
int gateway_on_status_asked(sd_event_source *source, uint64_t usec, void *userdata);

/* reload.c: also at the start. */
void gateway_log_left_lanes(struct gateway *gateway);

#endif
