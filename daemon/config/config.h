/* SPDX-License-Identifier: MIT */
/*
 * config.h - the configuration as one immutable structure
 *
 * The only module that uses libconfig. Every key is a row of one of three tables, that of
 * all keys, that of the keys of a lane and that of an entry of the access list (path, type,
 * default, range, check); a test compares the sample etc/mqtt-spoold.conf and the man page with
 * them. An unknown key, a wrong type or a value out of range is an error with
 * file, line, key and reason.
 *
 * Invariant: a configuration that was returned is whole and checked. It owns its
 * texts. Logs nothing. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_H
#define MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "daemon/uplink/settings.h"

#define CONFIG_DEFAULT_PATH   "/etc/mqtt-spoold/mqtt-spoold.conf"
#define CONFIG_DEFAULT_SOCKET "/run/mqtt-spoold/publish.sock"
#define CONFIG_LANES_MAX      63 /* without "default" */
#define CONFIG_ACCESS_MAX     1000

/* Of one lane: filters, and texts of its map, two for a pair. */
#define CONFIG_LANE_TOPICS_MAX 64
#define CONFIG_LANE_MAP_MAX    128

/* The lane of the reports and of seals, if there are any; no lane of a file can have this
 * name. */
#define CONFIG_REPORT_LANE         "$report"
#define CONFIG_REPORT_MAX_MESSAGES 10000
#define CONFIG_REPORT_MAX_BYTES    (UINT64_C(16) * 1024 * 1024)

enum config_policy { CONFIG_EVICT_OLDEST, CONFIG_REFUSE, CONFIG_BLOCK };
enum config_drain { CONFIG_FIFO, CONFIG_LIVE_FIRST };
enum config_journal { CONFIG_JOURNAL_NONE, CONFIG_JOURNAL_FAILURES, CONFIG_JOURNAL_ALL };

struct config_limits {
    uint64_t max_messages;
    uint64_t max_bytes;
    uint64_t max_age_ms;
    enum config_policy when_full;
};

/* A limit that the lane does not set is that of retention. */
struct config_lane {
    char *name;
    char **topics; /* filters; at least one, but none of CONFIG_REPORT_LANE */
    size_t topic_count;
    int priority; /* 0: as lane "default" */
    char *prefix; /* of the topics at the broker; NULL: uplink.topic_prefix */
    unsigned max_qos;
    enum config_drain drain;
    char **map;       /* pairs: a filter, and the topic at the broker of what it matches */
    size_t map_count; /* of both together */
    struct config_limits limits;
};

enum config_access_whom { CONFIG_ACCESS_ANY, CONFIG_ACCESS_USER, CONFIG_ACCESS_GROUP };

/* What the programs that it fits may do. */
struct config_access {
    char *user; /* as in the file; one of the two is NULL */
    char *group;
    enum config_access_whom whom;
    unsigned id;    /* of the user or the group, resolved when the file was read */
    char **publish; /* filters; none: nothing may be published */
    size_t publish_count;
    bool is_admin;
    unsigned max_clients; /* of one user; 0: no limit */
    unsigned rate;        /* messages a second of one user; 0: no limit */
};

#define CONFIG_ERROR_MAX    512
#define CONFIG_WARNINGS_MAX 20 /* kept; the last one says how many more there are */

/* An entry of a list that never has an effect. */
struct config_warning {
    char place[CONFIG_ERROR_MAX]; /* "FILE:LINE" */
    const char *key;              /* its dotted path */
    char text[CONFIG_ERROR_MAX];  /* may hold texts of the file */
    const char *remedy;
};

#define CONFIG_UNREAD_MAX 8

/* What is in conf.d and is no file of the configuration, because of the ending of its name. */
struct config_unread {
    char *paths[CONFIG_UNREAD_MAX]; /* owned; the first ones in the order of their bytes */
    size_t count;
    size_t left_out; /* beyond them */
};

enum config_audit_policy { CONFIG_AUDIT_REFUSE, CONFIG_AUDIT_PRUNE };

