/* SPDX-License-Identifier: MIT */
/*
 * status.c - mqtt-spool status: what the daemon does and what the spool holds
 *
 * The daemon is asked for the status of now, as each client may. If it cannot be asked, its
 * file is read: it writes its status beside its socket, as one JSON object, each
 * status_interval. The lock on the spool decides whether it runs, not that
 * file, which a killed daemon leaves behind; if the spool's folder may not be
 * read, the process that the file names decides, and a status that cannot be made
 * is reported with that. While no daemon runs, the same
 * object is made from the database, with every member, so that a reader needs
 * to know one form only; what is not known then is null, 0 or "".
 */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "cli/verbs/control.h"
#include "cli/verbs/status_page.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/record/status.h"
#include "store/spool.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sysexits.h>

#define DEFAULT_INTERVAL_MS 5000
#define STALE_INTERVALS     3

static const char help_text[] =
    "Usage: mqtt-spool status [OPTION]...\n"
    "\n"
    "What the daemon does and what the spool holds: now if this user may open the\n"
    "daemon's socket, else as of the last status_interval; a status that is older\n"
    "than a few seconds has its time. Works while the daemon is stopped too, for\n"
    "users that may read the spool.\n"
    "\n"
    "      --json             one JSON object on one line\n"
    "      --require-running  exit with 69 when the daemon does not run\n"
    "      --directory DIR    the spool, instead of the configured one\n"
    "      --socket PATH      the daemon's socket (its status lies beside it)\n"
    "\n"
    "Exit codes: 0 printed, whatever the status is; 65 the spool is damaged or\n"
    "another program's; 69 there is no spool, or no daemon with --require-running;\n"
    "75 locked, try again; 77 not allowed; 78 configuration.\n";

struct status {
    const char *directory;       /* NULL: not known */
    const char *socket;          /* NULL: not known */
    const struct config *config; /* NULL: not read */
    uint64_t interval_ms;
    bool is_json;
    bool running_required;
    /* found out */
    bool running;
    bool is_own;  /* the object is that of the daemon, which runs */
    char *text;   /* the object, one line */
    json_t *root; /* the same, parsed */
};

static void status_replace(struct status *status, char *text, json_t *root)
{
    free(status->text);
    json_decref(status->root);
    status->text = text;
    status->root = root;
}

/* The object of the file on one line; NULL: out of memory. */
static char *make_one_line(const char *text)
{
    size_t size = 6 * strlen(text) + 1; /* no byte needs more */
    char *line = malloc(size);
    struct json json;

    if (!line)
        return NULL;
    json_init(&json, line, size - 1);
    json_verbatim(&json, text);
    size = json_used(&json);
    while (size > 0 && line[size - 1] == ' ')
        size--;
    line[size] = '\0';
    return line;
}

static void load_status_file(struct status *status)
{
    AUTO_FREE char *text = cli_read_status();
    json_error_t error;
    json_t *root;
    char *line;

    if (!text)
        return;
    root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        cli_error("%s is no status: %s; looking into the spool instead", cli_status_file(),
                  error.text);
        json_decref(root);
        return;
    }
    line = make_one_line(text);
    if (!line)
        json_decref(root);
    else
        status_replace(status, line, root);
}

static bool is_running(const struct status *status)
{
    json_int_t pid = json_integer_value(json_object_get(status->root, "pid"));

    if (status->directory && cli_may_read(status->directory))
        return spool_is_in_use(status->directory);
    return cli_process_runs(pid);
}

static int count_row(void *userdata, const struct spool_record *record)
{
    uint64_t *count = userdata;

    (void)record;
    (*count)++;
    return 0;
}

/* If deliveries after the cursor were pruned, the numbers do not count the rows that wait. */
static int
count_waiting(struct spool *spool, const struct spool_stats *stats, uint64_t *ret_count)
{
    *ret_count = 0;
    if (spool_pruned_seq(spool) > stats->exported_seq)
        return spool_each_record(spool, stats->exported_seq, false, 0, count_row, ret_count);
    *ret_count = stats->last_seq - stats->exported_seq;
    return 0;
}

/* The limits are those of the configuration; what is refused only a running daemon knows. */
static void set_configured_limits(struct record_status *status,
                                  const struct config *config,
                                  struct spool_lane lanes[static SPOOL_LANES_MAX])
{
    status->intake.lanes = lanes;
    status->intake.lane_count = config_spool_lanes(config, lanes);
    status->intake.disk_reserve = config->spool.disk_reserve;
    status->audit.max_waiting = config->audit.max_waiting;
    status->audit.when_full = config_key_word("audit.when_full", (int)config->audit.when_full);
}

/* The object that the daemon writes, as far as the database knows. The link is "unknown"
 * where a daemon runs whose own file cannot be read. */
static int write_from_spool(const struct status *status, struct json *json, struct spool *spool)
{
    struct spool_time now = cli_now();
    struct spool_lane lanes[SPOOL_LANES_MAX];
    struct spool_stats stats;
    struct record_status object = {
        .stats = &stats,
        .link = {.state = status->running ? "unknown" : "stopped"},
        .full_after_s = -1,
    };
    int result = spool_get_stats(spool, &now, &stats);

    if (result == 0)
        result = count_waiting(spool, &stats, &object.audit.waiting);
    if (result != 0)
        return result;
    if (status->config)
        set_configured_limits(&object, status->config, lanes);
    return record_write_status(json, spool, &object, &now);
}

