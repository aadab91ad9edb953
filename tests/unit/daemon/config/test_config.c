/* SPDX-License-Identifier: MIT */
/*
 * test_config.c - the configuration: what is taken, what is refused and in which words,
 * and that the sample and the man page say what the table says
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/config_job.h"
#include "store/spool.h"
#include "tests/support/files.h"

#define SAMPLE SPOOLD_SOURCE "/etc/mqtt-spoold.conf"
#define PAGE   SPOOLD_SOURCE "/man/mqtt-spoold.conf.5"

/* The smallest file, on one line: what a test adds begins on line 2. */
#define BROKER "uplink: { brokers = ( \"tcp://broker.example\" ); };\n"
/* The same with the group left open. */
#define UPLINK     "uplink: { brokers = ( \"tcp://broker.example\" );\n"
#define UPLINK_TLS "uplink: { brokers = ( \"ssl://broker.example\" );\n"

/* Of the blocks of a mebibyte and more that are asked for from now on; 0: none. */
static unsigned large_block_that_fails;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    if (size >= 1 << 20 && large_block_that_fails > 0 && --large_block_that_fails == 0)
        return NULL;
    return __real_malloc(size);
}

struct fixture {
    char folder[FILES_PATH_MAX];
    char path[FILES_PATH_MAX + 16];
    char error[CONFIG_ERROR_MAX];
};

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof(fixture));
    files_make_folder(fixture.folder, "test_config");
    (void)snprintf(fixture.path, sizeof(fixture.path), "%s/t.conf", fixture.folder);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    files_remove_folder(fixture->folder);
    return 0;
}

static void write_other(const struct fixture *fixture, const char *text)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s/other.conf", fixture->folder);
    files_write(path, text, strlen(text));
}

/* The configuration in @text, which must be right. */
static struct config *load(struct fixture *fixture, const char *text)
{
    struct config *config = NULL;
    int result;

    files_write(fixture->path, text, strlen(text));
    result = config_load(fixture->path, &config, fixture->error);
    if (result != 0)
        fail_msg("refused: %s", fixture->error);
    assert_non_null(config);
    return config;
}

static void accept(struct fixture *fixture, const char *text)
{
    config_free(load(fixture, text));
}

/* @wanted: the error without the path of the file in front. */
static void refuse(struct fixture *fixture, const char *text, const char *wanted)
{
    struct config untouched;
    struct config *config = &untouched;
    size_t size = strlen(fixture->path);

    files_write(fixture->path, text, strlen(text));
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    assert_ptr_equal(config, &untouched);
    assert_memory_equal(fixture->error, fixture->path, size);
    assert_string_equal(fixture->error + size, wanted);
}

/* ---- sample and man page ---- */

struct sample_row {
    char path[64];
    char value[96];
    bool reloads;
    bool seen;
    bool is_example;
};

struct sample {
    struct sample_row rows[100];
    size_t count;
    char group[64];
    char list[32]; /* the example is of its elements */
    bool reloads;  /* the comment above says HUP */
};

static void sample_leave(struct sample *sample)
{
    char *dot;

    sample->group[strlen(sample->group) - 1] = '\0';
    dot = strrchr(sample->group, '.');
    if (dot)
        dot[1] = '\0';
    else
        sample->group[0] = '\0';
}

/* A line of an example of a list: behind its # stands no single space, as before prose. */
static bool is_example(const char *line)
{
    return line[0] == '#' && strchr(" \n", line[1]) == NULL;
}

static bool is_example_inside(const char *line)
{
    return strncmp(line, "#  ", 3) == 0;
}

/* The sample's keys are at their defaults; those of the example may have any value. */
static void sample_example_line(struct sample *sample, const char *line)
{
    struct sample_row *row = &sample->rows[sample->count];
    char key[32];

    if (sscanf(line, "# %31[a-z_] =", key) != 1)
        return;
    assert_true(snprintf(row->path, sizeof(row->path), "%s.%s", sample->list, key) < 64);
    row->reloads = sample->reloads;
    row->is_example = true;
    sample->count++;
    assert_true(sample->count < 100);
}

static void sample_line(struct sample *sample, char *line)
{
    struct sample_row *row = &sample->rows[sample->count];
    char *equals;
    size_t size;

    line[strcspn(line, "\n")] = '\0';
    line += strspn(line, " ");
    size = strlen(line);
    equals = strstr(line, " = ");
    if (is_example_inside(line)) {
        sample_example_line(sample, line);
    } else if (is_example(line)) {
        (void)sscanf(line, "#%31[a-z_] = (", sample->list);
    } else if (line[0] == '#') {
        sample->reloads = sample->reloads || strstr(line, "HUP") != NULL;
    } else if (size == 0) {
        sample->reloads = false;
    } else if (strcmp(line, "};") == 0) {
        sample_leave(sample);
    } else if (line[size - 1] == ':') {
        line[size - 1] = '.';
        (void)strncat(sample->group, line, sizeof(sample->group) - strlen(sample->group) - 1);
    } else if (equals && line[size - 1] == ';') {
        line[size - 1] = '\0';
        *equals = '\0';
        assert_true(snprintf(row->path, sizeof(row->path), "%s%s", sample->group, line) < 64);
        assert_true(snprintf(row->value, sizeof(row->value), "%s", equals + 3) < 96);
        row->reloads = sample->reloads;
        sample->count++;
        assert_true(sample->count < 100);
    } else {
        assert_string_equal(line, "{");
    }
}

static void
compare_with_sample(void *context, const char *path, const char *value, bool reloads)
{
    struct sample *sample = context;

    for (size_t i = 0; i < sample->count; i++) {
        if (strcmp(sample->rows[i].path, path) != 0)
            continue;
        if (value && !sample->rows[i].is_example && strcmp(sample->rows[i].value, value) != 0)
            fail_msg("%s is %s in the sample, %s by default", path, sample->rows[i].value,
                     value);
        if (sample->rows[i].reloads != reloads)
            fail_msg("%s: the sample is wrong about HUP", path);
        sample->rows[i].seen = true;
        return;
    }
    fail_msg("%s is not in the sample", path);
}

static void sample_holds_every_key_at_its_default_and_no_other(void **state)
{
    static struct sample sample;
    FILE *file = fopen(SAMPLE, "re");
    char line[256];

    (void)state;
    memset(&sample, 0, sizeof(sample));
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        sample_line(&sample, line);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(sample.group, "");
    config_each_key(compare_with_sample, &sample);
    for (size_t i = 0; i < sample.count; i++) {
        if (!sample.rows[i].seen)
            fail_msg("%s stands in the sample, but not in the table", sample.rows[i].path);
    }
}

static void examples_of_lists_in_the_sample_are_taken(void **state)
{
    struct fixture *fixture = *state;
    static char text[32768];
    FILE *file = fopen(SAMPLE, "re");
    struct config *config;
    char line[256];

    text[0] = '\0';
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        bool example = is_example(line) || is_example_inside(line);

        if (strcmp(line, "lanes = ( );\n") == 0 || strcmp(line, "access = ( );\n") == 0)
            continue;
        assert_true(strlen(text) + strlen(line) < sizeof(text));
        (void)strncat(text, line + example, sizeof(text) - strlen(text) - 1);
    }
    assert_int_equal(fclose(file), 0);
    config = load(fixture, text);
    assert_int_equal(config->lane_count, 1);
    assert_string_equal(config->lanes[0].name, "alarms");
    assert_string_equal(config->lanes[0].topics[0], "+/alarm/#");
    assert_int_equal(config->lanes[0].priority, 10);
    assert_int_equal(config->lanes[0].limits.when_full, CONFIG_REFUSE);
    assert_int_equal(config->access_count, 2);
    assert_true(config->access[0].is_admin);
    assert_int_equal(config->access[1].id, 1001);
    config_free(config);
}

static void assert_same_reloadable(const struct config *a, const struct config *b)
{
    assert_int_equal(a->retention.max_messages, b->retention.max_messages);
    assert_int_equal(a->retention.max_bytes, b->retention.max_bytes);
    assert_int_equal(a->retention.max_age_ms, b->retention.max_age_ms);
    assert_int_equal(a->retention.when_full, b->retention.when_full);
    assert_string_equal(a->audit.file, b->audit.file);
    assert_int_equal(a->audit.has_deliveries, b->audit.has_deliveries);
    assert_int_equal(a->audit.journal, b->audit.journal);
    assert_int_equal(a->audit.keep_ms, b->audit.keep_ms);
    assert_int_equal(a->audit.max_waiting, b->audit.max_waiting);
    assert_int_equal(a->audit.when_full, b->audit.when_full);
    assert_int_equal(a->status_interval_ms, b->status_interval_ms);
    assert_int_equal(a->log_level, b->log_level);
}

static void sample_loads_like_a_file_with_brokers_alone(void **state)
{
    struct fixture *fixture = *state;
    struct config *alone =
        load(fixture, "uplink: { brokers = ( \"ssl://broker.example:8883\" ); };\n");
    struct config *sample = NULL;
    char restarts[CONFIG_RESTARTS_MAX];

    assert_int_equal(config_load(SAMPLE, &sample, fixture->error), 0);
    assert_int_equal(config_needs_restart(alone, sample, restarts), 0);
    assert_same_reloadable(alone, sample);
    config_free(alone);
    config_free(sample);
}

static char *read_page(void)
{
    FILE *file = fopen(PAGE, "re");
    char *text = calloc(1, 65536);

    assert_non_null(file);
    assert_non_null(text);
    assert_in_range(fread(text, 1, 65535, file), 1, 65534);
    assert_int_equal(fclose(file), 0);
    return text;
}

/* As roff writes it: quotes and minus signs are escapes. */
static void append_roff(char *out, size_t size, const char *text)
{
    for (; *text != '\0'; text++) {
        const char plain[] = {*text, '\0'};
        const char *piece = *text == '"' ? "\\(dq" : *text == '-' ? "\\-" : plain;

        assert_true(strlen(out) + strlen(piece) < size);
        (void)strncat(out, piece, size - strlen(out) - 1);
    }
}

static void compare_with_page(void *context, const char *path, const char *value, bool reloads)
{
    const char *page = context;
    char wanted[256] = "\n.TP\n.B ";
    const char *entry;
    const char *end;
    const char *mark;

    append_roff(wanted, sizeof(wanted), path);
    if (value) {
        append_roff(wanted, sizeof(wanted), " = ");
        append_roff(wanted, sizeof(wanted), value);
    }
    append_roff(wanted, sizeof(wanted), "\n");
    entry = strstr(page, wanted);
    if (!entry)
        fail_msg("the man page lacks%s", wanted);
    entry += strlen(wanted);
    end = strstr(entry, "\n.TP\n");
    mark = strstr(entry, "HUP");
    if ((mark && (!end || mark < end)) != reloads)
        fail_msg("%s: the man page is wrong about HUP", path);
}

static void man_page_has_every_key_with_default_and_reload(void **state)
{
    char *page = read_page();

    (void)state;
    config_each_key(compare_with_page, page);
    free(page);
}

/* ---- what is taken ---- */

static void defaults_are_those_of_the_design(void **state)
{
    struct config *config = load(*state, BROKER);

    assert_string_equal(config->spool.directory, "/var/lib/mqtt-spoold");
    assert_int_equal(config->spool.disk_reserve, 16 * 1024 * 1024);
    assert_int_equal(config->spool.commit_interval_ms, 0);
    assert_string_equal(config->listen.socket, "/run/mqtt-spoold/publish.sock");
    assert_int_equal(config->listen.mode, 0660);
    assert_string_equal(config->listen.group, "");
    assert_int_equal(config->listen.max_clients, 512);
    assert_int_equal(config->listen.max_packet, 256 * 1024);
    assert_int_equal(config->retention.max_messages, 1000000);
    assert_int_equal(config->retention.max_bytes, 1024 * 1024 * 1024);
    assert_int_equal(config->retention.max_age_ms, INT64_C(7) * 24 * 3600 * 1000);
    assert_int_equal(config->retention.when_full, CONFIG_EVICT_OLDEST);
    assert_int_equal(config->uplink.broker_count, 1);
    assert_int_equal(config->uplink.protocol, 0);
    assert_string_equal(config->uplink.username, "");
    assert_string_equal(config->uplink.password_file, "");
    assert_int_equal(config->uplink.keepalive_ms, 30000);
    assert_int_equal(config->uplink.connect_timeout_ms, 10000);
    assert_int_equal(config->uplink.ack_timeout_ms, 60000);
    assert_int_equal(config->uplink.backoff_min_ms, 1000);
    assert_int_equal(config->uplink.backoff_max_ms, 120000);
    assert_int_equal(config->uplink.window, 512);
    assert_int_equal(config->uplink.window_bytes, 1024 * 1024);
    assert_int_equal(config->uplink.max_qos, 2);
    assert_string_equal(config->uplink.topic_prefix, "");
    assert_string_equal(config->uplink.presence.topic, "");
    assert_string_equal(config->uplink.presence.online, "online");
    assert_string_equal(config->uplink.presence.offline, "offline");
    assert_int_equal(config->uplink.presence.qos, 1);
    assert_true(config->uplink.presence.is_retained);
    assert_string_equal(config->uplink.report_topic, "");
    assert_int_equal(config->lane_count, 0);
    assert_true(config->uplink.tls.verify);
    assert_string_equal(config->audit.file, "/var/log/mqtt-spoold/audit.jsonl");
    assert_true(config->audit.has_deliveries);
    assert_int_equal(config->audit.journal, CONFIG_JOURNAL_FAILURES);
    assert_int_equal(config->audit.keep_ms, INT64_C(30) * 24 * 3600 * 1000);
    assert_int_equal(config->audit.max_waiting, 1000000);
    assert_int_equal(config->audit.when_full, CONFIG_AUDIT_REFUSE);
    assert_int_equal(config->status_interval_ms, 5000);
    assert_int_equal(config->log_level, 6);
    config_free(config);
}

