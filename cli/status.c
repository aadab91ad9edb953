/*
 * status.c - mqtt-spool status: what the daemon does and what the spool holds
 *
 * The daemon writes its status beside its socket, as one JSON object, each
 * status_interval. Whether it runs is told by the lock on the spool, not by that
 * file, which a killed daemon leaves behind; where the spool's folder is closed
 * to us, by the process the file names. While no daemon runs, the same object is
 * made from the database, with every member, so that a reader needs to know one
 * form only; what nobody knows then is null, 0 or "".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "daemon/bytes.h"
#include "daemon/clock.h"
#include "daemon/json.h"
#include "daemon/record_status.h"

#define STATUS_FILE         "status.json"
#define STATUS_MAX          (1024 * 1024)
#define DEFAULT_INTERVAL_MS 5000
#define STALE_INTERVALS     3
#define CELL_MAX            256

static const char help_text[] =
    "Usage: mqtt-spool status [OPTION]...\n"
    "\n"
    "What the daemon does and what the spool holds. Works while the daemon is stopped too.\n"
    "\n"
    "      --json             one JSON object on one line\n"
    "      --require-running  exit with 69 when the daemon does not run\n"
    "      --directory DIR    the spool, instead of the configured one\n"
    "      --socket PATH      the daemon's socket (its status lies beside it)\n"
    "\n"
    "Exit codes: 0 it could be told, whatever it is; 65 the spool is damaged or another\n"
    "program's; 69 there is no spool, or no daemon with --require-running; 75 locked, try "
    "again;\n"
    "77 not allowed; 78 configuration.\n";

struct status {
    const char *directory; /* NULL: not known */
    const char *socket;    /* NULL: not known */
    const struct config *config; /* NULL: not read */
    uint64_t interval_ms;
    bool json;
    bool require_running;
    /* found out */
    bool running;
    bool own;     /* the object is that of the daemon, which runs */
    char *text;   /* the object, one line */
    json_t *root; /* the same, parsed */
};

static void set_text(struct status *status, char *text, json_t *root)
{
    free(status->text);
    json_decref(status->root);
    status->text = text;
    status->root = root;
}

/* All of a small file, terminated; NULL when it cannot be read. */
static char *read_text(const char *path)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_FREE char *text = NULL;
    size_t used = 0;
    char *whole;

    if (fd < 0)
        return NULL;
    text = malloc(STATUS_MAX);
    while (text != NULL && used < STATUS_MAX - 1) {
        ssize_t got = read(fd, text + used, STATUS_MAX - 1 - used);

        if (got < 0)
            return NULL;
        if (got == 0)
            break;
        used += (size_t)got;
    }
    if (text == NULL)
        return NULL;
    text[used] = '\0';
    whole = text;
    text = NULL;
    return whole;
}

/* Newlines inside JSON are mere space: without them the object is one line. */
static void make_one_line(char *text)
{
    size_t size = strlen(text);

    while (size > 0 && text[size - 1] == '\n')
        text[--size] = '\0';
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n')
            text[i] = ' ';
    }
}

static void load_status_file(struct status *status)
{
    const char *slash = strrchr(status->socket, '/');
    int folder = slash ? (int)(slash - status->socket) + 1 : 0;
    char path[PATH_MAX];
    AUTO_FREE char *text = NULL;
    json_error_t error;
    json_t *root;

    if (snprintf(path, sizeof(path), "%.*s" STATUS_FILE, folder, status->socket) >= PATH_MAX)
        return;
    text = read_text(path);
    if (text == NULL)
        return;
    root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        cli_error("%s is no status: %s; looking into the spool instead", path, error.text);
        json_decref(root);
        return;
    }
    make_one_line(text);
    set_text(status, text, root);
    text = NULL;
}

static const json_t *member(const json_t *root, const char *part, const char *name)
{
    return json_object_get(part ? json_object_get(root, part) : root, name);
}

