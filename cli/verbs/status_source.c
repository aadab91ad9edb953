/* SPDX-License-Identifier: MIT */
/*
 * status_source.c - the status object, of the daemon or from the files
 *
 * The daemon is asked for the status of now, as each client may. If it cannot be asked, its
 * file is read: it writes its status beside its socket, as one JSON object, each
 * status_interval. The lock on the spool decides whether it runs, not that
 * file, which a killed daemon leaves behind; if the spool's folder may not be
 * read, or is one that waits for a restart, the process that the file names
 * decides, and a status that cannot be made is reported with that. While no
 * daemon runs, the same object is made from the database, with every member, so
 * that a reader needs to know one form only; what is not known then is null, 0
 * or "".
 */
#include "cli/verbs/status_source.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/verbs/control.h"
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

#define STALE_INTERVALS 3

static void source_replace(struct status_source *status, char *text, json_t *root)
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

static void load_status_file(struct status_source *status)
{
    AUTO_FREE char *text = cli_read_status();
    json_error_t error;
    json_t *root;
    char *line;

    if (!text)
        return;
    root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_integer(json_object_get(root, "pid"))) { /* each version writes it */
        cli_error("%s is no status: %s; looking into the spool instead", cli_status_file(),
                  root ? "it is not the object of a daemon" : error.text);
        json_decref(root);
        return;
    }
    line = make_one_line(text);
    if (!line)
        json_decref(root);
    else
        source_replace(status, line, root);
}

/* And not that of an option. */
static bool is_directory_configured(const struct status_source *status)
{
    return status->owned_config && status->directory == status->owned_config->spool.directory;
}

static bool is_running(const struct status_source *status)
{
    json_int_t pid = json_integer_value(json_object_get(status->root, "pid"));

    if (is_directory_configured(status) && cli_restart_waits("spool.directory"))
        return true;
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
static int
write_from_spool(const struct status_source *status, struct json *json, struct spool *spool)
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

static int load_from_spool(struct status_source *status)
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
    source_replace(status, text, root);
    text = NULL;
    return EX_OK;
}

/* The status file of a daemon that hangs is out of date. */
static void warn_when_stale(const struct status_source *status)
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
static bool load_from_daemon(struct status_source *status)
{
    json_t *root = NULL;
    char *line = NULL;
    char *text = NULL;

    if (!status->socket || access(status->socket, W_OK) < 0)
        return false;
    cli_silence_errors(true);
    int code = control_get_status(status->socket, &root, NULL);
    cli_silence_errors(false);
    if (code == EX_OK) {
        uncount_self(root);
        text = json_dumps(root, JSON_COMPACT);
        line = text ? make_one_line(text) : NULL;
    }
    free(text);
    if (line)
        source_replace(status, line, root);
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
static int load_instead(struct status_source *status)
{
    bool is_named = json_is_integer(json_object_get(status->root, "pid"));

    source_replace(status, NULL, NULL); /* of a daemon that was killed, or is another one */
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

int status_source_load(struct status_source *status)
{
    source_replace(status, NULL, NULL);
    status->is_own = false;
    if (status->socket) {
        cli_set_socket(status->socket);
        load_status_file(status);
    }
    status->running = is_running(status);
    if (!status->running && status->running_required) {
        source_replace(status, NULL, NULL);
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

/* What was not given comes from the configuration; with one of both given, only from a -c. */
int status_source_configure(struct status_source *status, const struct cli *cli)
{
    static const char *const needed[] = {"spool.directory", "listen.socket", NULL};
    static const char instead[] = "--directory DIR or --socket PATH";
    bool is_place_given = status->directory || status->socket;
    const char *socket = NULL;
    int code;

    if (is_place_given && !cli->config_path)
        return EX_OK;
    code = is_place_given ? cli_load_config(cli, needed, instead, &status->owned_config)
                          : cli_find_socket(cli, needed, instead, CLI_IF_RUNNING,
                                            &status->owned_config, &socket);
    if (code != EX_OK)
        return code;
    if (!status->owned_config) { /* a daemon was found without one */
        status->socket = socket;
        return EX_OK;
    }
    if (!status->directory)
        status->directory = status->owned_config->spool.directory;
    if (!status->socket)
        status->socket = status->owned_config->listen.socket;
    status->interval_ms = status->owned_config->status_interval_ms;
    if (!status->owned_config->is_partial) /* else limits might be those of defaults */
        status->config = status->owned_config;
    return EX_OK;
}

void status_source_done(struct status_source *status)
{
    source_replace(status, NULL, NULL);
    config_free(status->owned_config);
    status->owned_config = NULL;
}
