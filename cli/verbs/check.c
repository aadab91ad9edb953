/* SPDX-License-Identifier: MIT */
/*
 * check.c - mqtt-spool check: is everything as it should be?
 *
 * The store checks the database, the audit verification the file; each finding
 * is printed with what to do about it. A finding must mean something: what is
 * merely unusual (files that were moved aside, a clock that was set back) is a
 * note.
 *
 * The exit code is for a script: 0 all is well, 1 there are findings, 2 it
 * could not be checked, whatever the cause; there is no other.
 */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/audit/check.h"
#include "cli/audit/files.h"
#include "daemon/config/config.h"
#include "store/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define EXIT_FINDINGS 1
#define FINDINGS_MAX  40 /* more are only counted */
#define JSON_MAX      ((size_t)256 * 1024)

static const char help_text[] =
    "Usage: mqtt-spool check [OPTION]...\n"
    "\n"
    "Verifies the spool and the audit file, while the daemon runs or is stopped: the\n"
    "pages of the database, each message, the ledger, ids, outcomes, and the audit\n"
    "file against them. Reads everything once, and changes nothing.\n"
    "\n"
    "      --directory DIR  the spool, instead of the configured one; no audit file\n"
    "                       is then looked at, unless -c names a configuration\n"
    "      --json           one JSON object with the result\n"
    "\n"
    "Exit codes: 0 all is well; 1 something is wrong; 2 it could not be checked, for\n"
    "whatever reason (wrong usage and an output that cannot be written included). No\n"
    "other.\n";

struct finding {
    const char *part;
    const char *remedy;
    char text[AUDIT_TEXT_MAX];
};

struct check {
    const char *directory;
    const char *audit_file; /* NULL: not checked */
    bool deliveries_omitted;
    bool is_json;
    bool running;
    bool is_readable; /* what is in the database is known */
    bool damaged;     /* and some of it does not read: nothing is compared with it */
    bool audit_checked;
    uint64_t audit_first_seq; /* of the files that were read; 0: no line */
    uint64_t audit_last_seq;
    struct spool_stats stats;
    uint64_t finding_count;
    uint64_t kept; /* of them, those in findings */
    struct finding findings[FINDINGS_MAX];
};

#define DATABASE_REMEDY(start)                                                                 \
    "delete nothing, put back what was moved away, look at the disk (journalctl -k); "         \
    "then " start " the daemon: it keeps the damaged files, salvages what can be read "        \
    "into a new database, for which up to twice the room of spool.db must be free, and "       \
    "records the rest as damaged"
#define COUNTS_REMEDY(start)                                                                   \
    "keep a copy of the spool's folder, then " start " the daemon: it looks through a "        \
    "database of up to 64 MiB and salvages it; a larger one it salvages once it meets the "    \
    "fault"

static const char damaged_message_remedy[] =
    "nothing to do for it: when its turn comes it is recorded as damaged and not sent; look at "
    "the disk (journalctl -k)";
static const char ids_remedy[] =
    "keep a copy of the spool's folder and report it: the daemon does not write this; did "
    "another program write to the database?";
static const char tallies_remedy[] =
    "nothing to do: no message depends on them, and the daemon counts from 0 after its next start";
static const char names_remedy[] =
    "delete nothing: the next start of the daemon does that and logs it; then look at what was "
    "moved and move it out of the folder";
static const char disk_remedy[] =
    "delete nothing, look at the disk (journalctl -k), replace it soon; when the daemon needs such "
    "a place it keeps the damaged files, salvages what is readable and records the rest as damaged";
static const char stopped_counts[] = COUNTS_REMEDY("start");
static const char running_counts[] = COUNTS_REMEDY("restart");

/* By enum spool_part. */
static const struct {
    const char *name;
    const char *stopped; /* what to do while the daemon does not run */
    const char *running;
} parts[] = {
    [SPOOL_PART_DISK] = {"disk", disk_remedy, disk_remedy},
    [SPOOL_PART_DATABASE] = {"database", DATABASE_REMEDY("start"), DATABASE_REMEDY("restart")},
    [SPOOL_PART_MESSAGE] = {"database", damaged_message_remedy, damaged_message_remedy},
    [SPOOL_PART_LEDGER] = {"ledger", stopped_counts, running_counts},
    [SPOOL_PART_IDS] = {"ids", ids_remedy, ids_remedy},
    [SPOOL_PART_OUTCOMES] = {"outcomes", stopped_counts, running_counts},
    [SPOOL_PART_NAMES] = {"database", names_remedy, names_remedy},
    [SPOOL_PART_TALLIES] = {"tallies", tallies_remedy, tallies_remedy},
};