static bool is_running(const struct status *status)
{
    json_int_t pid = json_integer_value(member(status->root, NULL, "pid"));

    if (status->directory != NULL && cli_may_read(status->directory))
        return spool_is_in_use(status->directory);
    return pid > 0 && pid <= INT_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static void write_link(struct json *json, const char *state)
{
    json_open_object(json, "link");
    json_text(json, "state", state);
    json_text(json, "broker", "");
    json_text(json, "since", "");
    json_unsigned(json, "connects", 0);
    json_text(json, "last_error", "");
    json_unsigned(json, "window", 0);
    json_unsigned(json, "late_answers", 0);
    json_close_object(json);
}

/* What only a daemon that runs can tell of itself. */
static void write_idle_parts(struct json *json)
{
    json_open_object(json, "tokens");
    json_unsigned(json, "in_flight", 0);
    json_unsigned(json, "peak", 0);
    json_close_object(json);
    json_open_object(json, "rates");
    json_decimal(json, "in", 0);
    json_decimal(json, "out", 0);
    json_close_object(json);
    json_open_object(json, "memory");
    json_unsigned(json, "rss_bytes", 0);
    json_close_object(json);
    json_open_object(json, "salvage");
    json_unsigned(json, "salvaged", 0);
    json_unsigned(json, "damaged", 0);
    json_bool(json, "damaged_unknown", false);
    json_text(json, "moved_to", "");
    json_text(json, "time", "");
    json_close_object(json);
    json_open_object(json, "producers");
    json_unsigned(json, "connected", 0);
    json_unsigned(json, "messages_refused", 0);
    json_unsigned(json, "clients_refused", 0);
    json_close_object(json);
}

static int count_row(void *context, const struct spool_record *record)
{
    uint64_t *count = context;

    (void)record;
    (*count)++;
    return 0;
}

/* Where deliveries gave way ahead of the cursor, the numbers do not tell how many rows wait. */
static int
count_waiting(struct spool *spool, const struct spool_stats *stats, uint64_t *ret_count)
{
    *ret_count = 0;
    if (spool_pruned_seq(spool) > stats->exported_seq)
        return spool_each_record(spool, stats->exported_seq, false, 0, count_row, ret_count);
    *ret_count = stats->last_seq - stats->exported_seq;
    return 0;
}

static int write_audit(struct json *json,
                       struct spool *spool,
                       const struct spool_stats *stats,
                       const struct config *config)
{
    const char *when_full = "";
    uint64_t waiting;
    int result = count_waiting(spool, stats, &waiting);

    if (config != NULL)
        when_full = config->audit.when_full == CONFIG_AUDIT_PRUNE ? "prune" : "refuse";
    json_open_object(json, "audit");
    json_nothing(json, "healthy");
    json_unsigned(json, "last_seq", stats->last_seq);
    json_unsigned(json, "waiting", waiting);
    json_unsigned(json, "max_waiting", config != NULL ? config->audit.max_waiting : 0);
    json_text(json, "when_full", when_full);
    json_unsigned(json, "pruned", 0);
    json_close_object(json);
    return result;
}

static void write_clock_and_forecast(struct json *json,
                                     const struct spool_stats *stats,
                                     const struct spool_time *now)
{
    json_open_object(json, "clock");
    json_bool(json, "synchronized", now->wall_credible);
    json_close_object(json);
    json_open_object(json, "forecast");
    json_nothing(json, "full_s");
    if (stats->messages == 0)
        json_unsigned(json, "drained_s", 0);
    else
        json_nothing(json, "drained_s");
    json_close_object(json);
}

static struct spool_lane configured_lane(const char *name, const struct config_limits *limits)
{
    static const enum spool_policy policies[] = {
        [CONFIG_EVICT_OLDEST] = SPOOL_EVICT_OLDEST,
        [CONFIG_REFUSE] = SPOOL_REFUSE,
        [CONFIG_BLOCK] = SPOOL_BLOCK,
    };

    return (struct spool_lane){
        .name = name,
        .limits = {.max_messages = limits->max_messages,
                   .max_bytes = limits->max_bytes,
                   .max_age_ms = limits->max_age_ms,
                   .when_full = policies[limits->when_full]},
    };
}

/* The limits are those of the configuration; what is refused only a running daemon knows. */
static int write_spool_parts(struct json *json,
                             struct spool *spool,
                             const struct spool_stats *stats,
                             const struct config *config)
{
    struct spool_lane lanes[SPOOL_LANES_MAX];
    struct record_intake intake = {0};
    struct spool_time now = cli_now();

    if (config != NULL) {
        lanes[0] = configured_lane("default", &config->retention);
        for (size_t i = 0; i < config->lane_count; i++)
            lanes[i + 1] = configured_lane(config->lanes[i].name, &config->lanes[i].limits);
        intake.lanes = lanes;
        intake.lane_count = config->lane_count + 1;
        intake.disk_reserve = config->spool.disk_reserve;
    }
    return record_write_status(json, spool, stats, &intake, &now);
}

/* The object with the members that the daemon writes (gateway_status.c), as far as the database
 * knows. The link is "unknown" where a daemon runs whose own file cannot be read. */
static int write_from_spool(const struct status *status, struct json *json, struct spool *spool)
{
    struct spool_time now = cli_now();
    char time[CLOCK_TEXT_MAX];
    struct spool_stats stats;
    int result = spool_get_stats(spool, &now, &stats);

    if (result != 0)
        return result;
    clock_format(now.wall_ms, time);
    json_open_object(json, NULL);
    json_text(json, "version", SPOOLD_VERSION);
    json_signed(json, "pid", 0);
    json_text(json, "time", time);
    json_unsigned(json, "uptime_ms", 0);
    write_link(json, status->running ? "unknown" : "stopped");
    result = write_spool_parts(json, spool, &stats, status->config);
    write_idle_parts(json);
    if (result == 0)
        result = write_audit(json, spool, &stats, status->config);
    write_clock_and_forecast(json, &stats, &now);
    json_close_object(json);
    return result;
}

static int load_from_spool(struct status *status)
{
    AUTO_SPOOL struct spool *spool = NULL;
    AUTO_FREE char *text = NULL;
    struct json json;
    json_error_t error;
    json_t *root;
    int result;

    if (status->directory == NULL) {
        cli_error(
            "the daemon does not run, and where its spool is was not said: give --directory "
            "DIR or -c FILE");
        return EX_UNAVAILABLE;
    }
    result = cli_open_spool(status->directory, &spool);
    if (result != EX_OK)
        return result;
    text = malloc(STATUS_MAX);
    if (text == NULL) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    json_init(&json, text, STATUS_MAX - 1);
    result = write_from_spool(status, &json, spool);
    if (result != 0)
        return cli_spool_failed(spool, result);
    text[json_used(&json)] = '\0';
    root = json_loads(text, 0, &error);
    set_text(status, text, root);
    text = NULL;
    return EX_OK;
}

/* The status file of a daemon that runs but hangs says nothing about now. */
static void warn_when_stale(const struct status *status)
{
    const char *text = json_string_value(member(status->root, NULL, "time"));
    char span[CLOCK_SPAN_MAX];
    int64_t written_ms;
    int64_t age_ms;

    if (text == NULL || !clock_parse(text, &written_ms))
        return;
    age_ms = cli_now().wall_ms - written_ms;
    if (age_ms <= (int64_t)(status->interval_ms * STALE_INTERVALS))
        return;
    clock_span(age_ms, span);
    cli_error(
        "this status is %s old although the daemon runs: it may hang or be stopped (journalctl "
        "-u mqtt-spoold), or the clock was set",
        span);
}

static int load(struct status *status)
{
    if (status->socket != NULL)
        load_status_file(status);
    status->running = is_running(status);
    if (!status->running && status->require_running) {
        cli_error("the daemon does not run; start it: systemctl start mqtt-spoold");
        return EX_UNAVAILABLE;
    }
    status->own = status->running && status->root != NULL;
    if (!status->own)
        return load_from_spool(status);
    warn_when_stale(status);
    return EX_OK;
}

/* Any member as text for a person; "-" where there is none. */
static const char *
cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const json_t *value = member(root, part, name);

    if (json_is_integer(value))
        (void)snprintf(text, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(text, CELL_MAX, "%.1f", json_real_value(value));
    else if (json_is_string(value) && *json_string_value(value) != '\0')
        (void)cli_printable(text, CELL_MAX, json_string_value(value));
    else
        (void)strcpy(text, "-");
    return text;
}

static const char *
size_cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const json_t *value = member(root, part, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return cell(NULL, NULL, name, text);
    return cli_size((uint64_t)json_integer_value(value), text);
}

/* @unit_ms: what one of the member's unit is in milliseconds. */
static const char *span_cell(const json_t *root,
                             const char *part,
                             const char *name,
                             int64_t unit_ms,
                             char text[static CELL_MAX])
{
    const json_t *value = member(root, part, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT64_MAX / unit_ms)
        return cell(NULL, NULL, name, text);
    clock_span(json_integer_value(value) * unit_ms, text);
    return text;
}

/* Null says that it is not coming; a time of 0 that it is so already. */
static const char *
forecast_cell(const json_t *root, const char *name, char text[static CELL_MAX])
{
    const json_t *value = member(root, "forecast", name);

    if (json_is_integer(value) && json_integer_value(value) == 0)
        return "now";
    return span_cell(root, "forecast", name, 1000, text);
}

static void print_daemon(const struct status *status)
{
    char version[CELL_MAX], pid[CELL_MAX], uptime[CELL_MAX];

    if (!status->running) {
        puts("daemon    NOT RUNNING: nothing is taken and nothing is forwarded\n"
             "          start it: systemctl start mqtt-spoold");
        return;
    }
    if (!status->own) {
        puts("daemon    running, but its status file cannot be read; what the spool says "
             "follows\n"
             "          (listen.socket tells where the status file is; is -c or --socket "
             "right?)");
        return;
    }
    printf("daemon    mqtt-spoold %s, running for %s, pid %s\n",
           cell(status->root, NULL, "version", version),
           span_cell(status->root, NULL, "uptime_ms", 1, uptime),
           cell(status->root, NULL, "pid", pid));
}

static bool is_all_taken(const json_t *root)
{
    const char *why = json_string_value(member(root, "intake", "refusing"));
    const json_t *lane;
    size_t i;

    json_array_foreach(json_object_get(root, "lanes"), i, lane)
    {
        if (json_is_true(member(lane, NULL, "full")))
            return false;
    }
    return why == NULL || *why == '\0';
}

static void print_link(const struct status *status)
{
    const json_t *root = status->root;
    char state[CELL_MAX], broker[CELL_MAX], since[CELL_MAX], connects[CELL_MAX],
        error[CELL_MAX];
    bool online;

    if (!status->own) {
        printf("link      %s\n", cell(root, "link", "state", state));
        return;
    }
    printf("link      %s, broker %s, since %s\n", cell(root, "link", "state", state),
           cell(root, "link", "broker", broker), cell(root, "link", "since", since));
    online = strcmp(state, "online") == 0;
    cell(root, "link", "last_error", error);
    printf("          connected %s times, last error: %s\n",
           cell(root, "link", "connects", connects), error);
    if (!online)
        puts(is_all_taken(root) ? "          messages are taken and kept; they go out when the "
                                  "broker can be reached"
                                : "          what is spooled goes out when the broker can be "
                                  "reached");
}

static json_int_t number(const json_t *root, const char *part, const char *name)
{
    return json_integer_value(member(root, part, name));
}

/* "3 of 1000 messages, 1.1 MiB of 1.0 GiB", as far as the limits of @lane are known. @held: what
 * has the figures. */
static const char *
held_cell(const json_t *held, const json_t *lane, char text[static 2 * CELL_MAX])
{
    char messages[CELL_MAX], most[CELL_MAX], bytes[CELL_MAX], largest[CELL_MAX];

    cell(held, NULL, "messages", messages);
    size_cell(held, NULL, "bytes", bytes);
    if (number(lane, NULL, "max_messages") > 0)
        (void)snprintf(text, (size_t)2 * CELL_MAX, "%.40s of %.40s messages, %.40s of %.40s",
                       messages, cell(lane, NULL, "max_messages", most), bytes,
                       size_cell(lane, NULL, "max_bytes", largest));
    else
        (void)snprintf(text, (size_t)2 * CELL_MAX, "%.40s messages, %.40s", messages, bytes);
    return text;
}

static void print_spool(const json_t *root)
{
    const json_t *lanes = json_object_get(root, "lanes");
    const json_t *only = json_array_size(lanes) == 1 ? json_array_get(lanes, 0) : NULL;
    char held[2 * CELL_MAX], oldest[CELL_MAX], disk[CELL_MAX], free_space[CELL_MAX],
        reserve[CELL_MAX];
    json_int_t reserved = number(root, "spool", "disk_reserve_bytes");

    printf("spool     %s, oldest %s\n", held_cell(json_object_get(root, "spool"), only, held),
           span_cell(root, "spool", "oldest_age_ms", 1, oldest));
    printf("          %s on disk, %s free", size_cell(root, "spool", "disk_bytes", disk),
           size_cell(root, "spool", "disk_free_bytes", free_space));
    if (number(root, "spool", "disk_free_bytes") < reserved)
        printf(", below spool.disk_reserve (%s)",
               size_cell(root, "spool", "disk_reserve_bytes", reserve));
    puts("");
    json_int_t damaged = number(root, "spool", "damaged_files");
    if (damaged > 0)
        printf(
            "          DAMAGED: %" JSON_INTEGER_FORMAT
            " database(s) moved aside in the spool's folder (spool.db.damaged-*); what "
            "reads\n          of them goes on. Check the disk (journalctl -k), run mqtt-spool "
            "check, then\n          move those files elsewhere\n",
            damaged);
}

static void print_salvage(const json_t *root)
{
    char time[CELL_MAX], salvaged[CELL_MAX], damaged[CELL_MAX];

    if (strcmp(cell(root, "salvage", "time", time), "-") == 0)
        return;
    printf("          SALVAGED at %s, for the database was damaged or gone: %s messages\n"
           "          that were read go on, %s are recorded as damaged (mqtt-spool failures)\n",
           time, cell(root, "salvage", "salvaged", salvaged),
           cell(root, "salvage", "damaged", damaged));
    if (json_is_true(json_object_get(json_object_get(root, "salvage"), "damaged_unknown")))
        printf("          HOW MANY THERE WERE IS UNKNOWN: neither the counters nor spool.mark "
               "could be\n          read. Compare what the producers sent\n");
}

/* Where there is "default" alone the line of the spool says it all. */
static void print_lanes(const json_t *root)
{
    const json_t *lanes = json_object_get(root, "lanes");
    const char *head = "lanes";
    const json_t *lane;
    size_t i;

    if (json_array_size(lanes) < 2)
        return;
    json_array_foreach(lanes, i, lane)
    {
        char name[CELL_MAX], held[2 * CELL_MAX], oldest[CELL_MAX];

        printf("%-9s %-16s %s, oldest %s\n", head, cell(lane, NULL, "name", name),
               held_cell(lane, lane, held),
               span_cell(lane, NULL, "oldest_age_ms", 1, oldest));
        head = "";
    }
}

/* One that is full by its messages may be so by its bytes too: the first is told. */
static void print_full_lane(const char *head, const json_t *lane)
{
    char name[CELL_MAX], held[CELL_MAX], most[CELL_MAX], policy[CELL_MAX];
    bool by_messages =
        number(lane, NULL, "messages") >= number(lane, NULL, "max_messages");
    bool blocks = strcmp(cell(lane, NULL, "when_full", policy), "block") == 0;

    printf("%-9s lane \"%s\" %s: ", head, cell(lane, NULL, "name", name),
           blocks ? "HOLDS ITS PRODUCERS BACK" : "REFUSES new messages");
    if (by_messages)
        printf("%s of %s messages", cell(lane, NULL, "messages", held),
               cell(lane, NULL, "max_messages", most));
    else
        printf("%s of %s (max_bytes)", size_cell(lane, NULL, "bytes", held),
               size_cell(lane, NULL, "max_bytes", most));
    printf(", when_full = \"%s\"\n"
           "          bring the link back, or raise %s%s and send HUP\n",
           policy, strcmp(name, "default") == 0 ? "retention." : "its ",
           by_messages ? "max_messages" : "max_bytes");
}

/* Why nothing at all is taken, of any lane, and what to do. */
static void print_refusing(const json_t *root, const char *why)
{
    char first[CELL_MAX], second[CELL_MAX];

    if (strcmp(why, "disk") == 0 &&
        number(root, "spool", "disk_free_bytes") >= number(root, "spool", "disk_reserve_bytes"))
        printf("intake    the newest message found no room on the disk: %s free now,\n"
               "          spool.disk_reserve is %s; the next one is tried\n",
               size_cell(root, "spool", "disk_free_bytes", first),
               size_cell(root, "spool", "disk_reserve_bytes", second));
    else if (strcmp(why, "disk") == 0)
        printf("intake    NOTHING IS TAKEN, the disk is short: %s free, spool.disk_reserve is %s\n"
               "          make room on the disk; deliveries go on\n",
               size_cell(root, "spool", "disk_free_bytes", first),
               size_cell(root, "spool", "disk_reserve_bytes", second));
    else if (strcmp(why, "audit_waiting") == 0)
        printf("intake    NOTHING IS TAKEN: %s records wait for the audit file, "
               "audit.max_waiting is %s\n"
               "          make audit.file writable; deliveries go on\n",
               cell(root, "audit", "waiting", first),
               cell(root, "audit", "max_waiting", second));
    else if (strcmp(why, "database_locked") == 0)
        puts("intake    NOTHING IS TAKEN: another program keeps the database locked\n"
             "          end its transaction (fuser -v spool.db names it)");
    else
        printf("intake    NOTHING IS TAKEN: %s\n", why);
}

/* Nothing, where all that came was taken. */
static void print_intake(const json_t *root)
{
    const json_t *lanes = json_object_get(root, "lanes");
    json_int_t refused = number(root, "producers", "messages_refused");
    const char *head = "intake";
    const json_t *lane;
    char why[CELL_MAX];
    size_t i;

    if (strcmp(cell(root, "intake", "refusing", why), "-") != 0) {
        print_refusing(root, why);
        head = "";
    }
    json_array_foreach(lanes, i, lane)
    {
        if (!json_is_true(member(lane, NULL, "full")))
            continue;
        print_full_lane(head, lane);
        head = "";
    }
    if (refused > 0)
        printf("%-9s %" JSON_INTEGER_FORMAT " message(s) refused since the start\n", head,
               refused);
}

static void print_ledger(const json_t *root)
{
    char text[CELL_MAX];
    json_int_t accepted = number(root, "ledger", "accepted");
    json_int_t rest = number(root, "ledger", "spooled");

    printf("ledger    accepted  %12s\n", cell(root, "ledger", "accepted", text));
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        const char *name = spool_outcome_name((enum spool_outcome)i);

        rest += number(root, "ledger", name);
        printf("          %-9s %12s\n", name, cell(root, "ledger", name, text));
    }
    printf("          spooled   %12s\n", cell(root, "ledger", "spooled", text));
    if (rest == accepted)
        puts("          balances: each message accepted is in one of the lines below it");
    else
        printf("          DOES NOT BALANCE: %" JSON_INTEGER_FORMAT
               " accepted, %" JSON_INTEGER_FORMAT
               " accounted for\n          keep a copy of the spool, then: mqtt-spool audit\n",
               accepted, rest);
}

