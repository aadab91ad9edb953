/* SPDX-License-Identifier: MIT */
/*
 * row.h - a row of a message as the message that it holds
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_ROW_H
#define MQTT_SPOOLD_STORE_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/lane_set.h"
#include "store/spool.h"
#include "store/stmt.h"

/* The checksum that the row of @message has. @uid, @flags: as they are stored. */
uint32_t row_sum(const struct spool_message *message, int64_t key, int64_t uid, int64_t flags);
/* @ret: borrows from the row; without attempts. @clock_ms: what is left of the expiry is
 * counted from it. Return: is it what was stored? Messages of the first schema carry no sum. */
MUST_CHECK bool row_read(const struct spool *spool,
                         const struct stmt *stmt,
                         const struct lane *lane,
                         int64_t clock_ms,
                         struct spool_message *ret);
/* The same of a row of table rejected. @ret: without bytes. */
MUST_CHECK bool row_read_kept(const struct spool *spool,
                              const struct stmt *stmt,
                              int64_t clock_ms,
                              struct spool_selected *ret);

static inline int64_t row_not_negative(int64_t value)
{
    return value > 0 ? value : 0;
}

#endif