struct config {
    bool is_partial; /* wrong settings were passed over: config_load_needed() */
    struct {
        char *directory;
        uint64_t disk_reserve;
        uint64_t commit_interval_ms; /* 0: each batch is committed at once */
    } spool;
    struct {
        char *socket;
        mode_t mode;
        char *group; /* "": not changed */
        unsigned max_clients;
        uint64_t max_packet;
        unsigned max_sessions;
        uint64_t session_expiry_ms;
        uint64_t session_backlog; /* bytes of outcomes that one keeps */
    } listen;
    struct config_limits retention; /* of lane "default" */
    struct {                        /* rejected messages that are kept; any 0: none is */
        uint64_t max_messages;
        uint64_t max_bytes;
        uint64_t max_age_ms;
    } rejected;
    /* In the order of the file, without "default"; CONFIG_REPORT_LANE, if it is used, last. */
    struct config_lane *lanes;
    size_t lane_count;
    /* In the order of the file: the first that fits decides. None: there is no list. */
    struct config_access *access;
    size_t access_count;
    /* At least one broker; in client_id, topic_prefix and the topics %H and %m are replaced. */
    struct uplink_settings uplink;
    struct {
        char *file; /* "": none is written */
        bool has_deliveries;
        enum config_journal journal;
        uint64_t keep_ms;
        uint64_t max_waiting; /* records that may wait for the file */
        enum config_audit_policy when_full;
        uint64_t seal_ms; /* 0: no seals */
        char *seal_topic; /* "": none is published */
    } audit;
    uint64_t status_interval_ms;
    int log_level;                   /* syslog's number */
    char **origins;                  /* of config_origin(); NULL: not of config_test() */
    struct config_warning *warnings; /* owned; NULL: none; none if is_partial */
    size_t warning_count;
    size_t warnings_left_out; /* beyond CONFIG_WARNINGS_MAX */
    struct config_unread unread;
};

#define CONFIG_RESTARTS_MAX 2048 /* the dotted paths of all keys, with their commas */

/*
 * config_needs_restart() - which keys differ and cannot change while the daemon runs
 * @ret_keys: the dotted paths of those keys, separated by commas; "": none
 *
 * Return: how many.
 */
size_t config_needs_restart(const struct config *running,
                            const struct config *fresh,
                            char ret_keys[static CONFIG_RESTARTS_MAX]);

/* Swaps the values of all keys that may change while the daemon runs. @fresh is still to be
 * freed by its owner. The lanes are not swapped: the caller does that together with the
 * spool. What borrows entries of the access list must take those of @running before that. */
void config_take_reloadable(struct config *running, struct config *fresh);

/*
 * config_load() - read and check a file, and those of the folder conf.d beside it
 * @error: on failure one line "file:line: key: why, and what to write instead"
 *
 * Resolves the names of the access list, and so may wait for a name service.
 *
 * Return: 0 and a configuration to free with config_free(); -EINVAL: the file is
 * wrong or unreadable (exit 78); -ENOMEM. @error has the reason.
 */
MUST_CHECK int
config_load(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX]);
/* The same, and does all else that the keys name exist? */
MUST_CHECK int
config_test(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX]);
/*
 * config_origin() - where a key was set
 * @config: of config_test(); until config_take_reloadable() has changed it
 * @key:    its dotted path
 *
 * Return: "FILE:LINE" of the setting that applies, in whichever file; the name of the main file
 * if the key has its default, or if there is no such key. Borrowed.
 */
const char *config_origin(const struct config *config, const char *key);
/*
 * config_print() - the effective configuration, in the form of a file
 * @ret_text: each key with its value, and behind it where that is from; free with free(). It
 *            holds no password: the configuration names files only, and these are not read
 *
 * Return: as config_test().
 */
MUST_CHECK int
config_print(const char *path, char **ret_text, char error[static CONFIG_ERROR_MAX]);
/*
 * config_load_needed() - as much of the files as can be read
 * @needed: paths of keys, up to NULL
 * @error:  as above, also when 0 is returned; "": the whole file is good
 *
 * A wrong setting other than @needed is passed over: it has its default then, or what a file
 * before sets, or its value if that is wrong only beside others; there are no lanes if one of
 * them is wrong, no access list likewise; and is_partial is set. A setting that may be a
 * misspelling of a needed one is not passed over, nor is a file that libconfig cannot parse.
 *
 * Return: as config_load().
 */
MUST_CHECK int config_load_needed(const char *path,
                                  const char *const *needed,
                                  struct config **ret,
                                  char error[static CONFIG_ERROR_MAX]);
void config_free(struct config *config);
/* "FILE: not read, and why", for a person; the last text has how many more there are. */
void config_describe_unread(const struct config_unread *unread,
                            size_t at,
                            char text[static CONFIG_ERROR_MAX]);

/* Parsers of units, also for arguments of the tool: "64k" (of 1024), "1M", "1G"; "250ms",
 * "10s", "5m", "2h", "7d". False: malformed, with a leading zero, or out of range. */
bool config_parse_size(const char *text, uint64_t *ret_bytes);
bool config_parse_time(const char *text, uint64_t *ret_ms);

/*
 * config_each_key() - call @fn with each key of the tables
 *
 * For the tests that compare them with the sample and the man page. @value: the
 * default in the form of the file, NULL: none; @reloads: HUP applies a new value,
 * otherwise it needs a restart. The keys of a lane begin with "lanes.", those of an entry of
 * the access list with "access.".
 */
typedef void config_key_fn(void *userdata, const char *path, const char *value, bool reloads);
void config_each_key(config_key_fn *fn, void *userdata);
/* The word for @value of the key @path, which is one of CONFIG_KIND_CHOICE. */
const char *config_key_word(const char *path, int value);

#endif
