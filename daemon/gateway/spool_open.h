/* SPDX-License-Identifier: MIT */
/*
 * spool_open.h - opens the spool at the start, and what to do about one that does not open
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SPOOL_OPEN_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SPOOL_OPEN_H

#include "base/attr.h"
#include "daemon/config/config.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

/* What the start did about a damaged spool; all zero: nothing. */
struct salvaged {
    struct spool_salvage result;
    int64_t wall_ms; /* when, by the wall clock */
};

/* Return: 0; GATEWAY_E_LOGGED, GATEWAY_E_OPERATOR or GATEWAY_E_STOPPED. */
MUST_CHECK int gateway_open_spool(struct config *config,
                                  struct turn *turn,
                                  struct salvaged *salvaged,
                                  struct spool **ret);
/* Logs which files of the spool's folder were in the way and have another name now. After a
 * call that may have renamed them. */
void gateway_log_set_aside(void);
/* What to do about a spool that cannot be opened, for the log. */
const char *gateway_spool_remedy(int condition);
#define GATEWAY_PATH_QUOTED_MAX 1024 /* of a path in the log; a longer one is cut */
const char *gateway_quote_directory(const struct config *config,
                                    char text[static GATEWAY_PATH_QUOTED_MAX]);

#endif