static void print_running_parts(const json_t *root)
{
    char first[CELL_MAX], second[CELL_MAX];

    printf("tokens    %s in flight, peak %s\n", cell(root, "tokens", "in_flight", first),
           cell(root, "tokens", "peak", second));
    printf("rates     %s/s in, %s/s out\n", cell(root, "rates", "in", first),
           cell(root, "rates", "out", second));
    printf("forecast  full: %s, drained: %s\n", forecast_cell(root, "full_s", first),
           forecast_cell(root, "drained_s", second));
    if (json_is_false(member(root, "audit", "healthy")))
        printf("audit     NOT WRITTEN just now; %s of at most %s records wait in the spool.\n"
               "          Check audit.file, its folder's owner and the free space (journalctl\n"
               "          -u mqtt-spoold says more)\n",
               cell(root, "audit", "waiting", first),
               cell(root, "audit", "max_waiting", second));
}

static void print_page(const struct status *status)
{
    print_daemon(status);
    print_link(status);
    print_spool(status->root);
    print_salvage(status->root);
    print_lanes(status->root);
    print_intake(status->root);
    print_ledger(status->root);
    if (status->own)
        print_running_parts(status->root);
    else if (status->running)
        puts("rates     unknown, and so are what is in flight, refused and forecast");
}