static void every_kind_of_value_is_taken_from_the_file(void **state)
{
    struct config *config =
        load(*state, "spool = { directory = \"/srv/\" \"spool\"; disk_reserve = 2097152; };\n"
                     "listen: { mode = \"0600\"; max_clients = 0x10; };\n"
                     "retention: { max_messages = 1000L; max_bytes = 5000000000L;\n"
                     "  max_age = \"1500ms\"; when_full = \"block\"; };\n"
                     "uplink: { brokers = [ \"ssl://a:1\", \"mqtts://[::1]:65535\" ];\n"
                     "  window = 10000; tls: { verify = FALSE; ca_file = \"/ca\"; }; };\n"
                     "audit: { file = \"\"; journal = \"all\"; };\n"
                     "log_level = \"error\";\n");

    assert_string_equal(config->spool.directory, "/srv/spool");
    assert_int_equal(config->spool.disk_reserve, 2097152);
    assert_int_equal(config->listen.mode, 0600);
    assert_int_equal(config->listen.max_clients, 16);
    assert_int_equal(config->retention.max_messages, 1000);
    assert_int_equal(config->retention.max_bytes, INT64_C(5000000000));
    assert_int_equal(config->retention.max_age_ms, 1500);
    assert_int_equal(config->retention.when_full, CONFIG_BLOCK);
    assert_int_equal(config->uplink.broker_count, 2);
    assert_string_equal(config->uplink.brokers[1], "mqtts://[::1]:65535");
    assert_int_equal(config->uplink.window, 10000);
    assert_false(config->uplink.tls.verify);
    assert_string_equal(config->uplink.tls.ca_file, "/ca");
    assert_string_equal(config->audit.file, "");
    assert_int_equal(config->audit.journal, CONFIG_JOURNAL_ALL);
    assert_int_equal(config->log_level, 3);
    config_free(config);
}

static void lanes_are_taken_in_their_order_with_limits_of_their_own(void **state)
{
    struct config *config =
        load(*state,
             BROKER "lanes: ( { name = \"Alarms-1.a_b\"; topics = ( \"+/alarm/#\", \"a\" );\n"
                    "  priority = 1000; max_messages = 5L; max_bytes = \"2k\";\n"
                    "  max_age = \"90s\"; when_full = \"refuse\"; },\n"
                    "{ topics = [ \"#\" ]; name = \"rest\"; priority = -1000;\n"
                    "  prefix = \"%%m/\"; max_qos = 1; drain = \"live-first\";\n"
                    "  map = ( \"+/#\", \"{1}\", \"a\", \"$aws/b}\" ); } );\n");
    const struct config_lane *lane = config->lanes;

    assert_int_equal(config->lane_count, 2);
    assert_string_equal(lane->name, "Alarms-1.a_b");
    assert_int_equal(lane->topic_count, 2);
    assert_string_equal(lane->topics[0], "+/alarm/#");
    assert_string_equal(lane->topics[1], "a");
    assert_int_equal(lane->priority, 1000);
    assert_int_equal(lane->limits.max_messages, 5);
    assert_int_equal(lane->limits.max_bytes, 2048);
    assert_int_equal(lane->limits.max_age_ms, 90000);
    assert_int_equal(lane->limits.when_full, CONFIG_REFUSE);
    assert_string_equal(lane[1].name, "rest");
    assert_int_equal(lane[1].topic_count, 1);
    assert_int_equal(lane[1].priority, -1000);
    assert_null(lane->prefix);
    assert_int_equal(lane->max_qos, 2);
    assert_string_equal(lane[1].prefix, "%m/");
    assert_int_equal(lane[1].max_qos, 1);
    assert_int_equal(lane->drain, CONFIG_FIFO);
    assert_int_equal(lane[1].drain, CONFIG_LIVE_FIRST);
    assert_int_equal(lane->map_count, 0);
    assert_int_equal(lane[1].map_count, 4);
    assert_string_equal(lane[1].map[1], "{1}");
    assert_string_equal(lane[1].map[3], "$aws/b}");
    config_free(config);
}

static void entries_of_access_are_taken_in_their_order(void **state)
{
    struct config *config =
        load(*state, BROKER
             "access = ( { user = \"root\"; admin = true; publish = ( ); },\n"
             "  { group = \"root\"; publish = ( \"a/#\", \"b\" ); },\n"
             "  { user = 1001; max_clients = 7; rate = 8; }, { group = \"4294967294\"; },\n"
             "  { group = \"*\"; } );\n");
    const struct config_access *access = config->access;

    assert_int_equal(config->access_count, 5);
    assert_int_equal(access[0].whom, CONFIG_ACCESS_USER);
    assert_int_equal(access[0].id, 0);
    assert_true(access[0].is_admin);
    assert_int_equal(access[0].publish_count, 0);
    assert_int_equal(access[1].whom, CONFIG_ACCESS_GROUP);
    assert_int_equal(access[1].id, 0);
    assert_false(access[1].is_admin);
    assert_int_equal(access[1].publish_count, 2);
    assert_string_equal(access[1].publish[1], "b");
    assert_int_equal(access[2].whom, CONFIG_ACCESS_USER);
    assert_int_equal(access[2].id, 1001);
    assert_int_equal(access[1].max_clients, 0);
    assert_int_equal(access[2].max_clients, 7);
    assert_int_equal(access[1].rate, 0);
    assert_int_equal(access[2].rate, 8);
    assert_int_equal(access[2].publish_count, 1);
    assert_string_equal(access[2].publish[0], "#");
    assert_int_equal(access[3].whom, CONFIG_ACCESS_GROUP);
    assert_int_equal(access[3].id, 4294967294);
    assert_int_equal(access[4].whom, CONFIG_ACCESS_ANY);
    config_free(config);
}

static int finish_job(struct config_job *job, struct fixture *fixture, struct config **ret)
{
    struct pollfd ready = {.fd = config_job_fd(job), .events = POLLIN};

    assert_int_equal(poll(&ready, 1, 10000), 1);
    return config_job_finish(job, ret, NULL, fixture->error);
}

static void job_reads_the_file_on_a_thread(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    struct config_job *job;

    files_write(fixture->path, BROKER, strlen(BROKER));
    assert_int_equal(config_job_start(fixture->path, NULL, 0, &job), 0);
    assert_int_equal(finish_job(job, fixture, &config), 0);
    assert_int_equal(config->uplink.broker_count, 1);
    config_free(config);
    config = NULL;
    files_write(fixture->path, "x = 1;\n", 7);
    assert_int_equal(config_job_start(fixture->path, NULL, 0, &job), 0);
    assert_int_equal(finish_job(job, fixture, &config), -EINVAL);
    assert_null(config);
    assert_non_null(strstr(fixture->error, ":1: x: unknown key"));
}

static void count_brokers(const struct config *config, void *findings)
{
    *(size_t *)findings = config->uplink.broker_count;
}

static void job_asks_of_a_good_file_what_else_is_to_be_checked(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    struct config_job *job;
    size_t brokers = 7;
    struct pollfd ready = {.events = POLLIN};

    for (unsigned i = 0; i < 2; i++) {
        const char *text = i == 0 ? BROKER : "x = 1;\n";

        files_write(fixture->path, text, strlen(text));
        assert_int_equal(config_job_start(fixture->path, count_brokers, sizeof(brokers), &job),
                         0);
        ready.fd = config_job_fd(job);
        assert_int_equal(poll(&ready, 1, 30000), 1);
        assert_int_equal(config_job_finish(job, &config, &brokers, fixture->error),
                         i == 0 ? 0 : -EINVAL);
        assert_int_equal(brokers, 1); /* untouched by the second */
    }
    config_free(config);
}

static void job_also_asks_the_system(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    struct config_job *job;
    static const char text[] = BROKER "listen: { group = \"no-such-group\"; };\n";

    files_write(fixture->path, text, strlen(text));
    assert_int_equal(config_job_start(fixture->path, NULL, 0, &job), 0);
    assert_int_equal(finish_job(job, fixture, &config), -EINVAL);
    assert_non_null(strstr(fixture->error, ":2: listen.group: there is no group"));
}

static void abandoned_job_frees_what_it_read(void **state)
{
    struct fixture *fixture = *state;
    struct pollfd ready = {.events = POLLIN};
    struct config_job *job;

    files_write(fixture->path, BROKER, strlen(BROKER));
    assert_int_equal(config_job_start(fixture->path, NULL, 0, &job), 0);
    ready.fd = config_job_fd(job);
    assert_int_equal(poll(&ready, 1, 10000), 1);
    config_job_abandon(job); /* the sanitizer sees a leak */
    config_job_abandon(NULL);
}

static void limit_that_a_lane_does_not_give_is_that_of_retention(void **state)
{
    /* Retention follows the lanes in the file, and applies anyway. */
    struct config *config =
        load(*state, BROKER "lanes = ( { name = \"a\"; topics = ( \"a/#\" ); },\n"
                            "  { name = \"b\"; topics = ( \"b/#\" ); max_messages = 7; } );\n"
                            "retention: { max_messages = 11; max_bytes = \"3k\";\n"
                            "  max_age = \"2s\"; when_full = \"block\"; };\n");
    const struct config_limits *a = &config->lanes[0].limits;
    const struct config_limits *b = &config->lanes[1].limits;

    assert_int_equal(config->lanes[0].priority, 0);
    assert_int_equal(a->max_messages, 11);
    assert_int_equal(a->max_bytes, 3072);
    assert_int_equal(a->max_age_ms, 2000);
    assert_int_equal(a->when_full, CONFIG_BLOCK);
    assert_int_equal(b->max_messages, 7);
    assert_int_equal(b->max_bytes, 3072);
    assert_int_equal(b->when_full, CONFIG_BLOCK);
    config_free(config);
}

static void sizes_have_units_of_1024(void **state)
{
    uint64_t bytes = 7;

    (void)state;
    assert_true(config_parse_size("0", &bytes));
    assert_int_equal(bytes, 0);
    assert_true(config_parse_size("512", &bytes));
    assert_int_equal(bytes, 512);
    assert_true(config_parse_size("64k", &bytes));
    assert_int_equal(bytes, 65536);
    assert_true(config_parse_size("3M", &bytes));
    assert_int_equal(bytes, 3 * 1024 * 1024);
    assert_true(config_parse_size("16G", &bytes));
    assert_int_equal(bytes, INT64_C(16) << 30);
    assert_true(config_parse_size("18446744073709551615", &bytes));
    assert_true(bytes == UINT64_MAX);
}

static void times_have_units_from_ms_to_d(void **state)
{
    uint64_t ms = 7;

    (void)state;
    assert_true(config_parse_time("250ms", &ms));
    assert_int_equal(ms, 250);
    assert_true(config_parse_time("10s", &ms));
    assert_int_equal(ms, 10000);
    assert_true(config_parse_time("5m", &ms));
    assert_int_equal(ms, 300000);
    assert_true(config_parse_time("2h", &ms));
    assert_int_equal(ms, 7200000);
    assert_true(config_parse_time("7d", &ms));
    assert_int_equal(ms, 604800000);
    assert_true(config_parse_time("0", &ms));
    assert_int_equal(ms, 0);
}

static void what_is_no_size_or_time_leaves_the_result_alone(void **state)
{
    static const char *const no_sizes[] = {
        "",
        "k",
        "-1",
        "+1",
        " 1",
        "1 k",
        "1kB",
        "1K",
        "1m",
        "1.5M",
        "0x10",
        "18446744073709551616",
        "18014398509481985k",
        "99999999999G",
        "00",
        "064k",
        "0512",
    };
    static const char *const no_times[] = {
        "", "s", "10", "-1s", "1 s", "1S", "1min", "1w", "1.5s", "213503982335d", "00", "010s",
    };
    uint64_t number = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(no_sizes) / sizeof(no_sizes[0]); i++)
        assert_false(config_parse_size(no_sizes[i], &number));
    for (size_t i = 0; i < sizeof(no_times) / sizeof(no_times[0]); i++)
        assert_false(config_parse_time(no_times[i], &number));
    assert_int_equal(number, 7);
}

/* A container may have none. */
static bool machine_id(char *text, size_t size)
{
    FILE *file = fopen("/etc/machine-id", "re");
    bool there = file && fgets(text, (int)size, file) != NULL && strlen(text) >= 32;

    if (file)
        (void)fclose(file); /* only read from */
    return there;
}

static void client_id_holds_host_and_percent(void **state)
{
    char host[256] = "";
    char wanted[600];
    struct config *config = load(*state, UPLINK "client_id = \"a%H/%%/%H\"; };\n");

    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    (void)snprintf(wanted, sizeof(wanted), "a%s/%%/%s", host, host);
    assert_string_equal(config->uplink.client_id, wanted);
    config_free(config);
}

static void client_id_holds_machine_id(void **state)
{
    char machine[64];
    char wanted[80];
    struct config *config;

    if (!machine_id(machine, sizeof(machine)))
        skip();
    config = load(*state, UPLINK "client_id = \"gw-%m\"; };\n");
    (void)snprintf(wanted, sizeof(wanted), "gw-%.32s", machine);
    assert_string_equal(config->uplink.client_id, wanted);
    config_free(config);
}

