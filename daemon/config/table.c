/* SPDX-License-Identifier: MIT */
/*
 * table.c - the table of keys
 *
 * Every key of the configuration file is one row: name, kind, default, range,
 * member, and whether HUP applies it. The loader, the sample file, the man page
 * and the suggestions in error messages all follow from this table, and a test
 * compares them with it.
 *
 * Defaults are texts in the form of the file, and the loader reads them with the
 * same code: so a default is always something that a file could set.
 *
 * A key whose feature does not exist yet is known, but only its default is
 * accepted, so that setting it without effect is an error.
 */
#include "daemon/config/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "daemon/uplink/settings.h"

#define KIB    UINT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define TIB    (1024 * GIB)
#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define PATH_BYTES  4095
#define AT(member)  .offset = offsetof(struct config, member)
#define RANGE(a, b) .min = (uint64_t)(a), .max = (uint64_t)(b)

#define AT_LANE(member)   .offset = offsetof(struct config_lane, member)
#define AT_ACCESS(member) .offset = offsetof(struct config_access, member)
#define MESSAGES_RANGE    RANGE(1, 2000000000)
#define BYTES_RANGE       RANGE(KIB, 16 * TIB)
#define AGE_RANGE         RANGE(SECOND, 3650 * DAY)

static const struct config_choice policies[] = {
    {"evict-oldest", CONFIG_EVICT_OLDEST},
    {"refuse", CONFIG_REFUSE},
    {"block", CONFIG_BLOCK},
    {NULL, 0},
};

static const struct config_choice drains[] = {
    {"fifo", CONFIG_FIFO},
    {"live-first", CONFIG_LIVE_FIRST},
    {NULL, 0},
};

static const struct config_choice journals[] = {
    {"none", CONFIG_JOURNAL_NONE},
    {"failures", CONFIG_JOURNAL_FAILURES},
    {"all", CONFIG_JOURNAL_ALL},
    {NULL, 0},
};

static const struct config_choice tls_versions[] = {
    {"1.2", UPLINK_TLS_1_2},
    {"1.3", UPLINK_TLS_1_3},
    {NULL, 0},
};

static const struct config_choice audit_policies[] = {
    {"refuse", CONFIG_AUDIT_REFUSE},
    {"prune", CONFIG_AUDIT_PRUNE},
    {NULL, 0},
};

/* The numbers also stand without quotes. */
static const struct config_choice protocols[] = {
    {"auto", 0},
    {"4", 4},
    {"5", 5},
    {NULL, 0},
};

static const struct config_choice refusal_policies[] = {
    {"hold", UPLINK_ON_REFUSAL_HOLD},
    {"reject", UPLINK_ON_REFUSAL_REJECT},
    {NULL, 0},
};

/* The numbers of syslog, as documented in config.h. */
static const struct config_choice levels[] = {
    {"error", 3}, {"warning", 4}, {"notice", 5}, {"info", 6}, {"debug", 7}, {NULL, 0},
};

