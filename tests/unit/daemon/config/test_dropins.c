/* SPDX-License-Identifier: MIT */
/*
 * test_dropins.c - the folder conf.d beside the file, and the effective configuration in print
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config/config.h"
#include "tests/support/files.h"

#define BROKER "uplink: { brokers = ( \"tcp://broker.example\" ); };\n"

struct fixture {
    char folder[FILES_PATH_MAX];
    char dropins[FILES_PATH_MAX + 16];
    char path[FILES_PATH_MAX + 16];
    char error[CONFIG_ERROR_MAX];
};

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof(fixture));
    files_make_folder(fixture.folder, "test_dropins");
    (void)snprintf(fixture.path, sizeof(fixture.path), "%s/t.conf", fixture.folder);
    (void)snprintf(fixture.dropins, sizeof(fixture.dropins), "%s/conf.d", fixture.folder);
    assert_int_equal(mkdir(fixture.dropins, 0755), 0);
    files_write(fixture.path, BROKER, strlen(BROKER));
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    files_remove_folder(fixture->folder);
    return 0;
}

static void path_of(const struct fixture *fixture, const char *name, char path[static 256])
{
    assert_in_range(snprintf(path, 256, "%s/%s", fixture->dropins, name), 1, 255);
}

static void drop_in(const struct fixture *fixture, const char *name, const char *text)
{
    char path[256];

    path_of(fixture, name, path);
    files_write(path, text, strlen(text));
}

static struct config *load(struct fixture *fixture)
{
    struct config *config = NULL;

    if (config_load(fixture->path, &config, fixture->error) != 0)
        fail_msg("refused: %s", fixture->error);
    return config;
}

/* @wanted: the error behind the folder and its slash. */
static void refuse(struct fixture *fixture, const char *wanted)
{
    struct config *config = NULL;
    size_t size = strlen(fixture->folder);

    assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    assert_null(config);
    assert_memory_equal(fixture->error, fixture->folder, size);
    assert_string_equal(fixture->error + size + 1, wanted);
}

static void later_file_overrides_single_keys(void **state)
{
    static const char limits[] = "retention: { max_age = \"1d\"; max_messages = 5; };\n";
    struct fixture *fixture = *state;
    struct config *config;

    files_append(fixture->path, limits, strlen(limits));
    drop_in(fixture, "10.conf", "retention: { max_age = \"2d\"; }; log_level = \"debug\";\n");
    drop_in(fixture, "20.conf", "retention: { max_age = \"3d\"; };\n");
    config = load(fixture);
    assert_int_equal(config->retention.max_age_ms, 3 * 86400000);
    assert_int_equal(config->retention.max_messages, 5);
    assert_int_equal(config->log_level, 7);
    assert_string_equal(config->uplink.brokers[0], "tcp://broker.example");
    config_free(config);
}

static void files_are_read_in_the_order_of_the_bytes_of_their_names(void **state)
{
    struct fixture *fixture = *state;
    struct config *config;

    drop_in(fixture, "9.conf", "log_level = \"debug\";\n");
    drop_in(fixture, "10.conf", "log_level = \"error\";\n");
    config = load(fixture);
    assert_int_equal(config->log_level, 7);
    config_free(config);
    drop_in(fixture, "a.conf", "log_level = \"notice\";\n");
    drop_in(fixture, "Z.conf", "log_level = \"warning\";\n");
    config = load(fixture);
    assert_int_equal(config->log_level, 5);
    config_free(config);
}