static void brokers_of_every_form_are_taken_in_order(void **state)
{
    struct config *config =
        load(*state, "uplink: { brokers = ( \"tcp://broker\", \"mqtt://10.0.0.1:1\",\n"
                     "\"tcp://[2001:db8::1]\", \"tcp://a-b.c_d:65535\" ); };\n");

    assert_int_equal(config->uplink.broker_count, 4);
    assert_string_equal(config->uplink.brokers[0], "tcp://broker");
    assert_string_equal(config->uplink.brokers[1], "mqtt://10.0.0.1:1");
    assert_string_equal(config->uplink.brokers[2], "tcp://[2001:db8::1]");
    assert_string_equal(config->uplink.brokers[3], "tcp://a-b.c_d:65535");
    config_free(config);
}

static void schemes_in_capitals_mean_the_same(void **state)
{
    struct config *config =
        load(*state, "uplink: { brokers = ( \"SSL://Broker\", \"MqttS://b:1\" );\n"
                     "tls: { verify = false; }; };\n");

    assert_string_equal(config->uplink.brokers[0], "ssl://Broker");
    assert_string_equal(config->uplink.brokers[1], "mqtts://b:1");
    config_free(config);
    refuse(*state, "uplink: { brokers = ( \"SSL://a\", \"TCP://b\" ); };",
           ":1: uplink.brokers: must not mix encrypted brokers (ssl://, mqtts://) and plain "
           "ones (tcp://, mqtt://) in one list");
}

static void included_file_is_read_from_the_folder_of_the_main_one(void **state)
{
    struct fixture *fixture = *state;
    struct config *config;

    write_other(fixture, "log_level = \"debug\";\n");
    config = load(fixture, BROKER "@include \"other.conf\"\nstatus_interval = \"1s\";\n");
    assert_int_equal(config->log_level, 7);
    assert_int_equal(config->status_interval_ms, 1000);
    config_free(config);
}

static void numbers_in_texts_names_and_comments_are_no_numbers(void **state)
{
    accept(*state, "# 99999999999\n// 99999999999\n/* 99999999999\n 99999999999 */\n"
                   "uplink: { brokers = ( \"tcp://b99999999999\" ); client_id = "
                   "\"a\\\"99999999999\"; };\n");
}

static void keys_not_yet_supported_are_taken_at_their_default(void **state)
{
    accept(*state, UPLINK "proxy = \"\"; exactly_once = false; };\n");
}

/* ---- what is refused ---- */

static void unknown_key_is_refused_with_the_nearest(void **state)
{
    refuse(*state, BROKER "log_levl = \"info\";",
           ":2: log_levl: unknown key; did you mean \"log_level\"?");
    refuse(*state, BROKER "\n\nretenton: { };",
           ":4: retenton: unknown key; did you mean \"retention\"?");
    refuse(*state, UPLINK "tls: { cafile = \"/x\"; }; };",
           ":2: uplink.tls.cafile: unknown key; did you mean \"uplink.tls.ca_file\"?");
    refuse(*state, BROKER "window = 5;",
           ":2: window: unknown key; did you mean \"uplink.window\"?");
    refuse(*state, BROKER "colour = 5;",
           ":2: colour: unknown key; mqtt-spoold.conf(5) lists all keys");
}

static void missing_brokers_are_refused(void **state)
{
    refuse(
        *state, "",
        ": uplink.brokers: missing, and it has no default; mqtt-spoold.conf(5) has examples");
    refuse(
        *state, "\nuplink: { window = 1; };",
        ":2: uplink.brokers: missing, and it has no default; mqtt-spoold.conf(5) has examples");
}

static void wrong_type_is_refused_with_the_right_one(void **state)
{
    refuse(*state, UPLINK "window = \"4\"; };",
           ":2: uplink.window: \"4\" must be a whole number");
    refuse(*state, UPLINK "window = 1.5; };", ":2: uplink.window: 1.5 must be a whole number");
    refuse(*state, UPLINK "username = 5; };",
           ":2: uplink.username: 5 must be a text in quotes");
    refuse(*state, BROKER "audit: { deliveries = 1; };",
           ":2: audit.deliveries: 1 must be true or false");
    refuse(*state, BROKER "retention: { max_bytes = \"1 G\"; };",
           ":2: retention.max_bytes: \"1 G\" must be a size such as \"64k\", \"1M\" or \"1G\", "
           "or a "
           "plain number of bytes");
    refuse(*state, BROKER "listen: { mode = 660; };",
           ":2: listen.mode: must be an octal mode in quotes such as \"0660\"");
    refuse(*state, BROKER "listen: { mode = \"rw\"; };",
           ":2: listen.mode: \"rw\" must be an octal mode in quotes such as \"0660\"");
    refuse(*state, "uplink: { brokers = \"tcp://a\"; };",
           ":1: uplink.brokers: \"tcp://a\" must be a list of texts such as ( \"first\", "
           "\"second\" )");
    refuse(*state, "uplink: { brokers = (\n 3 ); };",
           ":2: uplink.brokers: 3 must be a list of texts such as ( \"first\", \"second\" )");
    refuse(*state, BROKER "lanes = 5;",
           ":2: lanes: 5 must be a list of groups such as ( { ... }, { ... } )");
    refuse(*state, "uplink = 5;", ":1: uplink: must be a group: uplink: { ... };");
    refuse(*state, UPLINK "window: { }; };", ":2: uplink.window: must be a whole number");
}

static void time_without_unit_is_refused_with_the_units(void **state)
{
    refuse(*state, UPLINK "keepalive = 30; };",
           ":2: uplink.keepalive: 30 must be a time in quotes with its unit, ms, s, m, h or d, "
           "such "
           "as \"250ms\" or \"10s\"");
    refuse(*state, UPLINK "keepalive = \"30\"; };",
           ":2: uplink.keepalive: \"30\" must be a time in quotes with its unit, ms, s, m, h "
           "or d, "
           "such as \"250ms\" or \"10s\"");
}

static void value_out_of_range_is_refused_with_the_range(void **state)
{
    refuse(*state, UPLINK "window = 0; };", ":2: uplink.window: 0 is out of range, 1 to 10000");
    refuse(*state, UPLINK "window = 10001; };",
           ":2: uplink.window: 10001 is out of range, 1 to 10000");
    refuse(*state, UPLINK "window = -3; };", ":2: uplink.window: -3 must not be negative");
    refuse(*state, UPLINK "protocol = 3; };",
           ":2: uplink.protocol: 3 must be \"auto\", \"4\" or \"5\"; 4 is MQTT 3.1.1");
    refuse(*state, UPLINK "protocol = \"3.1.1\"; };",
           ":2: uplink.protocol: \"3.1.1\" must be \"auto\", \"4\" or \"5\"; 4 "
           "is MQTT 3.1.1");
    refuse(*state, UPLINK "tls: { min_version = 1.2; }; };",
           ":2: uplink.tls.min_version: 1.2 must be \"1.2\" or \"1.3\"");
    refuse(*state, UPLINK "keepalive = \"30d\"; };",
           ":2: uplink.keepalive: 30d is out of range, 1s to 18h");
    refuse(*state, BROKER "listen: { max_packet = \"257M\"; };",
           ":2: listen.max_packet: 257M is out of range, 1k to 256M");
    refuse(*state, BROKER "listen: { max_packet = 1023; };",
           ":2: listen.max_packet: 1023 is out of range, 1k to 256M");
    refuse(*state, BROKER "listen: { max_clients = 65537; };",
           ":2: listen.max_clients: 65537 is out of range, 1 to 65536");
    refuse(*state, BROKER "listen: { mode = \"1777\"; };",
           ":2: listen.mode: 01777 is out of range, 0000 to 0777");
    refuse(*state, UPLINK "failback = \"999ms\"; };",
           ":2: uplink.failback: 999ms is out of range, 1s to 30d, or 0s");
    refuse(*state, UPLINK "failback = \"31d\"; };",
           ":2: uplink.failback: 31d is out of range, 1s to 30d, or 0s");
    accept(*state, UPLINK "failback = \"0ms\"; };");
}

static void word_that_is_no_choice_is_refused_with_the_choices(void **state)
{
    refuse(
        *state, BROKER "retention: { when_full = \"drop\"; };",
        ":2: retention.when_full: \"drop\" must be \"evict-oldest\", \"refuse\" or \"block\"");
    refuse(
        *state, BROKER "log_level = 6;",
        ":2: log_level: 6 must be \"error\", \"warning\", \"notice\", \"info\" or \"debug\"");
}

#define SYNTAX                                                                                  \
    "syntax error here or in a line before; look for a missing semicolon, an open bracket, or " \
    "a text without quotes"

#define DOTS                                                                                   \
    "..................................................." /* 51, of 63 that a path may have */

static void syntax_error_is_refused_with_the_line(void **state)
{
    refuse(*state, BROKER "listen: {\n  mode = ;\n};", ":3: " SYNTAX);
    refuse(*state, BROKER "\nlisten: {\n group = \"a;\n};",
           ":4: the text that begins here does not end: put a \" behind it");
    refuse(*state, BROKER "retention: { when_full = 'refuse'; };",
           ":2: a text stands in double quotes, as in \"refuse\"");
    refuse(
        *state, BROKER "\nretention.max_messages = 10;",
        ":3: retention.max_messages: a group has braces: retention: { max_messages = ...; };");
    refuse(*state, BROKER "uplink.tls.ca_file = \"/a\";",
           ":2: uplink.tls.ca_file: a group has braces: uplink: { tls: { ca_file = ...; }; };");
    refuse(*state, BROKER "retain" DOTS ".host = 1;", ":2: " SYNTAX); /* no path of a key */
    refuse(*state, BROKER "/* a\n\n",
           ":2: the comment that begins here does not end: put */ behind it");
    refuse(*state, BROKER "log_level /* a\n = \"info\";",
           ":2: the comment that begins here does not end: put */ behind it");
}

static void second_key_is_refused_with_its_name(void **state)
{
    refuse(*state, BROKER "log_level = \"info\";\nlog_level = \"info\";",
           ":3: log_level: is set twice; keep one of the two");
    refuse(*state,
           BROKER "retention: { max_age = \"1d\"; max_bytes = \"1M\";\nmax_age : \"2d\"; };",
           ":3: retention.max_age: is set twice; keep one of the two");
    refuse(*state, BROKER "listen: { mode = \"0600\"; };\n\nlisten: { max_clients = 2; };",
           ":4: listen: is set twice; keep one of the two");
    refuse(*state,
           UPLINK "backoff: { min = \"1s\"; max = \"2s\"; }\n backoff /* x = 1 */ = { }; };",
           ":3: uplink.backoff: is set twice; keep one of the two");
    refuse(*state,
           BROKER "lanes = ( { name = \"a\"; topics = ( \"a\" ); },\n"
                  "{ name = \"b\"; topics = ( \"b\" ); name = \"c\"; } );",
           ":3: lanes.name: is set twice; keep one of the two");
    accept(*state, BROKER "lanes = ( { name = \"a\"; topics = ( \"a\" ); max_age = \"1d\"; },\n"
                          "{ name = \"b\"; topics = ( \"b\" ); max_age = \"1d\"; } );\n"
                          "retention: { max_age = \"1d\"; }; # max_age = 1\n");
}

static void error_in_an_included_file_names_that_file(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    char wanted[300];

    files_write(fixture->path, BROKER "@include \"other.conf\"\n",
                strlen(BROKER "@include \"other.conf\"\n"));
    write_other(fixture, "\nlog_level = \"loud\";\n");
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted), "%s/other.conf:2: log_level: ", fixture->folder);
    assert_memory_equal(fixture->error, wanted, strlen(wanted));

    write_other(fixture, "\n\nlog_level = ;\n");
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted), "%s/other.conf:3: " SYNTAX, fixture->folder);
    assert_string_equal(fixture->error, wanted);

    write_other(fixture, "retention: { max_messages = 5000000000; };\n");
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted),
                   "%s/other.conf:1: the number 5000000000 is too large;", fixture->folder);
    assert_memory_equal(fixture->error, wanted, strlen(wanted));
}

/* libconfig would end the process for a folder. */
static void include_of_what_is_no_file_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];

    (void)snprintf(wanted, sizeof(wanted), ":2: @include: %s/.: is no regular file",
                   fixture->folder);
    refuse(fixture, BROKER "@include \".\"\n", wanted);
    (void)snprintf(wanted, sizeof(wanted), ":3: @include: %s/none: No such file or directory",
                   fixture->folder);
    refuse(fixture, "/* \n */" BROKER "  @include \"none\"\n", wanted);
}

static void include_of_an_absolute_path_is_refused(void **state)
{
    refuse(
        *state, BROKER "@include \"/etc/x.conf\"\n",
        ":2: @include: \"/etc/x.conf\" must be a name in the folder of the main file, which is "
        "put in front of it");
}

static void want_of_memory_is_no_fault_of_the_file(void **state)
{
    static const char text[] = BROKER "@include \"other.conf\"\n";
    struct fixture *fixture = *state;
    struct config *config = NULL;

    write_other(fixture, "status_interval = \"1s\";\n");
    files_write(fixture->path, text, strlen(text));
    for (unsigned n = 1; n <= 2; n++) { /* the file, then what it includes */
        large_block_that_fails = n;
        assert_int_equal(config_load(fixture->path, &config, fixture->error), -ENOMEM);
        assert_non_null(strstr(fixture->error, ": out of memory"));
    }
    assert_int_equal(large_block_that_fails, 0);
}

static void file_that_includes_itself_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    char wanted[160];

    files_write(fixture->path, "@include \"other.conf\"\n",
                strlen("@include \"other.conf\"\n"));
    write_other(fixture, "@include \"other.conf\"\n@include \"other.conf\"\n");
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted),
                   "%s/other.conf:1: @include: files include files more than 10 deep",
                   fixture->folder);
    assert_string_equal(fixture->error, wanted);
}