/* clang-format off */
const struct config_key config_keys[] = {
    {"spool.directory", CONFIG_KIND_STRING, 0, "\"/var/lib/mqtt-spoold\"",
     RANGE(1, PATH_BYTES), AT(spool.directory), .check = config_check_directory},
    {"spool.disk_reserve", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"16M\"",
     RANGE(MIB, TIB), AT(spool.disk_reserve)},
    {"spool.commit_interval", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"0\"",
     RANGE(0, 5 * SECOND), AT(spool.commit_interval_ms)},

    {"listen.socket", CONFIG_KIND_STRING, 0, "\"" CONFIG_DEFAULT_SOCKET "\"",
     RANGE(1, PATH_BYTES), AT(listen.socket), .check = config_check_socket},
    {"listen.mode", CONFIG_KIND_MODE, 0, "\"0660\"", RANGE(0, 0777), AT(listen.mode)},
    {"listen.group", CONFIG_KIND_STRING, 0, "\"\"", RANGE(0, 255), AT(listen.group)},
    {"listen.max_clients", CONFIG_KIND_UINT, CONFIG_RELOADS, "512",
     RANGE(1, 65536), AT(listen.max_clients)},
    {"listen.max_packet", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"256k\"",
     RANGE(KIB, 256 * MIB), AT(listen.max_packet)},
    {"listen.max_sessions", CONFIG_KIND_UINT, CONFIG_RELOADS, "1000",
     RANGE(0, 100000), AT(listen.max_sessions)},
    {"listen.session_expiry", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"7d\"",
     AGE_RANGE, AT(listen.session_expiry_ms)},
    {"listen.session_backlog", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"4M\"",
     RANGE(4 * KIB, GIB), AT(listen.session_backlog)},

    {"retention.max_messages", CONFIG_KIND_COUNT, CONFIG_RELOADS, "1000000",
     MESSAGES_RANGE, AT(retention.max_messages)},
    {"retention.max_bytes", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"1G\"",
     BYTES_RANGE, AT(retention.max_bytes)},
    {"retention.max_age", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"7d\"",
     AGE_RANGE, AT(retention.max_age_ms)},
    {"retention.when_full", CONFIG_KIND_CHOICE, CONFIG_RELOADS, "\"evict-oldest\"",
     AT(retention.when_full), .choices = policies},

    {"rejected.max_messages", CONFIG_KIND_COUNT, CONFIG_RELOADS, "1000",
     RANGE(0, 2000000000), AT(rejected.max_messages)},
    {"rejected.max_bytes", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"16M\"",
     RANGE(0, 16 * TIB), AT(rejected.max_bytes)},
    {"rejected.max_age", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"30d\"",
     RANGE(0, 3650 * DAY), AT(rejected.max_age_ms)},

    {"lanes", CONFIG_KIND_GROUPS, CONFIG_RELOADS, "( )", RANGE(0, CONFIG_LANES_MAX)},

    {"uplink.brokers", CONFIG_KIND_STRINGS, CONFIG_REQUIRED | CONFIG_HIDES_USER, NULL,
     RANGE(1, 16), AT(uplink.brokers),
     .count_offset = offsetof(struct config, uplink.broker_count),
     .check = config_check_broker},
    {"uplink.client_id", CONFIG_KIND_STRING, CONFIG_EXPANDS, "\"gw-%H\"",
     RANGE(1, 65535), AT(uplink.client_id), .check = config_check_mqtt_text},
    {"uplink.protocol", CONFIG_KIND_CHOICE, 0, "\"auto\"", RANGE(0, 5),
     AT(uplink.protocol), .choices = protocols, .note = "; 4 is MQTT 3.1.1"},
    {"uplink.username", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, 65535), AT(uplink.username), .check = config_check_mqtt_text},
    {"uplink.password_file", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, PATH_BYTES), AT(uplink.password_file), .check = config_check_read_file},
    {"uplink.keepalive", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"30s\"",
     RANGE(SECOND, 18 * HOUR), AT(uplink.keepalive_ms)},
    {"uplink.connect_timeout", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"10s\"",
     RANGE(SECOND, 10 * MINUTE), AT(uplink.connect_timeout_ms)},
    {"uplink.ack_timeout", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"60s\"",
     RANGE(SECOND, HOUR), AT(uplink.ack_timeout_ms)},
    {"uplink.backoff.min", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"1s\"",
     RANGE(10, HOUR), AT(uplink.backoff_min_ms)},
    {"uplink.backoff.max", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"2m\"",
     RANGE(10, DAY), AT(uplink.backoff_max_ms)},
    {"uplink.failback", CONFIG_KIND_TIME, CONFIG_RELOADS | CONFIG_OR_ZERO, "\"10m\"",
     RANGE(SECOND, 30 * DAY), AT(uplink.failback_ms)},
    {"uplink.window", CONFIG_KIND_UINT, 0, "512", RANGE(1, 10000), AT(uplink.window)},
    {"uplink.window_bytes", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"1M\"",
     RANGE(KIB, GIB), AT(uplink.window_bytes)},
    {"uplink.max_qos", CONFIG_KIND_UINT, CONFIG_RELOADS, "2",
     RANGE(0, 2), AT(uplink.max_qos)},
    {"uplink.retain", CONFIG_KIND_BOOL, CONFIG_RELOADS, "true", AT(uplink.has_retain)},
    {"uplink.on_refusal", CONFIG_KIND_CHOICE, CONFIG_RELOADS, "\"hold\"",
     AT(uplink.on_refusal), .choices = refusal_policies},
    {"uplink.max_attempts", CONFIG_KIND_UINT, CONFIG_RELOADS, "0",
     RANGE(0, 1000000), AT(uplink.max_attempts)},
    {"uplink.topic_prefix", CONFIG_KIND_STRING, CONFIG_EXPANDS, "\"\"",
     RANGE(0, 1024), AT(uplink.topic_prefix), .check = config_check_prefix},
    {"uplink.stamp", CONFIG_KIND_BOOL, CONFIG_RELOADS, "false", AT(uplink.has_stamp)},
    {"uplink.proxy", CONFIG_KIND_STRING, CONFIG_NOT_YET, "\"\"",
     RANGE(0, 0), .check = config_check_proxy},
    {"uplink.exactly_once", CONFIG_KIND_BOOL, CONFIG_NOT_YET, "false", RANGE(0, 1)},
    {"uplink.rate.messages", CONFIG_KIND_UINT, CONFIG_RELOADS, "0",
     RANGE(0, 1000000), AT(uplink.rate.messages)},
    {"uplink.rate.bytes", CONFIG_KIND_SIZE, CONFIG_RELOADS, "\"0\"",
     RANGE(0, TIB), AT(uplink.rate.bytes)},
    {"uplink.presence.topic", CONFIG_KIND_STRING, CONFIG_EXPANDS, "\"\"",
     RANGE(0, 1024), AT(uplink.presence.topic), .check = config_check_prefix},
    {"uplink.presence.online", CONFIG_KIND_STRING, 0, "\"online\"",
     RANGE(0, 1024), AT(uplink.presence.online), .check = config_check_mqtt_text},
    {"uplink.presence.offline", CONFIG_KIND_STRING, 0, "\"offline\"",
     RANGE(0, 1024), AT(uplink.presence.offline), .check = config_check_mqtt_text},
    {"uplink.presence.qos", CONFIG_KIND_UINT, 0, "1", RANGE(0, 2), AT(uplink.presence.qos)},
    {"uplink.presence.retain", CONFIG_KIND_BOOL, 0, "true", AT(uplink.presence.is_retained)},
    {"uplink.report.topic", CONFIG_KIND_STRING, CONFIG_RELOADS | CONFIG_EXPANDS, "\"\"",
     RANGE(0, 1024), AT(uplink.report_topic), .check = config_check_prefix},
    {"uplink.tls.ca_file", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, PATH_BYTES), AT(uplink.tls.ca_file), .check = config_check_read_file},
    {"uplink.tls.cert_file", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, PATH_BYTES), AT(uplink.tls.cert_file), .check = config_check_read_file},
    {"uplink.tls.key_file", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, PATH_BYTES), AT(uplink.tls.key_file), .check = config_check_read_file},
    {"uplink.tls.key_password_file", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, PATH_BYTES), AT(uplink.tls.key_password_file), .check = config_check_read_file},
    {"uplink.tls.verify", CONFIG_KIND_BOOL, 0, "true", AT(uplink.tls.verify)},
    {"uplink.tls.min_version", CONFIG_KIND_CHOICE, 0, "\"1.2\"",
     AT(uplink.tls.min_version), .choices = tls_versions},
    {"uplink.tls.alpn", CONFIG_KIND_STRING, 0, "\"\"",
     RANGE(0, 255), AT(uplink.tls.alpn), .check = config_check_alpn},

    {"audit.file", CONFIG_KIND_STRING, CONFIG_RELOADS, "\"/var/log/mqtt-spoold/audit.jsonl\"",
     RANGE(0, PATH_BYTES), AT(audit.file), .check = config_check_absolute},
    {"audit.deliveries", CONFIG_KIND_BOOL, CONFIG_RELOADS, "true", AT(audit.has_deliveries)},
    {"audit.journal", CONFIG_KIND_CHOICE, CONFIG_RELOADS, "\"failures\"",
     AT(audit.journal), .choices = journals},
    {"audit.keep", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"30d\"",
     RANGE(SECOND, 3650 * DAY), AT(audit.keep_ms)},
    {"audit.max_waiting", CONFIG_KIND_COUNT, CONFIG_RELOADS, "1000000",
     RANGE(1000, 2000000000), AT(audit.max_waiting)},
    {"audit.when_full", CONFIG_KIND_CHOICE, CONFIG_RELOADS, "\"refuse\"",
     AT(audit.when_full), .choices = audit_policies},
    {"audit.seal", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"1m\"",
     RANGE(0, DAY), AT(audit.seal_ms)},
    {"audit.seal_topic", CONFIG_KIND_STRING, CONFIG_RELOADS, "\"\"",
     RANGE(0, 1024), AT(audit.seal_topic), .check = config_check_prefix},

    {"access", CONFIG_KIND_GROUPS, CONFIG_RELOADS, "( )", RANGE(0, CONFIG_ACCESS_MAX)},

    {"status_interval", CONFIG_KIND_TIME, CONFIG_RELOADS, "\"5s\"",
     RANGE(100, DAY), AT(status_interval_ms)},
    {"log_level", CONFIG_KIND_CHOICE, CONFIG_RELOADS, "\"info\"",
     AT(log_level), .choices = levels},
};