static int load_from_spool(struct status *status)
{
    AUTO_SPOOL struct spool *spool = NULL;
    AUTO_FREE char *text = NULL;
    struct json json;
    json_error_t error;
    json_t *root;
    int result;

    if (!status->directory) {
        cli_error(
            "the daemon does not run, and where its spool is is not known: give --directory "
            "DIR or -c FILE");
        return EX_UNAVAILABLE;
    }
    result = cli_open_spool(status->directory, &spool);
    if (result != EX_OK)
        return result;
    text = malloc(CLI_STATUS_MAX);
    if (!text) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    json_init(&json, text, CLI_STATUS_MAX - 1);
    result = write_from_spool(status, &json, spool);
    if (result != 0)
        return cli_report_read_error(spool, result);
    text[json_used(&json)] = '\0';
    root = json_loads(text, 0, &error);
    status_replace(status, text, root);
    text = NULL;
    return EX_OK;
}

/* The status file of a daemon that hangs is out of date. */
static void warn_when_stale(const struct status *status)
{
    const char *text = json_string_value(json_object_get(status->root, "time"));
    char span[CLOCK_SPAN_MAX];
    int64_t written_ms;
    int64_t age_ms;

    if (!text || !clock_parse(text, &written_ms))
        return;
    age_ms = cli_now().wall_ms - written_ms;
    if (age_ms <= (int64_t)(status->interval_ms * STALE_INTERVALS))
        return;
    clock_format_span(age_ms, span);
    cli_error(
        "this status is %s old although the daemon runs: it may hang or be stopped, its status "
        "file may have no room (status_not_written in journalctl -u mqtt-spoold), or the clock "
        "was set",
        span);
}

/* ---- the status of now ---- */

/* This program is a client as well, and none that the caller has in mind. */
static void uncount_self(json_t *root)
{
    json_t *connected = json_object_get(json_object_get(root, "producers"), "connected");

    if (json_integer_value(connected) > 0)
        (void)json_integer_set(connected, json_integer_value(connected) - 1);
}

/* Return: is there one? */
static bool load_from_daemon(struct status *status)
{
    json_t *root = NULL;
    char *line = NULL;
    char *text = NULL;

    if (!status->socket || access(status->socket, W_OK) < 0)
        return false;
    cli_silence_errors(true);
    int code = control_get_status(status->socket, &root);
    cli_silence_errors(false);
    if (code == EX_OK) {
        uncount_self(root);
        text = json_dumps(root, JSON_COMPACT);
        line = text ? make_one_line(text) : NULL;
    }
    free(text);
    if (line)
        status_replace(status, line, root);
    else
        json_decref(root);
    return line != NULL;
}

static void report_stopped(void)
{
    cli_error("the daemon does not run; start it: systemctl start mqtt-spoold");
}

static bool is_status_file_absent(void)
{
    return access(cli_status_file(), F_OK) < 0 && errno == ENOENT;
}

/* To a user that may not read the spool either, whether the daemon runs is all there is to
 * report. */
static int load_instead(struct status *status)
{
    bool is_named = json_is_integer(json_object_get(status->root, "pid"));
    int code = load_from_spool(status);

    if (code == EX_NOPERM && status->running)
        cli_error("the daemon runs, but this user may not see what it does");
    else if (code == EX_NOPERM && is_named)
        report_stopped();
    else if (code == EX_NOPERM && status->socket && is_status_file_absent())
        cli_error("the daemon does not seem to run: there is no %s, which it writes when it "
                  "starts",
                  cli_status_file());
    return code;
}

static int status_load(struct status *status)
{
    if (status->socket) {
        cli_set_socket(status->socket);
        load_status_file(status);
    }
    status->running = is_running(status);
    if (!status->running && status->running_required) {
        report_stopped();
        return EX_UNAVAILABLE;
    }
    if (status->running && load_from_daemon(status)) {
        status->is_own = true;
        return EX_OK;
    }
    status->is_own = status->running && status->root;
    if (!status->is_own)
        return load_instead(status);
    warn_when_stale(status);
    return EX_OK;
}

static int status_parse(struct status *status, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "json", .flag = &status->is_json},
        {.name = "require-running", .flag = &status->running_required},
        {.name = "directory", .text = &status->directory},
        {.name = "socket", .text = &status->socket},
        {.name = NULL},
    };

    return cli_parse_all("status", help_text, options, argc, argv);
}

/* What was not given comes from the configuration; with one of both given, only from a -c. */
static int status_configure(struct status *status, const struct cli *cli, struct config **ret)
{
    static const char *const needed[] = {"spool.directory", "listen.socket", NULL};
    int code;

    if ((status->directory || status->socket) && !cli->config_path)
        return EX_OK;
    code = cli_load_config(cli, needed, "--directory DIR or --socket PATH", ret);
    if (code != EX_OK)
        return code;
    if (!status->directory)
        status->directory = (*ret)->spool.directory;
    if (!status->socket)
        status->socket = (*ret)->listen.socket;
    status->interval_ms = (*ret)->status_interval_ms;
    if (!(*ret)->is_partial) /* else limits might be those of defaults */
        status->config = *ret;
    return EX_OK;
}

int cli_status(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct status status = {.interval_ms = DEFAULT_INTERVAL_MS};
    int code = status_parse(&status, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    code = status_configure(&status, cli, &config);
    if (code == EX_OK)
        code = status_load(&status);
    if (code == EX_OK && status.is_json)
        puts(status.text);
    else if (code == EX_OK)
        status_page_print(&(struct status_page){.root = status.root,
                                                .now_ms = cli_now().wall_ms,
                                                .running = status.running,
                                                .is_own = status.is_own});
    status_replace(&status, NULL, NULL);
    return code;
}