/* libconfig 1.5 would take it modulo 2^32 without an error. */
static void number_above_32_bits_is_refused_not_cut(void **state)
{
    refuse(*state, BROKER "retention: {\n max_bytes = 5000000000; };",
           ":3: the number 5000000000 is too large; write a size with its unit, such as "
           "\"5G\", or "
           "put an L behind a count");
    refuse(*state, BROKER "retention: { max_bytes = 0xFFFFFFFF; };",
           ":2: the number 0xFFFFFFFF is too large; write a size with its unit, such as "
           "\"5G\", or "
           "put an L behind a count");
    refuse(
        *state, BROKER "retention: { max_bytes = 9223372036854775808L; };",
        ":2: the number 9223372036854775808 is too large; write a size with its unit, such as "
        "\"5G\", or put an L behind a count");
}

#define ACCESS "access = ( { user = \"*\"; },\n"

#define OCTAL                                                                                   \
    " has a leading zero, with which it is octal to some versions of libconfig and decimal to " \
    "others; write "

/* 0100 is 100 to libconfig 1.5 and 64 to 1.7. */
static void number_with_a_leading_zero_is_refused(void **state)
{
    refuse(*state, BROKER "retention: {\n max_messages = 0100; };",
           ":3: the number 0100" OCTAL "100, or a mode in quotes");
    refuse(*state, BROKER "retention: { max_messages = 0; };",
           ":2: retention.max_messages: 0 is out of range, 1 to 2000000000");
    refuse(*state, BROKER "retention: { max_bytes = 00100L; };",
           ":2: the number 00100" OCTAL "100L, or a mode in quotes");
    refuse(*state, UPLINK "window = -007; };",
           ":2: the number 007" OCTAL "7, or a mode in quotes");
    refuse(*state, UPLINK "window = 08; };",
           ":2: the number 08" OCTAL "8, or a mode in quotes");
    refuse(*state, UPLINK "window = 00; };",
           ":2: the number 00" OCTAL "0, or a mode in quotes");
    refuse(*state, BROKER "listen: { mode = 0660; };",
           ":2: the number 0660" OCTAL "660, or a mode in quotes");
    refuse(*state, BROKER ACCESS "{ user = 01001; } );",
           ":3: the number 01001" OCTAL "1001, or a mode in quotes");
    accept(*state, UPLINK "window = 0x0A; }; retention: { max_messages = 10L; };"
                          "listen: { max_packet = 0X0001000; mode = \"0600\"; };");
}

static void text_with_a_number_with_a_leading_zero_is_refused(void **state)
{
    refuse(*state, BROKER "retention: { max_bytes = \"064M\"; };",
           ":2: retention.max_bytes: \"064M\" has a leading zero; write \"64M\"");
    refuse(*state, BROKER "retention: { max_age = \"007d\"; };",
           ":2: retention.max_age: \"007d\" has a leading zero; write \"7d\"");
    refuse(*state, UPLINK "keepalive = \"0s\"; };",
           ":2: uplink.keepalive: 0ms is out of range, 1s to 18h");
    refuse(*state, "uplink: { brokers = ( \"tcp://b:01883\" ); };",
           ":1: uplink.brokers: \"tcp://b:01883\" must have a port of 1 to 65535, without a "
           "leading zero, behind the colon");
}

static void key_not_yet_supported_is_refused_by_name(void **state)
{
    refuse(
        *state, UPLINK "proxy = \"http://proxy:3128\"; };",
        ":2: uplink.proxy: \"http://proxy:3128\" cannot be used: the MQTT library waits for a "
        "proxy for up to 10 s with all calls locked, and does not read its answer to the end; "
        "connect to a tunnel instead, such as socat TCP-LISTEN:8883,bind=127.0.0.1,fork "
        "PROXY:HOST:BROKER:8883");
    refuse(*state, UPLINK "exactly_once = true; };",
           ":2: uplink.exactly_once: not yet supported; leave it out or set it to false");
}

static void names_that_do_not_exist_are_refused(void **state)
{
    refuse(*state, BROKER ACCESS "{ user = \"no-such-user\"; } );",
           ":3: access.user: there is no user \"no-such-user\"; create it (useradd), correct "
           "the name, or write its number");
    refuse(*state, BROKER ACCESS "{ publish = ( \"a\" );\n group = \"no-such-group\"; } );",
           ":4: access.group: there is no group \"no-such-group\"; create it (groupadd), "
           "correct the name, or write its number");
    refuse(*state, BROKER ACCESS "{ user = \"\"; } );", ":3: access.user: must not be empty");
    refuse(*state, BROKER ACCESS "{ user = 4294967295L; } );",
           ":3: access.user: \"4294967295\" must be a name, or a number up to 4294967294 "
           "without a leading zero");
    refuse(*state, BROKER ACCESS "{ group = \"12345678901\"; } );",
           ":3: access.group: \"12345678901\" must be a name, or a number up to 4294967294 "
           "without a leading zero");
    refuse(*state, BROKER ACCESS "{ group = true; } );",
           ":3: access.group: must be a text in quotes");
}

/* 4294967296 is 0 in 32 bits: root. */
static void numbers_of_accounts_are_never_cut(void **state)
{
    static const char *const numbers[] = {
        "\"4294967295\"",           "\"4294967296\"", "4294967296L", "0x100000000L",
        "\"18446744073709551616\"", "\"00\"",         "\"01001\"",   "\"00000000000\"",
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        for (unsigned is_group = 0; is_group < 2; is_group++) {
            struct fixture *fixture = *state;
            struct config *config = NULL;
            char text[256];

            (void)snprintf(text, sizeof(text), BROKER ACCESS "{ %s = %s; } );",
                           is_group ? "group" : "user", numbers[i]);
            files_write(fixture->path, text, strlen(text));
            assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
            assert_non_null(strstr(fixture->error,
                                   is_group ? ":3: access.group: \"" : ":3: access.user: \""));
            assert_non_null(strstr(fixture->error, " must be a name, or a number up to "
                                                   "4294967294 without a leading zero"));
        }
    }
    refuse(*state, BROKER ACCESS "{ user = -4294967296L; } );",
           ":3: access.user: there is no user \"-4294967296\"; create it (useradd), correct "
           "the name, or write its number");
}

static void entry_of_access_without_whom_or_with_two_is_refused(void **state)
{
    refuse(*state, BROKER ACCESS "{ publish = ( \"b\" ); } );",
           ":3: access.user: missing; each entry needs a user or a group, such as user = "
           "\"sensors\"; \"*\" is for all");
    refuse(*state, BROKER ACCESS "{ user = \"root\";\n group = \"root\"; } );",
           ":4: access.group: stands beside a user: an entry is for one of the two, so write "
           "two entries");
    refuse(*state, BROKER ACCESS "5 );",
           ":3: access: each entry must be a group such as { user = \"sensors\"; publish = ( "
           "\"plant/#\" ); }");
}

static void keys_of_access_are_checked_as_all_others(void **state)
{
    refuse(*state, BROKER ACCESS "{ user = 0; publsh = ( \"b\" ); } );",
           ":3: access.publsh: unknown key; did you mean \"access.publish\"?");
    refuse(*state, BROKER ACCESS "{ user = 0; publish = ( \"a#\" ); } );",
           ":3: access.publish: \"a#\" must be a topic filter: + stands for one whole level, # "
           "for all that follow and at the end only, as in \"+/alarm/#\"");
    refuse(*state, BROKER ACCESS "{ user = 0; publish = ( \"$SYS/a\" ); } );",
           ":3: access.publish: \"$SYS/a\" must not begin with $: no program may publish "
           "there");
    refuse(*state, BROKER ACCESS "{ user = 0; admin = 1; } );",
           ":3: access.admin: 1 must be true or false");
    refuse(*state, BROKER ACCESS "{ user = 0; max_clients = 65537; } );",
           ":3: access.max_clients: 65537 is out of range, 0 to 65536");
    refuse(*state, BROKER ACCESS "{ user = 0; rate = 1000001; } );",
           ":3: access.rate: 1000001 is out of range, 0 to 1000000");
}

static void more_than_1000_entries_of_access_are_refused(void **state)
{
    static char text[32768];

    for (int count = 1000; count <= 1001; count++) {
        size_t used = (size_t)snprintf(text, sizeof(text), BROKER "access = (");

        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s{ user = %d; }",
                                     i > 0 ? "," : "", i);
        (void)snprintf(text + used, sizeof(text) - used, ");\n");
        if (count == 1000)
            accept(*state, text);
        else
            refuse(*state, text, ":2: access: must have 0 to 1000 elements");
    }
}

#define LANE "lanes = ( { name = \"a\"; topics = ( \"a/#\" ); },\n"

static void lane_without_name_or_topics_is_refused(void **state)
{
    refuse(*state, BROKER LANE "{ topics = ( \"b\" ); } );",
           ":3: lanes.name: missing; each lane needs a name, such as name = \"alarms\"");
    refuse(*state, BROKER LANE "{ name = \"\"; topics = ( \"b\" ); } );",
           ":3: lanes.name: must not be empty");
    refuse(*state, BROKER LANE "{ name = \"b\"; } );",
           ":3: lanes.topics: missing; a lane needs filters that say which messages it takes, "
           "such as topics = ( \"+/alarm/#\" )");
    refuse(*state, BROKER LANE "{ name = \"b\";\n topics = ( ); } );",
           ":4: lanes.topics: must have 1 to 64 elements");
}

static void lane_names_that_cannot_be_are_refused(void **state)
{
    refuse(*state, BROKER LANE "{ topics = ( \"b\" );\n name = \"a\"; } );",
           ":4: lanes.name: \"a\" is the name of the lane in line 2 already; each lane needs "
           "its own");
    refuse(
        *state, BROKER LANE "{ name = \"default\"; topics = ( \"b\" ); } );",
        ":3: lanes.name: \"default\" must be another name: this one has the lane of all other "
        "topics, whose limits are those of retention");
    refuse(*state, BROKER LANE "{ name = \"b c\"; topics = ( \"b\" ); } );",
           ":3: lanes.name: \"b c\" must be of letters, digits, minus signs, underscores and "
           "dots");
    refuse(*state,
           BROKER LANE "{ name = \"0123456789012345678901234567890123456789012345678901234567"
                       "8901234\"; topics = ( \"b\" ); } );",
           ":3: lanes.name: must not be longer than 64 bytes");
}

static void filters_that_match_nothing_are_refused(void **state)
{
    static const char *const wrong[] = {"a/#/b", "a#", "a+", "+a/b", "a/b#", ""};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[256];
        char wanted[256];

        (void)snprintf(text, sizeof(text),
                       BROKER LANE "{ name = \"b\"; topics = ( \"b\",\n\"%s\" ); } );",
                       wrong[i]);
        (void)snprintf(
            wanted, sizeof(wanted),
            ":4: lanes.topics: \"%s\" must be a topic filter: + stands for one whole "
            "level, # for all that follow and at the end only, as in \"+/alarm/#\"",
            wrong[i]);
        refuse(*state, text, wanted);
    }
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"$SYS/#\" ); } );",
           ":3: lanes.topics: \"$SYS/#\" must not begin with $: no program may publish there");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"\\xff\" ); } );",
           ":3: lanes.topics: \"\xff\" must be valid UTF-8");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"a/\xC2\x85\" ); } );",
           ":3: lanes.topics: \"a/\xC2\x85\" must not hold control characters or "
           "non-characters: no program may publish there");
    refuse(*state, BROKER "access = ( { user = \"*\"; publish = ( \"\xEF\xBF\xBF\" ); } );",
           ":2: access.publish: \"\xEF\xBF\xBF\" must not hold control characters or "
           "non-characters: no program may publish there");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( 5 ); } );",
           ":3: lanes.topics: 5 must be a list of texts such as ( \"first\", \"second\" )");
}

/* @wanted: lines "LINE KEY: TEXT". */
static void warn(struct fixture *fixture, const char *text, const char *wanted)
{
    struct config *config = load(fixture, text);
    char found[4096] = "";
    size_t size = strlen(fixture->path);

    for (size_t i = 0; i < config->warning_count; i++) {
        const struct config_warning *warning = &config->warnings[i];

        assert_memory_equal(warning->place, fixture->path, size);
        assert_true(warning->remedy[0] != '\0');
        text_append(found, sizeof(found), "%s %s: %s\n", warning->place + size + 1,
                    warning->key, warning->text);
    }
    assert_string_equal(found, wanted);
    config_free(config);
}

static void a_lane_whose_topics_others_take_is_warned_of(void **state)
{
    warn(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b/+\", \"+/c\" ); } );", "");
    warn(*state, BROKER LANE "{ name = \"b\"; topics = ( \"#\" ); } );", "");
    warn(
        *state, BROKER LANE "{ name = \"b\"; topics =\n ( \"a/b\", \"a\" ); } );",
        "3 lanes.topics: lane b never takes a message: the lanes before it, up to a, match all "
        "of its topics\n");
    warn(
        *state, BROKER LANE "{ name = \"b\"; topics = ( \"b\",\n \"a/+\" ); } );",
        "4 lanes.topics: \"a/+\" brings lane b no message: the lanes before it, up to a, match "
        "all of its topics\n");
    /* None of them alone. */
    warn(
        *state,
        BROKER "lanes = ( { name = \"a\"; topics = ( \"x\" ); },\n"
               "{ name = \"b\"; topics = ( \"x/+/#\" ); },\n"
               "{ name = \"c\"; topics = ( \"x/y\" ); },\n"
               "{ name = \"d\"; topics = ( \"x/#\" ); } );",
        "4 lanes.topics: lane c never takes a message: the lanes before it, up to b, match all "
        "of its topics\n"
        "5 lanes.topics: lane d never takes a message: the lanes before it, up to b, match all "
        "of its topics\n");
}