/* A limit that a lane does not set is that of retention. */
const struct config_key config_lane_keys[] = {
    {"lanes.name", CONFIG_KIND_STRING, CONFIG_REQUIRED | CONFIG_RELOADS, NULL,
     RANGE(1, 64), AT_LANE(name), .check = config_check_lane_name},
    {"lanes.topics", CONFIG_KIND_STRINGS, CONFIG_REQUIRED | CONFIG_RELOADS, NULL,
     RANGE(1, CONFIG_LANE_TOPICS_MAX), AT_LANE(topics),
     .count_offset = offsetof(struct config_lane, topic_count), .check = config_check_filter},
    {"lanes.priority", CONFIG_KIND_INT, CONFIG_RELOADS, "0",
     RANGE(-1000, 1000), AT_LANE(priority)},
    {"lanes.prefix", CONFIG_KIND_STRING, CONFIG_RELOADS | CONFIG_EXPANDS, NULL,
     RANGE(0, 1024), AT_LANE(prefix), .check = config_check_prefix},
    {"lanes.max_qos", CONFIG_KIND_UINT, CONFIG_RELOADS, "2",
     RANGE(0, 2), AT_LANE(max_qos)},
    {"lanes.drain", CONFIG_KIND_CHOICE, CONFIG_RELOADS, "\"fifo\"",
     AT_LANE(drain), .choices = drains},
    {"lanes.map", CONFIG_KIND_STRINGS, CONFIG_RELOADS, "( )",
     RANGE(0, CONFIG_LANE_MAP_MAX), AT_LANE(map),
     .count_offset = offsetof(struct config_lane, map_count), .check = config_check_mqtt_text},
    {"lanes.max_messages", CONFIG_KIND_COUNT, CONFIG_RELOADS, NULL,
     MESSAGES_RANGE, AT_LANE(limits.max_messages)},
    {"lanes.max_bytes", CONFIG_KIND_SIZE, CONFIG_RELOADS, NULL,
     BYTES_RANGE, AT_LANE(limits.max_bytes)},
    {"lanes.max_age", CONFIG_KIND_TIME, CONFIG_RELOADS, NULL,
     AGE_RANGE, AT_LANE(limits.max_age_ms)},
    {"lanes.when_full", CONFIG_KIND_CHOICE, CONFIG_RELOADS, NULL,
     AT_LANE(limits.when_full), .choices = policies},
};

