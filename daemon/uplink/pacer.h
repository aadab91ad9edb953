/* SPDX-License-Identifier: MIT */
/*
 * pacer.h - how fast messages may be sent: two token buckets, of messages and of bytes
 *
 * A bucket holds what may be sent at once, at most the rate of one second, and is filled
 * with the rate. A message needs a whole one in the bucket of messages, and any in that
 * of bytes: then the bucket is in debt, so that a message larger than the rate is sent,
 * too, and the pause after it is the longer. So in each interval no more is sent than
 * its seconds and one more allow, and one message.
 *
 * Time is an argument: nothing here reads a clock. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PACER_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PACER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/uplink/settings.h"

struct pacer_bucket {
    uint64_t rate;   /* a second, as last filled; 0: no limit */
    int64_t content; /* in thousandths; below 0: debt */
};

/* All zero: full buckets. */
struct pacer {
    struct pacer_bucket messages;
    struct pacer_bucket bytes;
    int64_t filled_boot_ms;
};

/* How long until the next message may be sent, in ms, by the rates of now; 0: at once. */
int64_t
pacer_wait_ms(const struct pacer *pacer, const struct uplink_rate *rate, int64_t boot_ms);
/* Is there a rate, or was there one at the last charge? If not, a charge changes nothing. */
bool pacer_has_limit(const struct pacer *pacer, const struct uplink_rate *rate);
/* A message of so many bytes was sent. */
void pacer_charge(struct pacer *pacer,
                  const struct uplink_rate *rate,
                  int64_t boot_ms,
                  uint64_t bytes);

#endif