static void check_remedy(struct fixture *fixture, const char *text, const char *part)
{
    struct config *config = load(fixture, text);

    assert_int_equal(config->warning_count, 1);
    assert_non_null(strstr(config->warnings[0].remedy, part));
    config_free(config);
}

static void what_spooled_messages_may_need_is_to_be_removed_later(void **state)
{
    check_remedy(*state, BROKER LANE "{ name = \"b\"; topics = ( \"a/b\" ); } );",
                 "remove what is not used; a lane, once it holds no message");
    check_remedy(*state,
                 BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); map = ( \"c\", \"1\" ); } );",
                 "remove the pair, once no message that was spooled before a HUP needs it");
}

static void a_filter_that_repeats_one_of_its_lane_is_no_fault(void **state)
{
    warn(*state, BROKER "lanes = ( { name = \"a\"; topics = ( \"a/#\", \"a/b\" ); } );", "");
    warn(*state,
         UPLINK "  report: { topic = \"r\"; }; };\n"
                "lanes = ( { name = \"a\"; topics = ( \"#\" ); } );",
         "");
}

static void a_pair_of_a_map_that_no_message_comes_to_is_warned_of(void **state)
{
    warn(*state,
         BROKER LANE "{ name = \"b\"; topics = ( \"+/t\", \"c\" );\n"
                     "  map = ( \"c\", \"1\",\n"
                     "          \"d\", \"2\",\n"
                     "          \"+/t\", \"3\",\n"
                     "          \"e/t\", \"4\" ); } );",
         "5 lanes.map: \"d\" of lane b is used by no new message: no topic of the lane matches "
         "it\n"
         "7 lanes.map: \"e/t\" of lane b is never used: pairs before it match all of its "
         "topics\n");
    warn(*state,
         BROKER LANE "{ name = \"b\"; topics = ( \"+/t\" );\n"
                     "  map = ( \"a/t\", \"1\", \"+/t\", \"2\" ); } );",
         "4 lanes.map: \"a/t\" of lane b is used by no new message: lanes before this one take "
         "all of its topics\n");
}

static void an_entry_of_access_behind_one_that_fits_is_warned_of(void **state)
{
    warn(*state,
         BROKER "access = ( { user = \"root\"; }, { group = \"root\"; },\n"
                "{ user = 0; publish = ( ); },\n"
                "{ user = 7; }, { group = \"*\"; },\n"
                "{ group = 8; }, { user = \"*\"; } );",
         "3 access.user: the entry of \"0\" is never used: the one in line 2 fits all of its "
         "programs\n"
         "5 access.group: the entry of \"8\" is never used: the one in line 4 fits all of its "
         "programs\n"
         "5 access.user: the entry of \"*\" is never used: the one in line 4 fits all of its "
         "programs\n");
}

static void only_the_first_warnings_are_kept_and_the_others_counted(void **state)
{
    enum { MORE = 5 };
    char text[4096] = BROKER "access = ( { user = \"*\"; }";
    const struct config_warning *last;
    struct config *config;

    for (int i = 0; i < CONFIG_WARNINGS_MAX + MORE; i++)
        text_append(text, sizeof(text), ", { user = %d; }", i + 1);
    text_append(text, sizeof(text), " );");
    config = load(*state, text);
    assert_int_equal(config->warning_count, CONFIG_WARNINGS_MAX);
    last = &config->warnings[CONFIG_WARNINGS_MAX - 1];
    assert_non_null(strstr(last->text, "; and 5 more entries are never used"));
    config_free(config);
}

static void keys_of_a_lane_are_checked_as_all_others(void **state)
{
    refuse(*state, BROKER LANE "{ name = \"b\"; topic = ( \"b\" ); } );",
           ":3: lanes.topic: unknown key; did you mean \"lanes.topics\"?");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); backoff = 5; } );",
           ":3: lanes.backoff: unknown key; did you mean \"uplink.backoff\"?");
    refuse(*state, BROKER LANE "5 );",
           ":3: lanes: each lane must be a group such as { name = \"alarms\"; topics = ( "
           "\"+/alarm/#\" ); }");
    refuse(*state, BROKER LANE "{ name = 5; } );",
           ":3: lanes.name: 5 must be a text in quotes");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); priority = \"5\"; } );",
           ":3: lanes.priority: \"5\" must be a whole number");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); priority = -1001; } );",
           ":3: lanes.priority: -1001 is out of range, -1000 to 1000");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); priority = 1001; } );",
           ":3: lanes.priority: 1001 is out of range, -1000 to 1000");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); drain = \"lifo\"; } );",
           ":3: lanes.drain: \"lifo\" must be \"fifo\" or \"live-first\"");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); max_qos = 3; } );",
           ":3: lanes.max_qos: 3 is out of range, 0 to 2");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); prefix = \"+/\"; } );",
           ":3: lanes.prefix: \"+/\" must not hold the wildcards + and #");
    refuse(
        *state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" );\nprefix = \"%x\"; } );",
        ":4: lanes.prefix: must hold no % but %H (host name), %m (machine id) and %% (a percent "
        "sign)");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); max_messages = 0; } );",
           ":3: lanes.max_messages: 0 is out of range, 1 to 2000000000");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); max_age = \"1\"; } );",
           ":3: lanes.max_age: \"1\" must be a time in quotes with its unit, ms, s, m, h or d, "
           "such as \"250ms\" or \"10s\"");
    refuse(*state, BROKER LANE "{ name = \"b\"; topics = ( \"b\" ); when_full = \"no\"; } );",
           ":3: lanes.when_full: \"no\" must be \"evict-oldest\", \"refuse\" or \"block\"");
}

#define MAP(pairs) BROKER LANE "{ name = \"b\"; topics = ( \"b\" );\nmap = ( " pairs " ); } );"

#define OF_BROKER "must not begin with $SYS/: a broker keeps these topics for itself"
#define REFERENCES                                                                             \
    "must refer to wildcards of its filter only: {1} is what its first + matches, {2} its "    \
    "second, and {#} what its # matches"

static void topics_where_only_a_broker_publishes_are_refused(void **state)
{
    refuse(*state, UPLINK "report: { topic = \"$SYS/a\"; }; };",
           ":2: uplink.report.topic: \"$SYS/a\" " OF_BROKER);
    refuse(*state, UPLINK "presence: { topic = \"$SYS/a\"; }; };",
           ":2: uplink.presence.topic: \"$SYS/a\" " OF_BROKER);
    refuse(*state, UPLINK "topic_prefix = \"$SYS\"; };",
           ":2: uplink.topic_prefix: \"$SYS\" " OF_BROKER);
    refuse(*state,
           BROKER "lanes: ( { name = \"a\"; topics = ( \"a\" );\nprefix = \"$SYS/\"; } );",
           ":3: lanes.prefix: \"$SYS/\" " OF_BROKER);
    accept(*state, UPLINK "report: { topic = \"$aws/things/a\"; }; };");
    accept(*state, UPLINK "report: { topic = \"$SYSTEM/a\"; }; };");
}

static void maps_that_make_no_topics_are_refused(void **state)
{
    refuse(*state, MAP("\"a\", \"b\", \"c\""),
           ":4: lanes.map: must be pairs of a filter and a topic, such as ( \"+/temp\", "
           "\"t/{1}\" ); the last filter has no topic");
    refuse(*state, MAP("\"a\", \"b\",\n\"#/c\", \"d\""),
           ":5: lanes.map: \"#/c\" must be a topic filter: + stands for one whole level, # for "
           "all that follow and at the end only, as in \"+/alarm/#\"");
    refuse(*state, MAP("\"a\", \"\""), ":4: lanes.map: \"\" must not be empty");
    refuse(*state, MAP("\"+/#\",\n\"{2}\""), ":5: lanes.map: \"{2}\" " REFERENCES);
    refuse(*state, MAP("\"+\", \"{#}\""), ":4: lanes.map: \"{#}\" " REFERENCES);
    refuse(*state, MAP("\"a\", \"$SYS/a\""), ":4: lanes.map: \"$SYS/a\" " OF_BROKER);
    refuse(*state, MAP("\"+\", \"a/+\""),
           ":4: lanes.map: \"a/+\" must not hold the wildcard +: write {1} for the level that "
           "the first + matches");
    refuse(
        *state, MAP("\"a\xC2\x85\", \"b\""),
        ":4: lanes.map: \"a\xC2\x85\" must not hold control characters or non-characters: no "
        "program may publish there");
    refuse(*state, MAP("\"a\", \"b\xC2\x85\""),
           ":4: lanes.map: \"b\xC2\x85\" must not hold control characters");
}

static void more_than_63_lanes_or_64_filters_are_refused(void **state)
{
    static char text[16384];

    for (int count = 63; count <= 64; count++) {
        (void)snprintf(text, sizeof(text), BROKER "lanes = (");
        for (int i = 0; i < count; i++) {
            size_t used = strlen(text);

            (void)snprintf(text + used, sizeof(text) - used,
                           "%s{ name = \"l%d\"; topics = ( \"a\" ); }", i > 0 ? "," : "", i);
        }
        (void)strncat(text, ");\n", sizeof(text) - strlen(text) - 1);
        if (count == 63)
            accept(*state, text);
        else
            refuse(*state, text, ":2: lanes: must have 0 to 63 elements");
    }
    for (int count = 64; count <= 65; count++) {
        (void)snprintf(text, sizeof(text), BROKER "lanes = ( { name = \"l\"; topics = ( \"a\"");
        for (int i = 1; i < count; i++)
            (void)strncat(text, ",\"a\"", sizeof(text) - strlen(text) - 1);
        (void)strncat(text, " ); } );\n", sizeof(text) - strlen(text) - 1);
        if (count == 64)
            accept(*state, text);
        else
            refuse(*state, text, ":2: lanes.topics: must have 1 to 64 elements");
    }
}

/* And one that is a byte shorter than the limit is taken. */
static void refuse_directory_of(struct fixture *f, size_t size)
{
    static char path[5000], text[6000], wanted[200];

    memset(path, 'x', size);
    path[0] = '/';
    path[size] = '\0';
    (void)snprintf(text, sizeof(text), BROKER "spool: { directory = \"%s\"; };", path);
    (void)snprintf(wanted, sizeof(wanted),
                   ":2: spool.directory: \"%.96s\" must be at most 486 bytes, SQLite's limit "
                   "for paths",
                   path);
    refuse(f, text, wanted);
    path[SPOOL_DIRECTORY_MAX] = '\0';
    (void)snprintf(text, sizeof(text), BROKER "spool: { directory = \"%s\"; };", path);
    accept(f, text);
}

static void paths_that_are_not_absolute_are_refused(void **state)
{
    char text[400];
    char socket[120];
    char wanted[300];

    refuse(*state, BROKER "spool: { directory = \"spool\"; };",
           ":2: spool.directory: \"spool\" must be an absolute path");
    refuse(*state, BROKER "spool: { directory = \"\"; };",
           ":2: spool.directory: must not be empty");
    refuse(*state, BROKER "listen: { socket = \"s\"; };",
           ":2: listen.socket: \"s\" must be an absolute path");
    refuse(*state, BROKER "audit: { file = \"a\"; };",
           ":2: audit.file: \"a\" must be an absolute path");

    refuse_directory_of(*state, SPOOL_DIRECTORY_MAX + 1);
    refuse_directory_of(*state, 4095);
    memset(socket, 'x', sizeof(socket));
    socket[0] = '/';
    socket[107] = '\0';
    (void)snprintf(text, sizeof(text), BROKER "listen: { socket = \"%s\"; };", socket);
    accept(*state, text);
    socket[107] = 'x';
    socket[108] = '\0';
    (void)snprintf(text, sizeof(text), BROKER "listen: { socket = \"%s\"; };", socket);
    (void)snprintf(wanted, sizeof(wanted),
                   ":2: listen.socket: \"%.96s\" must be shorter than 108 bytes, the kernel's "
                   "limit for a socket's path",
                   socket);
    refuse(*state, text, wanted);
}

/* @keys, where every %s is the folder of the fixture. */
static void refuse_one_file(struct fixture *fixture,
                            const char *keys,
                            const char *key,
                            const char *first,
                            const char *second)
{
    const char *folder = fixture->folder;
    char text[800];
    char wanted[400];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof(text), keys, folder, folder, folder);
#pragma GCC diagnostic pop
    (void)snprintf(wanted, sizeof(wanted),
                   ":2: %s: must be another path: %s and %s would be one file, and the daemon "
                   "writes it",
                   key, first, second);
    refuse(fixture, text, wanted);
}

