/* SPDX-License-Identifier: MIT */
/*
 * pacer.c - how fast messages may be sent: two token buckets, of messages and of bytes
 *
 * Invariant: a bucket never holds more than its rate of one second. A rate that changes
 * applies from then on: a debt stays and is paid with the new rate.
 */
#include "daemon/uplink/pacer.h"

/* A bucket counts thousandths, so that it is filled by its rate each millisecond. */
#define UNIT INT64_C(1000)

static int64_t bucket_capacity(const struct pacer_bucket *bucket)
{
    return (int64_t)bucket->rate * UNIT;
}

static void bucket_fill(struct pacer_bucket *bucket, uint64_t rate, int64_t elapsed_ms)
{
    bool had_limit = bucket->rate > 0;

    bucket->rate = rate;
    if (rate == 0 || !had_limit) {
        bucket->content = bucket_capacity(bucket);
        return;
    }
    int64_t missing = bucket_capacity(bucket) - bucket->content;
    if (missing <= 0 || elapsed_ms > missing / (int64_t)rate)
        bucket->content = bucket_capacity(bucket);
    else
        bucket->content += elapsed_ms * (int64_t)rate;
}

static void pacer_fill(struct pacer *pacer, const struct uplink_rate *rate, int64_t boot_ms)
{
    int64_t elapsed_ms = boot_ms - pacer->filled_boot_ms;

    bucket_fill(&pacer->messages, rate->messages, elapsed_ms);
    bucket_fill(&pacer->bytes, rate->bytes, elapsed_ms);
    pacer->filled_boot_ms = boot_ms;
}

/* @needed: in thousandths. */
static int64_t bucket_wait_ms(const struct pacer_bucket *bucket, int64_t needed)
{
    if (bucket->rate == 0 || bucket->content >= needed)
        return 0;
    return (needed - bucket->content + (int64_t)bucket->rate - 1) / (int64_t)bucket->rate;
}

int64_t
pacer_wait_ms(const struct pacer *pacer, const struct uplink_rate *rate, int64_t boot_ms)
{
    struct pacer filled = *pacer;

    pacer_fill(&filled, rate, boot_ms);
    int64_t messages_ms = bucket_wait_ms(&filled.messages, UNIT);
    int64_t bytes_ms = bucket_wait_ms(&filled.bytes, 1);
    return messages_ms > bytes_ms ? messages_ms : bytes_ms;
}

static void bucket_charge(struct pacer_bucket *bucket, uint64_t amount)
{
    if (bucket->rate > 0)
        bucket->content -= (int64_t)amount * UNIT;
}

bool pacer_has_limit(const struct pacer *pacer, const struct uplink_rate *rate)
{
    return rate->messages > 0 || rate->bytes > 0 || pacer->messages.rate > 0 ||
           pacer->bytes.rate > 0;
}

void pacer_charge(struct pacer *pacer,
                  const struct uplink_rate *rate,
                  int64_t boot_ms,
                  uint64_t bytes)
{
    pacer_fill(pacer, rate, boot_ms);
    bucket_charge(&pacer->messages, 1);
    bucket_charge(&pacer->bytes, bytes);
}
