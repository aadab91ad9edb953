/* SPDX-License-Identifier: MIT */
/*
 * config.h - the configuration file as one immutable structure
 *
 * The only place that knows libconfig. Every key is a row of one of two tables,
 * that of all keys and that of a lane's (path, type, default, range, check); the sample etc/mqtt-spoold.conf and the man
 * page are compared with them by a test. An unknown key, a wrong type or
 * a value out of range is an error with file, line, key and reason.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_H
#define MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "daemon/uplink/settings.h"

#define CONFIG_DEFAULT_PATH "/etc/mqtt-spoold/mqtt-spoold.conf"
#define CONFIG_LANES_MAX    63 /* without "default" */

enum config_policy { CONFIG_EVICT_OLDEST, CONFIG_REFUSE, CONFIG_BLOCK };
enum config_journal { CONFIG_JOURNAL_NONE, CONFIG_JOURNAL_FAILURES, CONFIG_JOURNAL_ALL };

struct config_limits {
    uint64_t max_messages;
    uint64_t max_bytes;
    uint64_t max_age_ms;
    enum config_policy when_full;
};

/* A limit that the lane does not set is taken from retention. */
struct config_lane {
    char *name;
    char **topics; /* filters; at least one */
    size_t topic_count;
    int priority; /* 0: as lane "default" */
    struct config_limits limits;
};

enum config_audit_policy { CONFIG_AUDIT_REFUSE, CONFIG_AUDIT_PRUNE };

struct config {
    struct {
        char *directory;
        uint64_t disk_reserve;
    } spool;
    struct {
        char *socket;
        mode_t mode;
        char *group; /* "": leave it */
        unsigned max_clients;
        uint64_t max_packet;
    } listen;
    struct config_limits retention; /* of lane "default" */
    struct config_lane *lanes;      /* in the order of the file; without "default" */
    size_t lane_count;
    struct uplink_settings uplink; /* brokers at least one; client_id: %H and %m are replaced */
    struct {
        char *file; /* "": none is written */
        bool has_deliveries;
        enum config_journal journal;
        uint64_t keep_ms;
        uint64_t max_waiting; /* records that may wait for the file */
        enum config_audit_policy when_full;
    } audit;
    uint64_t status_interval_ms;
    int log_level; /* syslog's number */
};

#define CONFIG_RESTARTS_MAX 2048 /* the dotted paths of all keys, with their commas */

/*
 * config_needs_restart() - what differs and cannot change while the daemon runs
 * @ret_keys: the dotted paths of those keys, with commas between them; "" for none
 *
 * Return: how many they are.
 */
size_t config_needs_restart(const struct config *running,
                            const struct config *fresh,
                            char ret_keys[static CONFIG_RESTARTS_MAX]);

/* What may change while the daemon runs goes from @fresh to @running; what @running had of it is
 * @fresh's to free. The lanes stay where they are: whoever moves them has to tell the spool. */
void config_take_reloadable(struct config *running, struct config *fresh);

#define CONFIG_ERROR_MAX 512

/*
 * config_load() - read and check a file
 * @error: on failure one line "file:line: key: why, and what to write instead"
 *
 * Return: 0 and a configuration to free with config_free(); -EINVAL: the file
 * is wrong or cannot be read (exit 78); -ENOMEM. @error says why.
 */
MUST_CHECK int
config_load(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX]);
void config_free(struct config *config);

/* Parsers of units, also used by the tool's arguments. "64k" (1024), "1M", "1G"; "250ms",
 * "10s", "5m", "2h", "7d". False: no such form, or out of range. */
bool config_parse_size(const char *text, uint64_t *ret_bytes);
bool config_parse_time(const char *text, uint64_t *ret_ms);

/*
 * config_each_key() - walk over the table of keys
 *
 * For the tests that compare it with the sample and the man page. @value is the
 * default as it would stand in the file, NULL where there is none; @reloads:
 * a HUP takes a new value over, everything else needs a restart. The keys of a
 * lane are those whose path begins with "lanes.".
 */
typedef void config_key_fn(void *context, const char *path, const char *value, bool reloads);
void config_each_key(config_key_fn *fn, void *context);
/* How the file says @value of the key @path, which has a few words to choose from. */
const char *config_key_word(const char *path, int value);

#endif