static void two_keys_that_name_one_file_are_refused(void **state)
{
    static const struct {
        const char *keys, *key, *first, *second;
    } rows[] = {
        {"listen: { socket = \"%s/s\"; }; audit: { file = \"%s/status.json\"; };", "audit.file",
         "audit.file", "status.json beside listen.socket"},
        {"listen: { socket = \"%s/s\"; }; audit: { file = \"%s/./x/..//status.json.new\"; };",
         "audit.file", "audit.file", "status.json.new beside listen.socket"},
        {"listen: { socket = \"/no/where/s\"; }; audit: { file = \"/no//./where/s\"; };",
         "audit.file", "audit.file", "listen.socket"},
        {"audit: { file = \"%s/t.conf\"; };", "audit.file", "audit.file",
         "the configuration file"},
        {"audit: { file = \"%s/link\"; };", "audit.file", "audit.file",
         "the configuration file"},
        {"spool: { directory = \"/no/spool\"; }; audit: { file = \"/no/spool/lock\"; };",
         "audit.file", "audit.file", "a file of the spool"},
        {"spool: { directory = \"%s\"; }; audit: { file = \"%s/spool.db.new\"; };",
         "audit.file", "audit.file", "a file of the spool"},
        {"spool: { directory = \"%s\"; }; audit: { file = \"%s/spool.mark\"; };", "audit.file",
         "audit.file", "a file of the spool"},
        {"spool: { directory = \"%s/a\"; }; audit: { file = \"%s/a\"; };", "audit.file",
         "audit.file", "spool.directory"},
        {"spool: { directory = \"%s\"; }; listen: { socket = \"%s/spool.db\"; };",
         "listen.socket", "listen.socket", "a file of the spool"},
        {"listen: { socket = \"%s/status.json\"; };", "listen.socket", "listen.socket",
         "status.json beside listen.socket"},
    };
    struct fixture *fixture = *state;
    char text[400];
    char link[96];

    (void)snprintf(link, sizeof(link), "%s/link", fixture->folder);
    assert_int_equal(symlink(fixture->path, link), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s%s", BROKER, rows[i].keys);
        refuse_one_file(fixture, text, rows[i].key, rows[i].first, rows[i].second);
    }
    assert_int_equal(unlink(link), 0);
}

static void file_that_is_read_and_written_is_refused(void **state)
{
    static const char *const keys[] = {"ca_file", "cert_file", "key_file", "key_password_file"};
    char text[600];
    char second[64];

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        (void)snprintf(text, sizeof(text),
                       "\nuplink: { brokers = (\"ssl://h\"); tls: { cert_file = \"/no/c\"; "
                       "key_file = \"/no/k\"; %s%s%s }; }; audit: { file = \"%s\"; };",
                       i == 0 || i == 3 ? keys[i] : "", i == 0 || i == 3 ? " = \"/no/a\";" : "",
                       "",
                       i == 1   ? "/no/c"
                       : i == 2 ? "/no/k"
                                : "/no/a");
        (void)snprintf(second, sizeof(second), "uplink.tls.%s", keys[i]);
        refuse_one_file(*state, text, "audit.file", "audit.file", second);
    }
    refuse_one_file(*state,
                    "\nuplink: { brokers = (\"tcp://h\"); username = \"u\"; password_file = "
                    "\"/run/status.json\"; }; listen: { socket = \"/run/s\"; };",
                    "listen.socket", "status.json beside listen.socket",
                    "uplink.password_file");
}

static void paths_that_only_look_alike_are_taken(void **state)
{
    accept(*state, BROKER "spool: { directory = \"/no/spool\"; }; audit: { file = "
                          "\"/no/spool/audit.jsonl\"; };");
    accept(*state, BROKER "listen: { socket = \"/no/run/s\"; }; audit: { file = "
                          "\"/no/other/status.json\"; };");
    accept(*state,
           "uplink: { brokers = (\"ssl://h\"); tls: { cert_file = \"/no/p\"; key_file = "
           "\"/no/p\"; }; };");
    accept(*state, BROKER "audit: { file = \"\"; };");
}

static void host_name_that_is_not_utf8_is_refused_for_the_client_id(void **state)
{
    char host[256] = "";

    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    if (unshare(CLONE_NEWUTS) < 0) {
        print_message("needs a host name of its own: %s\n", strerror(errno));
        skip();
    }
    assert_int_equal(sethostname("gw\xFF", 3), 0);
    refuse(*state, UPLINK "client_id = \"a%H\"; };\n",
           ":2: uplink.client_id: %H: the host name must be valid UTF-8");
    assert_int_equal(sethostname(host, strlen(host)), 0);
}

/* And not shown, because the error is logged. */
static void a_password_in_a_broker_is_refused(void **state)
{
    static const char wrong[] =
        "must not hold a user name or password: set uplink.username and "
        "uplink.password_file";
    static const char *const brokers[] = {"user@a:1", "user:secret@a:1", "us%er:se/cret@a:1"};
    char text[200], wanted[300];

    for (size_t i = 0; i < sizeof(brokers) / sizeof(brokers[0]); i++) {
        (void)snprintf(text, sizeof(text), "uplink: { brokers = ( \"tcp://%s\" ); };",
                       brokers[i]);
        (void)snprintf(wanted, sizeof(wanted), ":1: uplink.brokers: \"...@a:1\" %s", wrong);
        refuse(*state, text, wanted);
    }
}

/* By config_test() alone: a group of a name service would delay the daemon. */
static void a_group_that_does_not_exist_is_refused_by_the_test(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    char wanted[200];

    accept(fixture, BROKER "\nlisten: { group = \"no-such-group\"; };");
    assert_int_equal(config_test(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted),
                   "%s:3: listen.group: there is no group \"no-such-group\"; create it "
                   "(groupadd), or correct the name",
                   fixture->path);
    assert_string_equal(fixture->error, wanted);
    accept(fixture, BROKER "\nlisten: { group = \"root\"; };");
    assert_int_equal(config_test(fixture->path, &config, fixture->error), 0);
    config_free(config);
}

static const char *const directory_needed[] = {"spool.directory", NULL};

/* @error: a part of it. */
static void load_directory(struct fixture *fixture, const char *text, const char *error)
{
    struct config *config = NULL;

    files_write(fixture->path, text, strlen(text));
    assert_int_equal(
        config_load_needed(fixture->path, directory_needed, &config, fixture->error), 0);
    assert_string_equal(config->spool.directory, "/data");
    assert_int_equal(config->is_partial, error[0] != '\0');
    if (error[0] != '\0')
        assert_non_null(strstr(fixture->error, error));
    else
        assert_string_equal(fixture->error, "");
    config_free(config);
}

static void refuse_directory(struct fixture *fixture, const char *text, const char *error)
{
    struct config *config = NULL;

    files_write(fixture->path, text, strlen(text));
    assert_int_equal(
        config_load_needed(fixture->path, directory_needed, &config, fixture->error), -EINVAL);
    assert_null(config);
    assert_non_null(strstr(fixture->error, error));
}

static void what_is_needed_is_read_of_a_file_with_other_errors(void **state)
{
#define DIRECTORY "spool: { directory = \"/data\"; };\n"
    load_directory(*state, BROKER DIRECTORY, "");
    load_directory(*state, DIRECTORY, ": uplink.brokers: missing");
    load_directory(*state,
                   DIRECTORY "uplink: { brokers = ( \"a\" ); tls: { ca_file = \"/a\"; }; };",
                   ":2: uplink.brokers: ");
    load_directory(*state,
                   DIRECTORY BROKER "listen: { max_clients = 0; };\nlog_level = 9;\nx = 1;",
                   ":3: listen.max_clients: ");
    load_directory(*state,
                   DIRECTORY BROKER "lanes: ( { name = \"a\"; topics = ( \"a\" ); },\n{ } );",
                   ":4: lanes.name: ");
    load_directory(*state, DIRECTORY BROKER "listen: 5;", ":3: listen: ");
    load_directory(*state, DIRECTORY BROKER "access = ( { user = 0; },\n{ } );",
                   ":4: access.user: missing");
    /* No name service is asked. */
    load_directory(*state, DIRECTORY BROKER "access = ( { user = \"no-such-user\"; } );", "");
    refuse_directory(*state, BROKER "spool: { directory = \"data\"; };",
                     ":2: spool.directory: ");
    refuse_directory(*state, BROKER "spool: { directroy = \"/data\"; };", "spool.directroy: ");
    refuse_directory(*state, BROKER "spol: { directory = \"/data\"; };", ":2: spol: ");
    refuse_directory(*state, BROKER "spool: 5;", ":2: spool: ");
    refuse_directory(*state, DIRECTORY "log_level = ;", ":2: syntax error");
}

static void an_error_of_a_needed_key_is_never_passed_over(void **state)
{
#define AUDIT "audit: { file = \"/p\"; };\n"
    static const struct {
        const char *needed;
        const char *text;
        const char *error;
    } rows[] = {
        {"audit.file", AUDIT UPLINK "password_file = \"/p\"; };\n",
         ":1: audit.file: must be another path"},
        {"audit.file",
         AUDIT UPLINK "password_file = \"/p\"; };\n"
                      "log_level = 9;",
         ":1: audit.file: must be another path"},
        {"audit.file", AUDIT "uplink: { password_file = \"/p\"; };",
         ":1: audit.file: must be another path"},
        {"listen.socket",
         AUDIT UPLINK "password_file = \"/p\"; };\n"
                      "listen: { socket = \"/p\"; };",
         ":4: listen.socket: must be another path"},
        {"uplink.stamp",
         UPLINK "protocol = 4; stamp = true; backoff: { min = \"3m\"; max = \"2m\"; }; };\n",
         ":2: uplink.stamp: needs uplink.protocol = 5"},
        {"uplink.topic_prefix", AUDIT UPLINK "client_id = \"%x\"; topic_prefix = \"%x\"; };\n",
         ":3: uplink.topic_prefix: must hold no % but"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *const needed[] = {rows[i].needed, NULL};
        struct config *config = NULL;

        files_write(fixture->path, rows[i].text, strlen(rows[i].text));
        assert_int_equal(config_load_needed(fixture->path, needed, &config, fixture->error),
                         -EINVAL);
        assert_null(config);
        if (!strstr(fixture->error, rows[i].error))
            fail_msg("\"%s\" is not in \"%s\"", rows[i].error, fixture->error);
    }
}

static void errors_that_are_passed_over_leave_what_is_needed(void **state)
{
    static const char *const needed[] = {"spool.directory", NULL};
    static const char text[] =
        DIRECTORY AUDIT UPLINK "password_file = \"/p\"; client_id = \"%x\"; protocol = 4; "
                               "stamp = true; tls: { cert_file = \"/c\"; }; };\n";
    struct fixture *fixture = *state;
    struct config *config = NULL;

    files_write(fixture->path, text, strlen(text));
    assert_int_equal(config_load_needed(fixture->path, needed, &config, fixture->error), 0);
    assert_true(config->is_partial);
    assert_string_equal(config->spool.directory, "/data");
    /* the first of five */
    assert_non_null(
        strstr(fixture->error, ":4: uplink.tls.cert_file: needs encrypted brokers"));
    config_free(config);
}

static void brokers_that_cannot_be_are_refused(void **state)
{
    static const char scheme[] = "must begin with tcp://, mqtt://, ssl:// or mqtts://, as in "
                                 "\"ssl://broker.example:8883\"";
    static const char port[] =
        "must have a port of 1 to 65535, without a leading zero, behind the colon";
    static const char end[] = "must end after HOST or HOST:PORT (an IPv6 address stands in "
                              "brackets)";
    static const char host[] = "must have a host behind the scheme, as in "
                               "\"ssl://broker.example:8883\"";
    static const char websocket[] =
        "must not be a WebSocket: the MQTT library misreads an answer to the upgrade that comes "
        "in pieces or with more than 1 KiB (paho.mqtt.c issue 1688); write tcp:// or ssl://, "
        "with uplink.tls.alpn where only port 443 is open";
    static const char *const cases[][2] = {
        {"broker:1883", scheme},
        {"http://a", scheme},
        {"ws://a", websocket},
        {"WSS://a:443", websocket},
        {"tcp://", host},
        {"tcp://:1883", host},
        {"tcp://[]", host},
        {"tcp://a:", port},
        {"tcp://a:0", port},
        {"tcp://a:65536", port},
        {"tcp://a:1883/", port},
        {"tcp://a:-1", port},
        {"tcp://a/b", end},
        {"tcp://a b", end},
        {"tcp://2001:db8::1", port},
        {"tcp://[::1]x", end},
        {"tcp://[::1", "must have an IPv6 address in the brackets, as in "
                       "\"ssl://[2001:db8::1]:8883\""},
        {"tcp://[host]:1", host},
    };
    char text[200];
    char wanted[300];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(text, sizeof(text), "uplink: { brokers = ( \"%s\" ); };", cases[i][0]);
        (void)snprintf(wanted, sizeof(wanted), ":1: uplink.brokers: \"%s\" %s", cases[i][0],
                       cases[i][1]);
        refuse(*state, text, wanted);
    }
}

static void broker_list_is_bounded_and_not_mixed(void **state)
{
    refuse(*state, "uplink: { brokers = ( ); };",
           ":1: uplink.brokers: must have 1 to 16 elements");
    refuse(
        *state,
        "uplink: { brokers = [ \"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\","
        "\"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\","
        "\"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\", \"tcp://a\" ]; };",
        ":1: uplink.brokers: must have 1 to 16 elements");
    refuse(
        *state, "uplink: { brokers = ( \"tcp://a\", \"ssl://a\" ); };",
        ":1: uplink.brokers: must not mix encrypted brokers (ssl://, mqtts://) and plain ones "
        "(tcp://, mqtt://) in one list");
    accept(*state, "uplink: { brokers = ( \"mqtts://a\", \"ssl://a\" ); };");
    accept(*state, "uplink: { brokers = ( \"mqtt://a\", \"tcp://a\" ); };");
}