const struct config_key config_access_keys[] = {
    {"access.user", CONFIG_KIND_STRING, CONFIG_RELOADS | CONFIG_OR_NUMBER, NULL,
     RANGE(1, 255), AT_ACCESS(user), .check = config_check_account},
    {"access.group", CONFIG_KIND_STRING, CONFIG_RELOADS | CONFIG_OR_NUMBER, NULL,
     RANGE(1, 255), AT_ACCESS(group), .check = config_check_account},
    {"access.publish", CONFIG_KIND_STRINGS, CONFIG_RELOADS, "( \"#\" )",
     RANGE(0, 64), AT_ACCESS(publish),
     .count_offset = offsetof(struct config_access, publish_count),
     .check = config_check_filter},
    {"access.admin", CONFIG_KIND_BOOL, CONFIG_RELOADS, "false", AT_ACCESS(is_admin)},
    {"access.max_clients", CONFIG_KIND_UINT, CONFIG_RELOADS, "0",
     RANGE(0, 65536), AT_ACCESS(max_clients)},
    {"access.rate", CONFIG_KIND_UINT, CONFIG_RELOADS, "0", RANGE(0, 1000000), AT_ACCESS(rate)},
};
/* clang-format on */

const size_t config_access_key_count =
    sizeof(config_access_keys) / sizeof(config_access_keys[0]);