static const char audit_remedy[] =
    "see mqtt-spool audit for all of it; keep copies of the audit files and of the spool, then "
    "find out what rotates or edits the file";

static const char ahead_remedy[] =
    "keep copies of the audit files and of the spool; where the database was restored from an "
    "older copy: " AUDIT_AHEAD_REMEDY "; else find out what rotates or edits the file";

static const char foreign_remedy[] =
    "the daemon does not start with it and changes nothing: " CLI_FOREIGN_REMEDY;

static void
add_finding(struct check *check, const char *part, const char *text, const char *remedy)
{
    check->finding_count++;
    if (check->kept == FINDINGS_MAX)
        return;
    struct finding *finding = &check->findings[check->kept++];
    finding->part = part;
    finding->remedy = remedy;
    text_format(finding->text, sizeof(finding->text), "%s", text);
}

static void on_finding(void *userdata, enum spool_part part, const char *text)
{
    struct check *check = userdata;

    if (part == SPOOL_PART_DATABASE || part == SPOOL_PART_DISK)
        check->damaged = true;
    add_finding(check, parts[part].name, text,
                check->running ? parts[part].running : parts[part].stopped);
}

/* With a sign of life on a terminal: a large database takes minutes. */
struct check_life {
    struct progress progress;
    int64_t begun_ms;
};

static void show_life(void *userdata)
{
    struct check_life *life = userdata;
    int64_t past_ms = cli_now().boot_ms - life->begun_ms;

    progress_show(&life->progress, "checking, seconds:", (uint64_t)past_ms / 1000);
}

static int check_pages(struct check *check, struct spool *spool)
{
    struct check_life life = {.begun_ms = cli_now().boot_ms};
    int result;

    progress_init(&life.progress, false);
    spool_set_check_progress(spool, show_life, &life);
    result = spool_check(spool, on_finding, check);
    spool_set_check_progress(spool, NULL, NULL);
    progress_end(&life.progress);
    return result;
}

/* Return: EX_OK, also where the damage is such that nothing more can be read. */
static int check_database(struct check *check)
{
    AUTO_SPOOL struct spool *spool = NULL;
    struct spool_time now = cli_now();
    int result = spool_open_reader(check->directory, &spool);

    check->running = spool_is_in_use(check->directory);
    if (result == SPOOL_E_DAMAGED && cli_spool_is_moved()) {
        add_finding(check, parts[SPOOL_PART_DATABASE].name, spool_open_error(),
                    CLI_MOVED_REMEDY);
        return EX_OK;
    }
    spool_check_names(check->directory, on_finding, check);
    if (result == SPOOL_E_DAMAGED || result == -EBADMSG) {
        on_finding(check, SPOOL_PART_DATABASE, spool_open_error());
        return EX_OK;
    }
    if (result == SPOOL_E_FOREIGN) {
        add_finding(check, parts[SPOOL_PART_DATABASE].name, spool_open_error(), foreign_remedy);
        return EX_OK;
    }
    if (result != 0)
        return cli_report_open_error(check->directory, result);
    result = check_pages(check, spool);
    if (result == 0)
        result = spool_get_stats(spool, &now, &check->stats);
    check->is_readable = result == 0;
    if (result == -EIO && check->damaged)
        return EX_OK; /* that is the finding */
    if (result != -EBADMSG)
        return result == 0 ? EX_OK : cli_report_read_error(spool, result);
    if (!check->damaged)
        on_finding(check, SPOOL_PART_DATABASE, spool_error(spool));
    return EX_OK;
}

static void add_audit_problems(struct check *check, const struct audit_check *audit)
{
    uint64_t kept =
        audit->problem_count < AUDIT_PROBLEMS_MAX ? audit->problem_count : AUDIT_PROBLEMS_MAX;

    for (uint64_t i = 0; i < kept; i++) {
        char text[AUDIT_TEXT_MAX + PATH_MAX];
        const struct audit_problem *problem = &audit->problems[i];

        if (problem->file)
            (void)snprintf(text, sizeof(text), "%s:%" PRIu64 ": %s", problem->file,
                           problem->line, problem->text);
        else
            (void)snprintf(text, sizeof(text), "%s", problem->text);
        add_finding(check, "audit", text, problem->is_ahead ? ahead_remedy : audit_remedy);
    }
    check->finding_count += audit->problem_count - kept;
}