static void list_of_a_later_file_replaces_the_whole_list(void **state)
{
    struct fixture *fixture = *state;
    struct config *config;

    drop_in(
        fixture, "1.conf",
        "lanes = ( { name = \"a\"; topics = ( \"a\" ); }, { name = \"b\"; topics = ( \"b\" ); } );\n"
        "access = ( { user = \"1\"; }, { user = \"2\"; } );\n");
    drop_in(
        fixture, "2.conf",
        "uplink: { brokers = ( \"tcp://x\", \"tcp://y\" ); };\n"
        "lanes = ( { name = \"c\"; topics = ( \"c\" ); } );\naccess = ( { user = \"3\"; } );\n");
    config = load(fixture);
    assert_int_equal(config->uplink.broker_count, 2);
    assert_string_equal(config->uplink.brokers[0], "tcp://x");
    assert_int_equal(config->lane_count, 1);
    assert_string_equal(config->lanes[0].name, "c");
    assert_int_equal(config->access_count, 1);
    assert_int_equal(config->access[0].id, 3);
    config_free(config);
    drop_in(fixture, "3.conf", "lanes = ( );\naccess = ( );\n");
    config = load(fixture);
    assert_int_equal(config->lane_count, 0);
    assert_int_equal(config->access_count, 0);
    config_free(config);
}

static void what_has_no_default_may_be_in_any_of_the_files(void **state)
{
    struct fixture *fixture = *state;

    files_write(fixture->path, "log_level = \"info\";\n", 20);
    refuse(fixture, "t.conf: uplink.brokers: missing, and it has no default; "
                    "mqtt-spoold.conf(5) has examples");
    drop_in(fixture, "1.conf", BROKER);
    config_free(load(fixture));
}

static void error_names_the_file_and_the_line(void **state)
{
    struct fixture *fixture = *state;

    drop_in(fixture, "1.conf", "log_level = \"info\";\n");
    drop_in(fixture, "2.conf", "\nlog_levle = \"info\";\n");
    refuse(fixture, "conf.d/2.conf:2: log_levle: unknown key; did you mean \"log_level\"?");
    drop_in(fixture, "2.conf", "\n\nlisten: { max_clients = 0; };\n");
    refuse(fixture, "conf.d/2.conf:3: listen.max_clients: 0 is out of range, 1 to 65536");
    drop_in(fixture, "2.conf", "uplink: {\n");
    refuse(fixture,
           "conf.d/2.conf:2: syntax error here or in a line before; look for a missing "
           "semicolon, an open bracket, or a text without quotes");
    drop_in(fixture, "2.conf", "\nlanes = ( { name = \"a\"; } );\n");
    refuse(fixture,
           "conf.d/2.conf:2: lanes.topics: missing; a lane needs filters that say which "
           "messages it takes, such as topics = ( \"+/alarm/#\" )");
    /* Together with the main file: at the key, or else at its group. */
    drop_in(fixture, "2.conf", "\nuplink: { protocol = 4;\n stamp = true; };\n");
    refuse(fixture,
           "conf.d/2.conf:3: uplink.stamp: needs uplink.protocol = 5: MQTT 3.1.1 has no "
           "user properties");
    drop_in(fixture, "2.conf", "\nuplink: { backoff: { max = \"500ms\"; }; };\n");
    refuse(fixture, "conf.d/2.conf:2: uplink.backoff.min: 1 s must not be above "
                    "uplink.backoff.max, which is 500 ms");
    drop_in(fixture, "2.conf", "log_level = 5000000000;\n");
    refuse(fixture,
           "conf.d/2.conf:1: the number 5000000000 is too large; write a size with its "
           "unit, such as \"5G\", or put an L behind a count");
}

static void key_may_be_set_once_in_each_file(void **state)
{
    struct fixture *fixture = *state;

    drop_in(fixture, "1.conf", "log_level = \"info\";\n");
    drop_in(fixture, "2.conf", "log_level = \"info\";\n");
    config_free(load(fixture));
    drop_in(fixture, "2.conf", "log_level = \"info\";\nlog_level = \"debug\";\n");
    refuse(fixture, "conf.d/2.conf:2: log_level: is set twice; keep one of the two");
}

static void include_is_from_the_folder_of_the_main_file(void **state)
{
    struct fixture *fixture = *state;
    struct config *config;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/more", fixture->folder);
    files_write(path, "log_level = \"debug\";\n", 21);
    drop_in(fixture, "1.conf", "@include \"more\"\n");
    config = load(fixture);
    assert_int_equal(config->log_level, 7);
    config_free(config);
    files_write(path, "\nlog_level = 1;\n", 16);
    refuse(fixture,
           "more:2: log_level: 1 must be \"error\", \"warning\", \"notice\", \"info\" or "
           "\"debug\"");
}