const size_t config_lane_key_count = sizeof(config_lane_keys) / sizeof(config_lane_keys[0]);
const size_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);
_Static_assert(sizeof(config_keys) / sizeof(config_keys[0]) <= CONFIG_KEYS_MAX,
               "raise CONFIG_KEYS_MAX");
_Static_assert(sizeof(enum config_policy) == sizeof(int) &&
                   sizeof(enum config_drain) == sizeof(int) &&
                   sizeof(enum config_journal) == sizeof(int) &&
                   sizeof(enum config_audit_policy) == sizeof(int) &&
                   sizeof(enum uplink_tls_version) == sizeof(int) &&
                   sizeof(enum uplink_on_refusal) == sizeof(int),
               "a choice is stored as an int");

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* Largest first: config_key_number() takes the first that divides evenly. */
static const struct unit size_units[] = {
    {"G", GIB}, {"M", MIB}, {"k", KIB}, {"", 1}, {NULL, 0}};
static const struct unit time_units[] = {
    {"d", DAY}, {"h", HOUR}, {"m", MINUTE}, {"s", SECOND}, {"ms", 1}, {NULL, 0},
};

static bool config_parse_units(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t number = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    }
    if (at == text || config_has_leading_zero(text))
        return false;
    for (; units->suffix; units++) {
        if (strcmp(at, units->suffix) == 0) {
            if (__builtin_mul_overflow(number, units->factor, &number))
                return false;
            *ret = number;
            return true;
        }
    }
    return false;
}

bool config_parse_size(const char *text, uint64_t *ret_bytes)
{
    return config_parse_units(text, size_units, ret_bytes);
}

bool config_parse_time(const char *text, uint64_t *ret_ms)
{
    if (strcmp(text, "0") == 0) { /* of whatever */
        *ret_ms = 0;
        return true;
    }
    return config_parse_units(text, time_units, ret_ms);
}

void config_key_number(const struct config_key *key, uint64_t number, char *text, size_t size)
{
    const struct unit *unit = NULL;

    if (key->kind == CONFIG_KIND_MODE) {
        (void)snprintf(text, size, "0%03" PRIo64, number);
        return;
    }
    if (key->kind == CONFIG_KIND_INT) {
        (void)snprintf(text, size, "%" PRId64, (int64_t)number);
        return;
    }
    if (key->kind == CONFIG_KIND_SIZE)
        unit = size_units;
    if (key->kind == CONFIG_KIND_TIME)
        unit = time_units;
    while (unit && unit->factor > 1 && (number == 0 || number % unit->factor != 0))
        unit++;
    (void)snprintf(text, size, "%" PRIu64 "%s", unit ? number / unit->factor : number,
                   unit ? unit->suffix : "");
}

void config_key_demand(const struct config_key *key, char *text, size_t size)
{
    static const char *const demands[] = {
        [CONFIG_KIND_SIZE] =
            ("must be a size such as \"64k\", \"1M\" or \"1G\", or a plain number "
             "of bytes"),
        [CONFIG_KIND_TIME] =
            ("must be a time in quotes with its unit, ms, s, m, h or d, such as "
             "\"250ms\" or \"10s\""),
        [CONFIG_KIND_COUNT] = "must be a whole number",
        [CONFIG_KIND_UINT] = "must be a whole number",
        [CONFIG_KIND_INT] = "must be a whole number",
        [CONFIG_KIND_MODE] = "must be an octal mode in quotes such as \"0660\"",
        [CONFIG_KIND_BOOL] = "must be true or false",
        [CONFIG_KIND_STRING] = "must be a text in quotes",
        [CONFIG_KIND_STRINGS] = "must be a list of texts such as ( \"first\", \"second\" )",
        [CONFIG_KIND_GROUPS] = "must be a list of groups such as ( { ... }, { ... } )",
    };
    const struct config_choice *choice = key->choices;

    if (key->kind != CONFIG_KIND_CHOICE) {
        (void)snprintf(text, size, "%s", demands[key->kind]);
        return;
    }
    text_format(text, size, "must be ");
    for (; choice->word; choice++) {
        const char *lead = !choice[1].word ? " or " : ", ";

        text_append(text, size, "%s\"%s\"", choice == key->choices ? "" : lead, choice->word);
    }
    if (key->note)
        text_append(text, size, "%s", key->note);
}