static bool has_folder(const char *file)
{
    char name[PATH_MAX];

    (void)snprintf(name, sizeof(name), "%s", file);
    return cli_is_folder(dirname(name));
}

/* False: there is none; if that is a finding, it was added. */
static bool is_audit_file(struct check *check)
{
    struct stat st;

    if (stat(check->audit_file, &st) == 0) {
        if (S_ISREG(st.st_mode))
            return true;
        add_finding(
            check, "audit",
            S_ISDIR(st.st_mode)
                ? "the audit file is missing: a directory has its name"
                : "the audit file is missing: what has its name is not a regular file",
            "something else has its name: move it away; outcomes wait in the database, and a "
            "daemon that runs makes the file within a second");
        return false;
    }
    if (errno != ENOENT && errno != ENOTDIR)
        return true; /* the verification reports why it cannot be opened */
    if (!has_folder(check->audit_file)) {
        add_finding(
            check, "audit", "the folder of the audit file is missing",
            "make the folder of audit.file, writable for the daemon: outcomes wait in the "
            "database until then");
        return false;
    }
    /* Between a rotation and the HUP it is missing, and for a second after any rename. */
    if (check->running && audit_is_rotated(check->audit_file))
        return false;
    if (check->stats.exported_seq > 0)
        add_finding(
            check, "audit", "the audit file is missing, though outcomes were written to it",
            "find out what moved it away; the daemon makes a new one with the next outcome");
    return false;
}

/* With the file that was rotated before it, if that is there and not compressed. */
static int check_audit(struct check *check)
{
    struct audit_check audit = {.deliveries_omitted = check->deliveries_omitted,
                                .ledger_known = true};
    char rotated[PATH_MAX];
    char file[PATH_MAX];
    char *names[] = {rotated, file};
    struct audit_files files = {.names = names + 1, .count = 1};
    int code;

    if (!check->audit_file || *check->audit_file == '\0' || !is_audit_file(check))
        return EX_OK;
    (void)snprintf(file, sizeof(file), "%s", check->audit_file);
    if (audit_find_rotated(check->audit_file, rotated)) {
        files.names = names;
        files.count = 2;
    }
    files.directory = check->damaged ? NULL : check->directory;
    code = audit_check_files(&audit, &files);
    audit_forget_seen(&audit);
    if (code != EX_OK)
        return code;
    check->audit_checked = true;
    check->audit_first_seq = audit.first_seq;
    check->audit_last_seq = audit.last_seq;
    add_audit_problems(check, &audit);
    return EX_OK;
}

/* The end of a line, which may be text of others. */
static void print_visible(const char *text)
{
    text_put(stdout, text);
    puts("");
}

static void print_scope(const struct check *check)
{
    uint64_t in_file = check->audit_last_seq;

    /* The file is read after the database and may have come further. */
    if (in_file > check->stats.last_seq)
        in_file = check->stats.last_seq;
    /* The newest lines may be of deliveries, which are left out. */
    if (check->deliveries_omitted && in_file < check->stats.exported_seq)
        in_file = check->stats.exported_seq;
    fputs("spool     ", stdout);
    text_put(stdout, check->directory);
    printf(", the daemon %s\n", check->running ? "runs" : "is stopped");
    if (check->is_readable)
        printf("          %" PRIu64 " message%s, outcomes up to %" PRIu64,
               check->stats.messages, cli_plural(check->stats.messages), check->stats.last_seq);
    if (check->is_readable && check->audit_checked)
        printf(", up to %" PRIu64 " in the audit file", in_file);
    puts(check->is_readable ? "" : "          it cannot be read: what it holds is not known");
    fputs("audit     ", stdout);
    if (check->audit_file && *check->audit_file == '\0')
        puts("no audit file is written (audit.file = \"\")");
    else if (!check->audit_checked)
        puts("no audit file was compared");
    else
        print_visible(check->audit_file);
}