static void tls_keys_that_cannot_work_are_refused(void **state)
{
    refuse(
        *state, UPLINK "tls: { verify = false; }; };",
        ":2: uplink.tls.verify: needs encrypted brokers, but uplink.brokers are plain: write "
        "ssl:// there or leave this out");
    refuse(
        *state, UPLINK "tls: { ca_file = \"/x\"; }; };",
        ":2: uplink.tls.ca_file: needs encrypted brokers, but uplink.brokers are plain: write "
        "ssl:// there or leave this out");
    refuse(*state, UPLINK_TLS "tls: { cert_file = \"/x\"; }; };",
           ":2: uplink.tls.cert_file: needs uplink.tls.key_file too: certificate and key come "
           "together");
    refuse(*state, UPLINK_TLS "tls: { key_file = \"/x\"; }; };",
           ":2: uplink.tls.key_file: needs uplink.tls.cert_file too: certificate and key come "
           "together");
    refuse(*state, UPLINK_TLS "tls: { key_password_file = \"/x\"; }; };",
           ":2: uplink.tls.key_password_file: needs uplink.tls.key_file too");
    refuse(*state, UPLINK "tls: { alpn = \"mqtt\"; }; };",
           ":2: uplink.tls.alpn: needs encrypted brokers, but uplink.brokers are plain: write "
           "ssl:// there or leave this out");
    refuse(*state, UPLINK "tls: { min_version = \"1.3\"; }; };",
           ":2: uplink.tls.min_version: needs encrypted brokers, but uplink.brokers are plain: "
           "write ssl:// there or leave this out");
    refuse(*state, UPLINK_TLS "tls: { alpn = \"mqtt, http\"; }; };",
           ":2: uplink.tls.alpn: \"mqtt, http\" must be the name of one protocol, as in "
           "\"x-amzn-mqtt-ca\"");
    accept(*state, UPLINK_TLS "tls: { alpn = \"mqtt\"; min_version = \"1.3\"; }; };");
    accept(*state,
           UPLINK_TLS "tls: { ca_file = \"/x\"; cert_file = \"/x\"; key_file = \"/x\";\n"
                      "key_password_file = \"/x\"; verify = false; }; };");
}

static void credentials_of_the_unit_are_found_in_its_folder(void **state)
{
    static const char text[] = UPLINK_TLS "username = \"u\"; password_file = \"%d/password\";\n"
                                          "tls: { ca_file = \"%d/ca\"; cert_file = \"/c\";\n"
                                          "key_file = \"%d/a/b\"; }; };";
    struct fixture *f = *state;

    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/u", 1), 0);
    struct config *config = load(f, text);
    assert_string_equal(config->uplink.password_file, "/run/credentials/u/password");
    assert_string_equal(config->uplink.tls.ca_file, "/run/credentials/u/ca");
    assert_string_equal(config->uplink.tls.cert_file, "/c");
    assert_string_equal(config->uplink.tls.key_file, "/run/credentials/u/a/b");
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    config_free(config);
    config = load(f, text);
    assert_string_equal(config->uplink.password_file, "%d/password");
    config_free(config);
    refuse(f, UPLINK_TLS "password_file = \"%d/\"; };",
           ":2: uplink.password_file: \"%d/\" must be an absolute path, or %d/NAME for a "
           "credential of the unit");
}

static void a_byte_order_mark_is_refused(void **state)
{
    refuse(*state, "\xEF\xBB\xBF" UPLINK "};",
           ": begins with a byte order mark (BOM): save it as UTF-8 without one");
}

static void backoff_that_runs_backwards_is_refused(void **state)
{
    refuse(*state, UPLINK "backoff: { max = \"1s\";\n min = \"2s\"; }; };",
           ":3: uplink.backoff.min: 2 s must not be above uplink.backoff.max, which is 1 s");
    refuse(*state, UPLINK "\nbackoff: {\n max = \"500ms\"; }; };",
           ":4: uplink.backoff.min: 1 s must not be above uplink.backoff.max, which is 500 ms");
    refuse(
        *state, UPLINK "backoff: { min = \"5m\"; }; };",
        ":2: uplink.backoff.min: 5 min must not be above uplink.backoff.max, which is 2 min");
    accept(*state, UPLINK "backoff: { min = \"2m\"; }; };");
}

static void client_id_that_cannot_be_is_refused(void **state)
{
    refuse(*state, UPLINK "client_id = \"\"; };", ":2: uplink.client_id: must not be empty");
    refuse(*state, UPLINK "client_id = \"%h\"; };",
           ":2: uplink.client_id: must hold no % but %H (host name), %m (machine id) and %% (a "
           "percent sign)");
    refuse(*state, UPLINK "client_id = \"gw%\"; };",
           ":2: uplink.client_id: must hold no % but %H (host name), %m (machine id) and %% (a "
           "percent sign)");
    refuse(*state, UPLINK "client_id = \"a\\nb\"; };",
           ":2: uplink.client_id: \"a\nb\" must not hold control characters");
    refuse(*state, UPLINK "client_id = \"a\\xFF\"; };",
           ":2: uplink.client_id: \"a\xFF\" must be valid UTF-8");
}

/* What is too long only once %m was replaced, too. */
static void client_id_longer_than_mqtt_allows_is_refused(void **state)
{
    static char text[70000];
    size_t used = strlen(UPLINK "client_id = \"");
    char machine[64];

    memcpy(text, UPLINK "client_id = \"", used);
    memset(text + used, 'c', 65535);
    memcpy(text + used + 65535, "\"; };", sizeof("\"; };"));
    accept(*state, text);
    memcpy(text + used + 65535, "c\"; };", sizeof("c\"; };"));
    refuse(*state, text, ":2: uplink.client_id: must not be longer than 65535 bytes");
    if (!machine_id(machine, sizeof(machine)))
        skip();
    memcpy(text + used + 65533, "%m\"; };", sizeof("%m\"; };"));
    refuse(*state, text, ":2: uplink.client_id: must not be longer than 65535 bytes");
}

static void a_stamp_without_properties_is_refused(void **state)
{
    refuse(*state, UPLINK "protocol = 4;\nstamp = true; };",
           ":3: uplink.stamp: needs uplink.protocol = 5: MQTT 3.1.1 has no user properties");
}

static void prefixes_hold_the_host_name_too(void **state)
{
    char host[256] = "";
    char wanted[300];
    struct config *config;

    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    config = load(*state, UPLINK "topic_prefix = \"a/%H/\"; };\n"
                                 "lanes = ( { name = \"l\"; topics = ( \"#\" ); prefix = "
                                 "\"%H%%/\"; } );\n");
    (void)snprintf(wanted, sizeof(wanted), "a/%s/", host);
    assert_string_equal(config->uplink.topic_prefix, wanted);
    (void)snprintf(wanted, sizeof(wanted), "%s%%/", host);
    assert_string_equal(config->lanes[0].prefix, wanted);
    config_free(config);
    refuse(*state, UPLINK "topic_prefix = \"%x\"; };",
           ":2: uplink.topic_prefix: must hold no % but %H (host name), %m (machine id) and %% "
           "(a percent sign)");
}

static void reports_have_a_lane_of_their_own(void **state)
{
    struct config *config =
        load(*state, UPLINK "report: { topic = \"gw/100%%\"; }; };\n"
                            "retention: { max_age = \"1h\"; when_full = \"block\"; };\n"
                            "lanes = ( { name = \"a\"; topics = ( \"a\" ); } );");
    const struct config_lane *lane = &config->lanes[1];

    assert_string_equal(config->uplink.report_topic, "gw/100%");
    assert_int_equal(config->lane_count, 2);
    assert_string_equal(lane->name, "$report");
    assert_int_equal(lane->topic_count, 0);
    assert_int_equal(lane->max_qos, 2);
    assert_int_equal(lane->limits.max_messages, 10000);
    assert_int_equal(lane->limits.max_bytes, 16 * 1024 * 1024);
    assert_int_equal(lane->limits.max_age_ms, 3600000);
    assert_int_equal(lane->limits.when_full, CONFIG_EVICT_OLDEST);
    config_free(config);
    refuse(*state, UPLINK "report: { topic = \"a/#\"; }; };",
           ":2: uplink.report.topic: \"a/#\" must not hold the wildcards + and #");
    refuse(*state, UPLINK "presence: { topic = \"+\"; }; };",
           ":2: uplink.presence.topic: \"+\" must not hold the wildcards + and #");
}

static void topic_prefix_that_no_topic_may_hold_is_refused(void **state)
{
    refuse(*state, UPLINK "topic_prefix = \"a/+/\"; };",
           ":2: uplink.topic_prefix: \"a/+/\" must not hold the wildcards + and #");
    refuse(*state, UPLINK "topic_prefix = \"#\"; };",
           ":2: uplink.topic_prefix: \"#\" must not hold the wildcards + and #");
    refuse(*state, UPLINK "topic_prefix = \"a\xC2\x85/\"; };",
           ":2: uplink.topic_prefix: \"a\xC2\x85/\" must not hold control characters");
}

static void password_without_user_is_refused_for_3_1_1(void **state)
{
    refuse(*state, UPLINK "protocol = 4; password_file = \"/x\"; };",
           ":2: uplink.password_file: needs uplink.username too: MQTT 3.1.1 knows no password "
           "without a user name");
    accept(*state, UPLINK "protocol = 5; password_file = \"/x\"; };");
}

static void file_that_cannot_be_read_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    char wanted[300];

    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted),
                   "%s: No such file or directory; name another file with -c, or write one, "
                   "beginning with the sample in /usr/share/mqtt-spoold",
                   fixture->path);
    assert_string_equal(fixture->error, wanted);
    assert_int_equal(config_load(fixture->folder, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted), "%s: is no regular file", fixture->folder);
    assert_string_equal(fixture->error, wanted);
    files_write(fixture->path, BROKER "\0x", sizeof(BROKER "\0x"));
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    (void)snprintf(wanted, sizeof(wanted), "%s: holds a NUL byte: is it a text file?",
                   fixture->path);
    assert_string_equal(fixture->error, wanted);
    assert_null(config);
}

static void file_above_a_mebibyte_is_refused(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 1024 * 1024 + 1;
    char *spaces = malloc(size);
    struct config *config = NULL;

    assert_non_null(spaces);
    memset(spaces, ' ', size);
    memcpy(spaces, BROKER, strlen(BROKER));
    files_write(fixture->path, spaces, size - 1);
    assert_int_equal(config_load(fixture->path, &config, fixture->error), 0);
    config_free(config);
    files_write(fixture->path, spaces, size);
    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    assert_string_equal(fixture->error + strlen(fixture->path),
                        ": is larger than 1 MiB, which no configuration is");
    free(spaces);
}

static void long_key_is_cut_in_the_error(void **state)
{
    static char text[5000];
    char wanted[300];

    memcpy(text, BROKER, strlen(BROKER));
    memset(text + strlen(BROKER), 'k', 4000);
    memcpy(text + strlen(BROKER) + 4000, " = 1;", sizeof(" = 1;"));
    (void)snprintf(wanted, sizeof(wanted),
                   ":2: %.127s: unknown key; mqtt-spoold.conf(5) lists all keys",
                   text + strlen(BROKER));
    refuse(*state, text, wanted);
}

static void choices_have_the_words_of_the_file(void **state)
{
    (void)state;
    assert_string_equal(config_key_word("audit.when_full", CONFIG_AUDIT_PRUNE), "prune");
    assert_string_equal(config_key_word("audit.when_full", CONFIG_AUDIT_REFUSE), "refuse");
    assert_string_equal(config_key_word("retention.when_full", CONFIG_BLOCK), "block");
}

/* ---- reload ---- */

static void restart_is_needed_for_each_key_that_cannot_reload(void **state)
{
    static const char *const cases[][2] = {
        {UPLINK "window = 5; };", "uplink.window"},
        {"uplink: { brokers = ( \"tcp://other\" ); };", "uplink.brokers"},
        {"uplink: { brokers = ( \"tcp://broker.example\", \"tcp://b\" ); };", "uplink.brokers"},
        {BROKER "spool: { directory = \"/x\"; };", "spool.directory"},
        {BROKER "listen: { mode = \"0600\"; };", "listen.mode"},
        {UPLINK "window = 5; max_qos = 0; tls: { verify = true; }; topic_prefix = \"a/\"; };\n"
                "listen: { mode = \"0600\"; group = \"a\"; };",
         "listen.mode,listen.group,uplink.window,uplink.topic_prefix"},
    };
    struct config *running = load(*state, BROKER);
    char restarts[CONFIG_RESTARTS_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config *fresh = load(*state, cases[i][0]);

        assert_true(config_needs_restart(running, fresh, restarts) > 0);
        assert_string_equal(restarts, cases[i][1]);
        config_free(fresh);
    }
    config_free(running);
}

static void add_path(void *context, const char *path, const char *value, bool reloads)
{
    char *paths = context;

    (void)value;
    (void)reloads;
    assert_true(strlen(paths) + strlen(path) + 2 < CONFIG_RESTARTS_MAX);
    (void)strcat(strcat(paths, path), ",");
}

static void there_is_room_for_the_names_of_all_keys(void **state)
{
    char paths[CONFIG_RESTARTS_MAX] = "";

    (void)state;
    config_each_key(add_path, paths);
}

static void no_restart_is_needed_for_keys_that_reload(void **state)
{
    struct config *running = load(*state, BROKER);
    struct config *fresh = load(
        *state, BROKER "retention: { max_messages = 1; max_bytes = \"1k\"; max_age = \"1s\";\n"
                       "when_full = \"block\"; };\naudit: { file = \"\"; deliveries = false;\n"
                       "journal = \"all\"; keep = \"1d\"; };\nstatus_interval = \"1s\";\n"
                       "lanes = ( { name = \"a\"; topics = ( \"a\" ); } );\n"
                       "log_level = \"debug\";\nspool: { disk_reserve = \"1M\"; };\n"
                       "listen: { max_clients = 1; max_packet = \"1k\"; };\n");
    struct config *link = load(
        *state, UPLINK "keepalive = \"31s\"; connect_timeout = \"1s\"; ack_timeout = \"1s\";\n"
                       "backoff: { min = \"2s\"; max = \"3s\"; }; window_bytes = \"1k\";\n"
                       "max_qos = 1; stamp = true; rate: { messages = 1; bytes = 1; }; };\n");
    char restarts[CONFIG_RESTARTS_MAX] = "x";

    assert_int_equal(config_needs_restart(running, fresh, restarts), 0);
    assert_string_equal(restarts, "");
    assert_int_equal(config_needs_restart(running, link, restarts), 0);
    config_free(link);
    config_free(running);
    config_free(fresh);
}