static void names_of_editors_and_packages_are_passed_over(void **state)
{
    static const char *const names[] = {"1.conf~",         ".1.conf",  "1.conf.dpkg-new",
                                        "1.conf.dpkg-old", "#1.conf#", ".conf",
                                        "1.CONF",          "README"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        drop_in(fixture, names[i], "wrong\n");
    config_free(load(fixture));
}

static void check_unread(const struct fixture *fixture,
                         const struct config_unread *unread,
                         size_t at,
                         const char *name)
{
    char path[256];

    path_of(fixture, name, path);
    assert_in_range(at + 1, 1, unread->count);
    assert_string_equal(unread->paths[at], path);
}

static void names_with_another_ending_are_told_unless_they_are_hidden(void **state)
{
    struct fixture *fixture = *state;
    char folder[256];
    struct config *config = load(fixture);

    assert_int_equal(config->unread.count, 0);
    config_free(config);
    path_of(fixture, "old", folder);
    assert_int_equal(mkdir(folder, 0755), 0);
    drop_in(fixture, "50-site", "log_level = \"debug\";\n");
    drop_in(fixture, ".hidden", "x\n");
    drop_in(fixture, "10.conf", "\n");
    drop_in(fixture, "10.conf.dpkg-old", "\n");
    config = load(fixture);
    assert_int_equal(config->unread.count, 3);
    assert_int_equal(config->unread.left_out, 0);
    check_unread(fixture, &config->unread, 0, "10.conf.dpkg-old");
    check_unread(fixture, &config->unread, 1, "50-site");
    check_unread(fixture, &config->unread, 2, "old");
    config_free(config);
}

static void of_many_names_with_another_ending_the_first_are_told(void **state)
{
    enum { MORE = 3 };
    struct fixture *fixture = *state;
    struct config *config;
    char name[32];

    for (int i = CONFIG_UNREAD_MAX + MORE; i > 0; i--) {
        (void)snprintf(name, sizeof(name), "%02d", i);
        drop_in(fixture, name, "");
    }
    config = load(fixture);
    assert_int_equal(config->unread.count, CONFIG_UNREAD_MAX);
    assert_int_equal(config->unread.left_out, MORE);
    for (size_t i = 0; i < CONFIG_UNREAD_MAX; i++) {
        (void)snprintf(name, sizeof(name), "%02zu", i + 1);
        check_unread(fixture, &config->unread, i, name);
    }
    config_free(config);
}

static void links_to_files_are_followed_and_other_kinds_refused(void **state)
{
    struct fixture *fixture = *state;
    struct config *config;
    char path[256];

    drop_in(fixture, "real", "log_level = \"debug\";\n");
    path_of(fixture, "1.conf", path);
    assert_int_equal(symlink("real", path), 0);
    config = load(fixture);
    assert_int_equal(config->log_level, 7);
    config_free(config);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    refuse(fixture, "conf.d/1.conf: No such file or directory");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuse(fixture, "conf.d/1.conf: is no regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    refuse(fixture, "conf.d/1.conf: is no regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    refuse(fixture, "conf.d/1.conf: is no regular file");
}

static void folder_that_is_there_must_be_readable(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(rmdir(fixture->dropins), 0);
    config_free(load(fixture));
    files_write(fixture->dropins, "x", 1);
    refuse(fixture, "conf.d: Not a directory");
    assert_int_equal(unlink(fixture->dropins), 0);
    assert_int_equal(symlink("nowhere", fixture->dropins), 0);
    refuse(fixture, "conf.d: No such file or directory");
    if (getuid() == 0)
        return; /* root may read all */
    assert_int_equal(unlink(fixture->dropins), 0);
    assert_int_equal(mkdir(fixture->dropins, 0100), 0);
    refuse(fixture, "conf.d: Permission denied");
}

static void file_that_was_cut_is_refused(void **state)
{
    static const char text[] = "retention: { max_age = \"3d\"; max_messages = 17; };";
    struct fixture *fixture = *state;
    struct config *config;
    char cut[sizeof(text)];

    for (size_t size = 1; size < strlen(text) - 1; size++) {
        memcpy(cut, text, size);
        cut[size] = '\0';
        drop_in(fixture, "1.conf", cut);
        assert_int_equal(config_load(fixture->path, &config, fixture->error), -EINVAL);
    }
    drop_in(fixture, "1.conf", "");
    config_free(load(fixture));
}

static void files_are_bounded_in_number_and_bytes(void **state)
{
    struct fixture *fixture = *state;
    size_t size = (1 << 20) - 1;
    char *spaces = malloc(size + 1);
    char name[32];

    assert_non_null(spaces);
    memset(spaces, ' ', size);
    spaces[size] = '\0';
    for (unsigned i = 1; i <= 64; i++) {
        (void)snprintf(name, sizeof(name), "%02u.conf", i);
        drop_in(fixture, name, "\n");
    }
    config_free(load(fixture));
    for (unsigned i = 1; i <= 5; i++) {
        (void)snprintf(name, sizeof(name), "%02u.conf", i);
        drop_in(fixture, name, spaces);
    }
    free(spaces);
    refuse(fixture, "conf.d/04.conf: with this file the configuration is larger than 4 MiB");
    drop_in(fixture, "65.conf", "\n");
    refuse(fixture, "conf.d: has more than 64 files *.conf; join some of them, or rename those "
                    "that are not used");
    for (unsigned i = 1; i <= 65; i++) {
        char path[256];

        (void)snprintf(name, sizeof(name), "%02u.conf", i);
        path_of(fixture, name, path);
        assert_int_equal(unlink(path), 0);
    }
    for (unsigned i = 0; i <= 1000; i++) {
        (void)snprintf(name, sizeof(name), "other-%u", i);
        drop_in(fixture, name, "");
    }
    refuse(fixture, "conf.d: has more than 1000 names; keep other files in another folder");
}

static void file_that_the_daemon_writes_is_none_of_them(void **state)
{
    struct fixture *fixture = *state;
    char text[256];
    char wanted[256];

    (void)snprintf(text, sizeof(text), "audit: { file = \"%s/1.conf\"; };\n", fixture->dropins);
    drop_in(fixture, "1.conf", text);
    (void)snprintf(
        wanted, sizeof(wanted),
        "conf.d/1.conf:1: audit.file: must be another path: audit.file and a file of "
        "conf.d would be one file, and the daemon writes it");
    refuse(fixture, wanted);
}

static void error_of_two_keys_is_where_one_of_them_is_set(void **state)
{
    struct fixture *fixture = *state;

    drop_in(fixture, "1.conf",
            "\nlisten: { socket = \"/var/log/mqtt-spoold/audit.jsonl\"; };\n");
    drop_in(fixture, "2.conf", "audit: { keep = \"1d\"; };\n");
    refuse(fixture, "conf.d/1.conf:2: audit.file: must be another path: audit.file and "
                    "listen.socket would be one file, and the daemon writes it");
    drop_in(fixture, "1.conf",
            "\nspool: { directory = \"/var/log/mqtt-spoold/audit.jsonl\"; };\n");
    refuse(fixture, "conf.d/1.conf:2: audit.file: must be another path: audit.file and "
                    "spool.directory would be one file, and the daemon writes it");
    drop_in(fixture, "1.conf", "\nuplink: { backoff: {\n max = \"500ms\"; }; };\n");
    refuse(fixture, "conf.d/1.conf:3: uplink.backoff.min: 1 s must not be above "
                    "uplink.backoff.max, which is 500 ms");
}

static void key_that_needs_a_lane_is_where_it_is_set(void **state)
{
    struct fixture *fixture = *state;
    char lanes[8192] = "lanes = (";

    for (unsigned i = 0; i < CONFIG_LANES_MAX; i++)
        (void)snprintf(lanes + strlen(lanes), sizeof(lanes) - strlen(lanes),
                       "%s { name = \"l%u\"; topics = ( \"t%u\" ); }", i > 0 ? "," : "", i, i);
    (void)snprintf(lanes + strlen(lanes), sizeof(lanes) - strlen(lanes), " );\n");
    drop_in(fixture, "1.conf", "\nuplink: { report: { topic = \"r\"; }; };\n");
    drop_in(fixture, "2.conf", lanes);
    refuse(fixture,
           "conf.d/1.conf:2: uplink.report.topic: needs a lane besides those of lanes, "
           "which may have 62 at most then");
}

static void origin_of_a_key_is_the_file_and_line_that_applies(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;
    char wanted[256 + 8];
    char path[256];

    drop_in(fixture, "1.conf", "log_level = \"debug\";\n");
    drop_in(fixture, "2.conf", "\n\nlog_level = \"info\";\n");
    assert_int_equal(config_test(fixture->path, &config, fixture->error), 0);
    path_of(fixture, "2.conf", path);
    (void)snprintf(wanted, sizeof(wanted), "%s:3", path);
    assert_string_equal(config_origin(config, "log_level"), wanted);
    assert_string_equal(config_origin(config, "uplink.tls.ca_file"), fixture->path);
    assert_string_equal(config_origin(config, "no.such.key"), fixture->path);
    config_free(config);
}

static void tool_passes_over_what_it_does_not_need(void **state)
{
    static const char *const needed[] = {"spool.directory", NULL};
    struct fixture *fixture = *state;
    struct config *config = NULL;

    drop_in(fixture, "1.conf", "spool: { directory = \"/elsewhere\"; };\nretention: 5;\n");
    assert_int_equal(config_load_needed(fixture->path, needed, &config, fixture->error), 0);
    assert_string_equal(config->spool.directory, "/elsewhere");
    assert_non_null(strstr(fixture->error, "conf.d/1.conf:2: retention: must be a group"));
    config_free(config);
}

/* ---- in print ---- */

/* Every key at another value than its default, and texts that need escapes. */
static const char *const everything =
    "spool: { directory = \"/s\"; disk_reserve = 12345678; commit_interval = \"1500ms\"; };\n"
    "listen: { socket = \"/r/p\"; mode = \"0600\"; group = \"root\"; max_clients = 7;\n"
    "  max_packet = \"3k\"; max_sessions = 0; session_expiry = \"90s\"; session_backlog = \"5k\"; };\n"
    "retention: { max_messages = 9; max_bytes = \"2G\"; max_age = \"36h\"; when_full = \"block\"; };\n"
    "rejected: { max_messages = 0; max_bytes = 0; max_age = \"0\"; };\n"
    "lanes: ( { name = \"a.b-c\"; topics = ( \"+/alarm/#\", \"a\\\"b\\\\c\" ); priority = -10;\n"
    "    prefix = \"x%%/%H/\"; max_qos = 1; drain = \"live-first\"; map = ( \"q/+\", \"w/{1}\" );\n"
    "    max_messages = 3; max_bytes = \"1M\"; max_age = \"1h\"; when_full = \"refuse\"; },\n"
    "  { name = \"plain\"; topics = ( \"p\" ); } );\n"
    "uplink: { brokers = ( \"SSL://Broker.example:8883\", \"mqtts://[::1]\" );\n"
    "  client_id = \"\\xC3\\xA9-%H-%%-\\xE2\\x80\\xAE\"; protocol = 5; username = \"u\\\"\\\\\";\n"
    "  password_file = \"/p\\x01\\n\"; keepalive = \"7s\"; connect_timeout = \"11s\";\n"
    "  ack_timeout = \"59s\"; backoff: { min = \"20ms\"; max = \"21ms\"; }; failback = \"0\";\n"
    "  window = 5; window_bytes = \"2k\"; max_qos = 1; retain = false; on_refusal = \"reject\";\n"
    "  max_attempts = 4; topic_prefix = \"p%%/\"; stamp = true;\n"
    "  rate: { messages = 5; bytes = \"6k\"; };\n"
    "  presence: { topic = \"t/%H\"; online = \"\"; offline = \"%H\"; qos = 2; retain = false; };\n"
    "  report: { topic = \"r/%%\"; };\n"
    "  tls: { ca_file = \"/ca\"; cert_file = \"%d/c\"; key_file = \"%d/k\"; key_password_file = \"/kp\";\n"
    "    verify = false; min_version = \"1.3\"; alpn = \"x\"; }; };\n"
    "audit: { file = \"\"; deliveries = false; journal = \"all\"; keep = \"61s\"; max_waiting = 1001;\n"
    "  when_full = \"prune\"; };\n"
    "access: ( { user = 5; publish = ( ); admin = true; max_clients = 1; rate = 2; },\n"
    "  { group = \"*\"; publish = ( \"%/#\" ); } );\n"
    "status_interval = \"150ms\"; log_level = \"error\";\n";

static char *print(struct fixture *fixture)
{
    char *text = NULL;

    if (config_print(fixture->path, &text, fixture->error) != 0)
        fail_msg("refused: %s", fixture->error);
    return text;
}

/* In place: what stands behind " # " on each line, and the lines that are comments alone. */
static void without_comments(char *text)
{
    char *out = text;

    while (*text != '\0') {
        size_t line = strcspn(text, "\n") + 1;
        const char *comment = strstr(text, "# ");
        size_t size = comment && comment < text + line ? (size_t)(comment - text) : line - 1;

        memmove(out, text, size);
        out += size;
        *out++ = '\n';
        text += line;
    }
    *out = '\0';
}

struct printed {
    const char *text;
    unsigned missing;
};

/* The last part of each path is a line of its own. */
static void expect_key(void *userdata, const char *path, const char *value, bool reloads)
{
    struct printed *printed = userdata;
    const char *dot = strrchr(path, '.');
    char line[96];

    (void)value;
    (void)reloads;
    (void)snprintf(line, sizeof(line), "%s = ", dot ? dot + 1 : path);
    if (!strstr(printed->text, line)) {
        printed->missing++;
        print_error("%s is not printed\n", path);
    }
}

static void what_is_printed_is_the_same_configuration(void **state)
{
    struct fixture *fixture = *state;
    char restarts[CONFIG_RESTARTS_MAX];
    struct printed printed = {0};
    struct config *before, *after;
    char *first, *second;

    files_write(fixture->path, everything, strlen(everything));
    before = load(fixture);
    first = print(fixture);
    files_write(fixture->path, first, strlen(first));
    after = load(fixture);
    second = print(fixture);
    printed.text = first;
    config_each_key(expect_key, &printed);
    assert_int_equal(printed.missing, 0);
    without_comments(first);
    without_comments(second);
    assert_string_equal(first, second);
    assert_int_equal(config_needs_restart(before, after, restarts), 0);
    assert_string_equal(before->uplink.client_id, after->uplink.client_id);
    assert_string_equal(before->uplink.report_topic, after->uplink.report_topic);
    assert_string_equal(before->lanes[0].prefix, after->lanes[0].prefix);
    assert_string_equal(before->lanes[0].topics[1], after->lanes[0].topics[1]);
    assert_int_equal(before->lane_count, after->lane_count);
    assert_memory_equal(&before->lanes[0].limits, &after->lanes[0].limits,
                        sizeof(before->lanes[0].limits));
    assert_int_equal(before->access_count, after->access_count);
    assert_int_equal(before->audit.keep_ms, after->audit.keep_ms);
    config_free(before);
    config_free(after);
    free(first);
    free(second);
}

static void
assert_line(const char *text, const char *before, const char *folder, const char *after)
{
    char line[512];

    (void)snprintf(line, sizeof(line), "%s%s%s", before, folder, after);
    if (!strstr(text, line))
        fail_msg("no line \"%s\" in\n%s", line, text);
}

static void each_value_has_its_origin(void **state)
{
    struct fixture *fixture = *state;
    char *text;

    files_write(fixture->path, everything, strlen(everything));
    drop_in(
        fixture, "1.conf",
        "uplink: { ack_timeout = \"1m\";\n  keepalive = \"8s\"; client_id = \"100%%\"; };\n");
    text = print(fixture);
    assert_line(text, "\n#     ", fixture->folder, "/t.conf\n");
    assert_line(text, "\n#     ", fixture->dropins, "/1.conf\n");
    assert_line(text, "\n    commit_interval = \"1500ms\"; # ", fixture->folder,
                "/t.conf:1, default: \"0\"\n");
    assert_line(text, "\n    ack_timeout = \"1m\"; # ", fixture->dropins, "/1.conf:1\n");
    assert_line(text, "\n    keepalive = \"8s\"; # ", fixture->dropins,
                "/1.conf:2, default: \"30s\"\n");
    assert_line(text, "\n    client_id = \"100%%\"; # ", fixture->dropins,
                "/1.conf:2, default: \"gw-%H\"\n");
    assert_line(text, "\n        name = \"plain\"; # ", fixture->folder, "/t.conf:9\n");
    assert_line(text, "\n        priority = 0; # default\n", "", "");
    assert_line(text, "\n        max_age = \"36h\"; # as retention\n", "", "");
    assert_line(text, "\n    proxy = \"\"; # default\n", "", "");
    assert_line(text, ", written \"t/%H\", default: \"\"\n", "", "");
    free(text);
}

static void what_a_terminal_would_obey_is_printed_as_an_escape(void **state)
{
    struct fixture *fixture = *state;
    char *text;

    files_write(fixture->path, everything, strlen(everything));
    drop_in(fixture, "new\nline\x1B.conf", "log_level = \"debug\";\n");
    text = print(fixture);
    for (const char *at = text; *at != '\0'; at++)
        assert_true((unsigned char)*at >= 0x20 || *at == '\n');
    assert_line(text, "password_file = \"/p\\x01\\x0A\";", "", "");
    assert_line(text, "-%%-\\xE2\\x80\\xAE\";", "", "");
    assert_line(text, "", fixture->dropins, "/new\\x0Aline\\x1B.conf:1");
    free(text);
}

static void wrong_configuration_is_not_printed(void **state)
{
    struct fixture *fixture = *state;
    char *text = NULL;

    drop_in(fixture, "1.conf", "listen: { group = \"no-such-group\"; };\n");
    assert_int_equal(config_print(fixture->path, &text, fixture->error), -EINVAL);
    assert_null(text);
    assert_non_null(strstr(fixture->error, "conf.d/1.conf:1: listen.group: there is no group"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(later_file_overrides_single_keys),
        CASE(files_are_read_in_the_order_of_the_bytes_of_their_names),
        CASE(list_of_a_later_file_replaces_the_whole_list),
        CASE(what_has_no_default_may_be_in_any_of_the_files),
        CASE(error_names_the_file_and_the_line),
        CASE(key_may_be_set_once_in_each_file),
        CASE(include_is_from_the_folder_of_the_main_file),
        CASE(names_of_editors_and_packages_are_passed_over),
        CASE(names_with_another_ending_are_told_unless_they_are_hidden),
        CASE(of_many_names_with_another_ending_the_first_are_told),
        CASE(links_to_files_are_followed_and_other_kinds_refused),
        CASE(folder_that_is_there_must_be_readable),
        CASE(file_that_was_cut_is_refused),
        CASE(files_are_bounded_in_number_and_bytes),
        CASE(file_that_the_daemon_writes_is_none_of_them),
        CASE(error_of_two_keys_is_where_one_of_them_is_set),
        CASE(key_that_needs_a_lane_is_where_it_is_set),
        CASE(origin_of_a_key_is_the_file_and_line_that_applies),
        CASE(tool_passes_over_what_it_does_not_need),
        CASE(what_is_printed_is_the_same_configuration),
        CASE(each_value_has_its_origin),
        CASE(what_a_terminal_would_obey_is_printed_as_an_escape),
        CASE(wrong_configuration_is_not_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