static void print_notes(const struct check *check)
{
    if (check->audit_first_seq > 1 && !check->deliveries_omitted &&
        !audit_is_rotated(check->audit_file))
        printf("note      the audit file starts at seq %" PRIu64
               ", and no rotated one lies beside it: what was\n          before was rotated "
               "elsewhere, deleted or cut\n",
               check->audit_first_seq);
    if (check->stats.damaged_files > 0)
        printf(
            "note      damaged databases in the folder, moved aside by the daemon: %u; move\n"
            "          them elsewhere when they are no longer needed here\n",
            check->stats.damaged_files);
}

static void print_page(const struct check *check)
{
    print_scope(check);
    print_notes(check);
    if (check->finding_count == 0) {
        puts("verdict   all is well");
        return;
    }
    printf("verdict   NOT WELL: %" PRIu64 " finding%s\n", check->finding_count,
           cli_plural(check->finding_count));
    for (uint64_t i = 0; i < check->kept; i++) {
        const struct finding *finding = &check->findings[i];

        printf("          %s: ", finding->part);
        print_visible(finding->text);
        if (i + 1 == check->kept || check->findings[i + 1].remedy != finding->remedy)
            printf("          -> %s\n", finding->remedy);
    }
    if (check->finding_count > check->kept)
        printf("          and %" PRIu64 " more\n", check->finding_count - check->kept);
}

static int print_json(const struct check *check)
{
    AUTO_FREE char *memory = NULL;
    struct json json;
    int code = cli_open_json(&json, JSON_MAX, &memory);

    if (code != EX_OK)
        return code;
    json_text(&json, "verdict", check->finding_count == 0 ? "sound" : "wrong");
    json_bool(&json, "running", check->running);
    json_bool(&json, "audit_checked", check->audit_checked);
    json_unsigned(&json, "messages", check->stats.messages);
    json_unsigned(&json, "last_seq", check->stats.last_seq);
    json_unsigned(&json, "exported_seq", check->stats.exported_seq);
    json_unsigned(&json, "audit_first_seq", check->audit_first_seq);
    json_unsigned(&json, "audit_last_seq", check->audit_last_seq);
    json_unsigned(&json, "damaged_files", check->stats.damaged_files);
    json_unsigned(&json, "findings", check->finding_count);
    json_open_array(&json, "finding_list");
    for (uint64_t i = 0; i < check->kept; i++) {
        json_open_object(&json, NULL);
        json_text(&json, "part", check->findings[i].part);
        json_text(&json, "text", check->findings[i].text);
        json_text(&json, "remedy", check->findings[i].remedy);
        json_close_object(&json);
    }
    json_close_array(&json);
    json_close_object(&json);
    return cli_print_json(&json);
}

static int check_parse(struct check *check, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "directory", .text = &check->directory},
        {.name = "json", .flag = &check->is_json},
        {.name = NULL},
    };

    return cli_parse_all("check", help_text, options, argc, argv);
}

static int check_configure(struct check *check, const struct cli *cli, struct config **ret)
{
    static const char *const needed[] = {"spool.directory", "audit.file", "audit.deliveries",
                                         NULL};
    int code;

    if (check->directory && !cli->config_path)
        return EX_OK;
    code = cli_load_config(cli, needed, "--directory DIR", ret);
    if (code != EX_OK)
        return code;
    if (!check->directory)
        check->directory = (*ret)->spool.directory;
    check->audit_file = (*ret)->audit.file;
    check->deliveries_omitted = !(*ret)->audit.has_deliveries;
    return EX_OK;
}

int cli_check(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct check check = {0};
    int code = check_parse(&check, argc, argv);

    if (code != CLI_CONTINUE)
        return code == EX_OK ? EX_OK : CLI_UNCHECKED;
    code = check_configure(&check, cli, &config);
    if (code == EX_OK)
        code = check_database(&check);
    if (code == EX_OK && (check.finding_count == 0 || check.stats.last_seq > 0))
        code = check_audit(&check);
    if (code != EX_OK)
        return CLI_UNCHECKED;
    if (check.is_json)
        code = print_json(&check);
    else
        print_page(&check);
    if (check.finding_count > 0)
        return EXIT_FINDINGS; /* whether or not it could be printed */
    return code == EX_OK ? EX_OK : CLI_UNCHECKED;
}