/* Another value of each key that a HUP takes over, and where it lies. The lanes are moved by
 * the gateway, with the spool. */
#define VALUE(path, text, member)                                                              \
    {                                                                                          \
        path, text, offsetof(struct config, member), sizeof(((struct config *)NULL)->member)   \
    }

static const struct {
    const char *path;
    const char *text;
    size_t offset;
    size_t size;
} reloadable[] = {
    VALUE(
        "spool.disk_reserve", BROKER "spool: { disk_reserve = \"1M\"; };", spool.disk_reserve),
    VALUE("spool.commit_interval",
          BROKER "spool: { commit_interval = \"1s\"; };",
          spool.commit_interval_ms),
    VALUE("listen.max_clients", BROKER "listen: { max_clients = 1; };", listen.max_clients),
    VALUE("listen.max_packet", BROKER "listen: { max_packet = \"1k\"; };", listen.max_packet),
    VALUE("listen.max_sessions", BROKER "listen: { max_sessions = 1; };", listen.max_sessions),
    VALUE("listen.session_expiry",
          BROKER "listen: { session_expiry = \"1s\"; };",
          listen.session_expiry_ms),
    VALUE("listen.session_backlog",
          BROKER "listen: { session_backlog = \"64k\"; };",
          listen.session_backlog),
    VALUE("retention.max_messages",
          BROKER "retention: { max_messages = 1; };",
          retention.max_messages),
    VALUE("retention.max_bytes",
          BROKER "retention: { max_bytes = \"1k\"; };",
          retention.max_bytes),
    VALUE(
        "retention.max_age", BROKER "retention: { max_age = \"1s\"; };", retention.max_age_ms),
    VALUE("retention.when_full",
          BROKER "retention: { when_full = \"block\"; };",
          retention.when_full),
    VALUE("rejected.max_messages",
          BROKER "rejected: { max_messages = 1; };",
          rejected.max_messages),
    VALUE(
        "rejected.max_bytes", BROKER "rejected: { max_bytes = \"1k\"; };", rejected.max_bytes),
    VALUE("rejected.max_age", BROKER "rejected: { max_age = \"1s\"; };", rejected.max_age_ms),
    VALUE("uplink.retain", UPLINK "retain = false; };", uplink.has_retain),
    VALUE("uplink.on_refusal", UPLINK "on_refusal = \"reject\"; };", uplink.on_refusal),
    VALUE("uplink.max_attempts", UPLINK "max_attempts = 5; };", uplink.max_attempts),
    VALUE("uplink.keepalive", UPLINK "keepalive = \"31s\"; };", uplink.keepalive_ms),
    VALUE("uplink.connect_timeout",
          UPLINK "connect_timeout = \"1s\"; };",
          uplink.connect_timeout_ms),
    VALUE("uplink.ack_timeout", UPLINK "ack_timeout = \"1s\"; };", uplink.ack_timeout_ms),
    VALUE("uplink.backoff.min", UPLINK "backoff: { min = \"2s\"; }; };", uplink.backoff_min_ms),
    VALUE("uplink.backoff.max", UPLINK "backoff: { max = \"3s\"; }; };", uplink.backoff_max_ms),
    VALUE("uplink.failback", UPLINK "failback = \"0s\"; };", uplink.failback_ms),
    VALUE("uplink.window_bytes", UPLINK "window_bytes = \"1k\"; };", uplink.window_bytes),
    VALUE("uplink.max_qos", UPLINK "max_qos = 1; };", uplink.max_qos),
    VALUE("uplink.stamp", UPLINK "stamp = true; };", uplink.has_stamp),
    VALUE("uplink.rate.messages", UPLINK "rate: { messages = 5; }; };", uplink.rate.messages),
    VALUE("uplink.rate.bytes", UPLINK "rate: { bytes = \"1k\"; }; };", uplink.rate.bytes),
    VALUE("uplink.report.topic", UPLINK "report: { topic = \"r\"; }; };", uplink.report_topic),
    VALUE("audit.file", BROKER "audit: { file = \"/other\"; };", audit.file),
    VALUE("audit.deliveries", BROKER "audit: { deliveries = false; };", audit.has_deliveries),
    VALUE("audit.journal", BROKER "audit: { journal = \"all\"; };", audit.journal),
    VALUE("audit.keep", BROKER "audit: { keep = \"1d\"; };", audit.keep_ms),
    VALUE("audit.max_waiting", BROKER "audit: { max_waiting = 1000; };", audit.max_waiting),
    VALUE("audit.when_full", BROKER "audit: { when_full = \"prune\"; };", audit.when_full),
    VALUE("audit.seal", BROKER "audit: { seal = \"0\"; };", audit.seal_ms),
    VALUE("audit.seal_topic", BROKER "audit: { seal_topic = \"s\"; };", audit.seal_topic),
    VALUE("access", BROKER "access = ( { user = 0; } );", access_count),
    VALUE("status_interval", BROKER "status_interval = \"1s\";", status_interval_ms),
    VALUE("log_level", BROKER "log_level = \"debug\";", log_level),
};
#define RELOADABLE_COUNT (sizeof(reloadable) / sizeof(reloadable[0]))

static void find_reloadable(void *context, const char *path, const char *value, bool reloads)
{
    size_t *found = context;

    (void)value;
    if (!reloads || strncmp(path, "lanes", 5) == 0 || strncmp(path, "access.", 7) == 0)
        return;
    for (size_t i = 0; i < RELOADABLE_COUNT; i++) {
        if (strcmp(reloadable[i].path, path) == 0) {
            (*found)++;
            return;
        }
    }
    fail_msg("the test lacks a value of %s", path);
}

static void each_key_that_reloads_is_taken_over(void **state)
{
    size_t found = 0;

    config_each_key(find_reloadable, &found);
    assert_int_equal(found, RELOADABLE_COUNT);
    for (size_t i = 0; i < RELOADABLE_COUNT; i++) {
        struct config *running = load(*state, BROKER);
        struct config *fresh = load(*state, reloadable[i].text);
        char *member = (char *)running + reloadable[i].offset;
        char wanted[8];

        assert_in_range(reloadable[i].size, 1, sizeof(wanted));
        memcpy(wanted, (char *)fresh + reloadable[i].offset, reloadable[i].size);
        if (memcmp(member, wanted, reloadable[i].size) == 0)
            fail_msg("%s: no other value", reloadable[i].path);
        config_take_reloadable(running, fresh);
        config_free(fresh);
        if (memcmp(member, wanted, reloadable[i].size) != 0)
            fail_msg("%s was not taken over", reloadable[i].path);
        if (strcmp(reloadable[i].path, "audit.file") == 0)
            assert_string_equal(running->audit.file, "/other");
        config_free(running);
    }
}

static void what_needs_a_restart_stays_as_it_is(void **state)
{
    struct config *running = load(*state, BROKER);
    struct config *fresh =
        load(*state,
             "uplink: { brokers = ( \"tcp://a\", \"tcp://b\" ); window = 5;\n"
             "client_id = \"other\"; topic_prefix = \"a/\"; max_qos = 1; };\n"
             "lanes = ( { name = \"a\"; topics = ( \"a\" ); } );\n"
             "listen: { mode = \"0600\"; group = \"a\"; };\nspool: { directory = \"/x\"; };");
    char before[CONFIG_RESTARTS_MAX], after[CONFIG_RESTARTS_MAX];

    assert_int_equal(config_needs_restart(running, fresh, before), 7);
    config_take_reloadable(running, fresh);
    assert_int_equal(running->uplink.max_qos, 1);
    assert_int_equal(running->lane_count, 0);
    assert_int_equal(config_needs_restart(running, fresh, after), 7);
    assert_string_equal(before, after);
    config_free(running);
    config_free(fresh);
}

static void free_accepts_null(void **state)
{
    (void)state;
    config_free(NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sample_holds_every_key_at_its_default_and_no_other),
        CASE(sample_loads_like_a_file_with_brokers_alone),
        CASE(examples_of_lists_in_the_sample_are_taken),
        CASE(man_page_has_every_key_with_default_and_reload),
        CASE(defaults_are_those_of_the_design),
        CASE(every_kind_of_value_is_taken_from_the_file),
        CASE(lanes_are_taken_in_their_order_with_limits_of_their_own),
        CASE(entries_of_access_are_taken_in_their_order),
        CASE(job_reads_the_file_on_a_thread),
        CASE(job_asks_of_a_good_file_what_else_is_to_be_checked),
        CASE(job_also_asks_the_system),
        CASE(abandoned_job_frees_what_it_read),
        CASE(limit_that_a_lane_does_not_give_is_that_of_retention),
        CASE(sizes_have_units_of_1024),
        CASE(times_have_units_from_ms_to_d),
        CASE(what_is_no_size_or_time_leaves_the_result_alone),
        CASE(client_id_holds_host_and_percent),
        CASE(client_id_holds_machine_id),
        CASE(brokers_of_every_form_are_taken_in_order),
        CASE(schemes_in_capitals_mean_the_same),
        CASE(included_file_is_read_from_the_folder_of_the_main_one),
        CASE(numbers_in_texts_names_and_comments_are_no_numbers),
        CASE(keys_not_yet_supported_are_taken_at_their_default),
        CASE(unknown_key_is_refused_with_the_nearest),
        CASE(missing_brokers_are_refused),
        CASE(wrong_type_is_refused_with_the_right_one),
        CASE(time_without_unit_is_refused_with_the_units),
        CASE(value_out_of_range_is_refused_with_the_range),
        CASE(word_that_is_no_choice_is_refused_with_the_choices),
        CASE(syntax_error_is_refused_with_the_line),
        CASE(second_key_is_refused_with_its_name),
        CASE(error_in_an_included_file_names_that_file),
        CASE(include_of_what_is_no_file_is_refused),
        CASE(include_of_an_absolute_path_is_refused),
        CASE(want_of_memory_is_no_fault_of_the_file),
        CASE(file_that_includes_itself_is_refused),
        CASE(number_above_32_bits_is_refused_not_cut),
        CASE(number_with_a_leading_zero_is_refused),
        CASE(text_with_a_number_with_a_leading_zero_is_refused),
        CASE(key_not_yet_supported_is_refused_by_name),
        CASE(names_that_do_not_exist_are_refused),
        CASE(numbers_of_accounts_are_never_cut),
        CASE(entry_of_access_without_whom_or_with_two_is_refused),
        CASE(keys_of_access_are_checked_as_all_others),
        CASE(more_than_1000_entries_of_access_are_refused),
        CASE(lane_without_name_or_topics_is_refused),
        CASE(lane_names_that_cannot_be_are_refused),
        CASE(filters_that_match_nothing_are_refused),
        CASE(a_lane_whose_topics_others_take_is_warned_of),
        CASE(what_spooled_messages_may_need_is_to_be_removed_later),
        CASE(a_filter_that_repeats_one_of_its_lane_is_no_fault),
        CASE(a_pair_of_a_map_that_no_message_comes_to_is_warned_of),
        CASE(an_entry_of_access_behind_one_that_fits_is_warned_of),
        CASE(only_the_first_warnings_are_kept_and_the_others_counted),
        CASE(keys_of_a_lane_are_checked_as_all_others),
        CASE(maps_that_make_no_topics_are_refused),
        CASE(more_than_63_lanes_or_64_filters_are_refused),
        CASE(paths_that_are_not_absolute_are_refused),
        CASE(two_keys_that_name_one_file_are_refused),
        CASE(file_that_is_read_and_written_is_refused),
        CASE(paths_that_only_look_alike_are_taken),
        CASE(host_name_that_is_not_utf8_is_refused_for_the_client_id),
        CASE(a_password_in_a_broker_is_refused),
        CASE(a_group_that_does_not_exist_is_refused_by_the_test),
        CASE(what_is_needed_is_read_of_a_file_with_other_errors),
        CASE(an_error_of_a_needed_key_is_never_passed_over),
        CASE(errors_that_are_passed_over_leave_what_is_needed),
        CASE(topics_where_only_a_broker_publishes_are_refused),
        CASE(brokers_that_cannot_be_are_refused),
        CASE(broker_list_is_bounded_and_not_mixed),
        CASE(tls_keys_that_cannot_work_are_refused),
        CASE(credentials_of_the_unit_are_found_in_its_folder),
        CASE(a_byte_order_mark_is_refused),
        CASE(backoff_that_runs_backwards_is_refused),
        CASE(client_id_that_cannot_be_is_refused),
        CASE(client_id_longer_than_mqtt_allows_is_refused),
        CASE(a_stamp_without_properties_is_refused),
        CASE(prefixes_hold_the_host_name_too),
        CASE(reports_have_a_lane_of_their_own),
        CASE(topic_prefix_that_no_topic_may_hold_is_refused),
        CASE(password_without_user_is_refused_for_3_1_1),
        CASE(file_that_cannot_be_read_is_refused),
        CASE(file_above_a_mebibyte_is_refused),
        CASE(long_key_is_cut_in_the_error),
        CASE(restart_is_needed_for_each_key_that_cannot_reload),
        CASE(there_is_room_for_the_names_of_all_keys),
        CASE(no_restart_is_needed_for_keys_that_reload),
        CASE(choices_have_the_words_of_the_file),
        CASE(each_key_that_reloads_is_taken_over),
        CASE(what_needs_a_restart_stays_as_it_is),
        CASE(free_accepts_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
