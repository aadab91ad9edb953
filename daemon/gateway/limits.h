/* SPDX-License-Identifier: MIT */
/*
 * limits.h - the gateway's numbers: how large a batch is, how long what may wait
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_LIMITS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_LIMITS_H

#include <stdint.h>

#include "base/failpoint.h"
#include "store/spool.h"

/* The most that a batch holds (and one message more, in bytes); it bounds what a crash leaves
 * unacknowledged and how long a commit takes. */
#define GATEWAY_BATCH_MESSAGES 1000
#define GATEWAY_BATCH_BYTES    (UINT64_C(1024) * 1024)
/* With so much settled and not committed nothing more is forwarded. */
#define GATEWAY_SETTLED_BYTES (4 * GATEWAY_BATCH_BYTES)
/* The batch edge waits for an idle moment, but not longer than this. */
#define GATEWAY_EDGE_LATEST_MS 20
/* Settlements wait so long for company at the most: that of a slow stream then shares the
 * commit of the message after it, which spares flash (docs/performance.md). A crash repeats
 * what was settled meanwhile, within the window. */
#define GATEWAY_SETTLE_LATEST_MS FAILPOINT_SIZE("SPOOLD_SETTLE_MS", 2000)
/* What else is left to be committed, and no producer waits for. */
#define GATEWAY_WORK_LATEST_MS 250
/* Retention may end this many messages per millisecond since the last batch, in addition to
 * what the batch itself appended. While limits are still exceeded it runs again after
 * GATEWAY_RETAIN_PAUSE_MS. */
#define GATEWAY_RETAIN_PER_MS   5
#define GATEWAY_RETAIN_PAUSE_MS 10
/* While another program locks the database: one attempt to write in so long, each of which may
 * wait for GATEWAY_BUSY_MS; after the patience new messages are refused. At the end, when no
 * producer waits, the lock is waited for. */
#define GATEWAY_BUSY_MS            20
#define GATEWAY_BUSY_LAST_MS       5000
#define GATEWAY_LOCKED_RETRY_MS    250
#define GATEWAY_LOCKED_PATIENCE_MS 5000
/* Failure rows kept for `mqtt-spool failures`; the audit file has them all. */
#define GATEWAY_FAILURES_KEPT 250000
/* All outcome rows together take no more bytes than audit.max_waiting or GATEWAY_FAILURES_KEPT
 * of them, of this size: SPOOL_RECORD_OVERHEAD, and 48 for topic, client id and ref. */
#define GATEWAY_RECORD_BYTES (SPOOL_RECORD_OVERHEAD + 48)
#define GATEWAY_TICK_MS      1000
/* Between two statuses that are composed for subscriptions to it. */
#define GATEWAY_STATUS_PAUSE_MS 50
/* A message that waits for another broker of the list is offered to the link again after this;
 * so many of them in one run, then the loop has its turn. */
#define GATEWAY_OTHER_BROKER_MS 5000
#define GATEWAY_DEFERRED_RUN    100
/* While the link is refused: so many messages of a refused topic are passed over for each that
 * is tried, or so many bytes and one message. */
#define GATEWAY_SKIPPED_MESSAGES 256
#define GATEWAY_SKIPPED_BYTES    (4u << 20)
/* Between two commits while messages are refused because there is no room. */
#define GATEWAY_FULL_RETRY_MS 250

#endif