static int parse(struct status *status, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "json", .flag = &status->json},
        {.name = "require-running", .flag = &status->require_running},
        {.name = "directory", .text = &status->directory},
        {.name = "socket", .text = &status->socket},
        {.name = NULL},
    };

    return cli_parse_all("status", help_text, options, argc, argv);
}

/* What was not given comes from the configuration; with one of both given, only from a -c. */
static int configure(struct status *status, const struct cli *cli, struct config **ret)
{
    int code;

    if ((status->directory || status->socket) && cli->config_path == NULL)
        return EX_OK;
    code = cli_load_config(cli, "--directory DIR or --socket PATH", ret);
    if (code != EX_OK)
        return code;
    if (status->directory == NULL)
        status->directory = (*ret)->spool.directory;
    if (status->socket == NULL)
        status->socket = (*ret)->listen.socket;
    status->interval_ms = (*ret)->status_interval_ms;
    status->config = *ret;
    return EX_OK;
}

int cli_status(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct status status = {.interval_ms = DEFAULT_INTERVAL_MS};
    int code = parse(&status, argc, argv);

    if (code != CLI_GO_ON)
        return code;
    code = configure(&status, cli, &config);
    if (code == EX_OK)
        code = load(&status);
    if (code == EX_OK && status.json)
        puts(status.text);
    else if (code == EX_OK)
        print_page(&status);
    set_text(&status, NULL, NULL);
    return code;
}