bool config_key_choice(const struct config_key *key, const char *word, int *ret_value)
{
    for (const struct config_choice *choice = key->choices; choice->word; choice++) {
        if (strcmp(choice->word, word) == 0) {
            *ret_value = choice->value;
            return true;
        }
    }
    return false;
}

const char *config_key_word(const char *path, int value)
{
    const struct config_choice *choice = config_key_find(path)->choices;

    while (choice->value != value)
        choice++;
    return choice->word;
}

const struct config_key *
config_key_find_in(const struct config_key *keys, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].path, path) == 0)
            return &keys[i];
    }
    return NULL;
}

const struct config_key *config_key_find(const char *path)
{
    return config_key_find_in(config_keys, config_key_count, path);
}

size_t config_key_index(const struct config_key *key)
{
    return (size_t)(key - config_keys);
}

bool config_key_is_in(const char *path, const char *group)
{
    size_t size = strlen(group);

    return strncmp(path, group, size) == 0 && path[size] == '.';
}

bool config_key_is_group(const char *path)
{
    for (size_t i = 0; i < config_key_count; i++) {
        if (config_key_is_in(config_keys[i].path, path))
            return true;
    }
    return false;
}

/* Levenshtein distance; both are shorter than CONFIG_PATH_MAX. */
static unsigned config_edit_distance(const char *a, const char *b)
{
    unsigned row[CONFIG_PATH_MAX];
    size_t width = strlen(b);

    for (size_t j = 0; j <= width; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < width; j++) {
            unsigned change = diagonal + (a[i] != b[j]);
            unsigned least = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;

            diagonal = row[j + 1];
            row[j + 1] = change < least ? change : least;
        }
    }
    return row[width];
}

static const char *config_last_part(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot != NULL ? dot + 1 : path;
}

static void
config_compare_key(const char *path, const char *candidate, unsigned *best, char *ret_near)
{
    unsigned far = 2 * config_edit_distance(path, candidate);
    size_t group = (size_t)(config_last_part(path) - path);

    /* The right name in the wrong group is likelier than any misspelling but the least one in
     * the right group. */
    if (strcmp(config_last_part(path), config_last_part(candidate)) == 0)
        far = 1;
    else if (far == 2 && group > 0 && strncmp(path, candidate, group) == 0)
        far = 0;
    if (far < *best) {
        *best = far;
        (void)snprintf(ret_near, CONFIG_PATH_MAX, "%s", candidate);
    }
}

bool config_key_nearest(const char *path, char ret_near[static CONFIG_PATH_MAX])
{
    size_t size = strlen(path);
    unsigned limit = 2 * (2 + (unsigned)(size / 8));
    unsigned best = limit;
    char group[CONFIG_PATH_MAX];

    if (size >= CONFIG_PATH_MAX)
        return false;
    for (size_t i = 0; i < config_key_count; i++) {
        config_compare_key(path, config_keys[i].path, &best, ret_near);
        (void)snprintf(group, sizeof(group), "%s", config_keys[i].path);
        for (char *dot = strrchr(group, '.'); dot; dot = strrchr(group, '.')) {
            *dot = '\0';
            config_compare_key(path, group, &best, ret_near);
        }
    }
    for (size_t i = 0; i < config_lane_key_count; i++)
        config_compare_key(path, config_lane_keys[i].path, &best, ret_near);
    for (size_t i = 0; i < config_access_key_count; i++)
        config_compare_key(path, config_access_keys[i].path, &best, ret_near);
    return best < limit;
}

static void config_call_key_fn(const struct config_key *key, config_key_fn *fn, void *userdata)
{
    fn(userdata, key->path, key->value, (key->flags & CONFIG_RELOADS) != 0);
}

void config_each_key(config_key_fn *fn, void *userdata)
{
    for (size_t i = 0; i < config_key_count; i++)
        config_call_key_fn(&config_keys[i], fn, userdata);
    for (size_t i = 0; i < config_lane_key_count; i++)
        config_call_key_fn(&config_lane_keys[i], fn, userdata);
    for (size_t i = 0; i < config_access_key_count; i++)
        config_call_key_fn(&config_access_keys[i], fn, userdata);
}
