/* SPDX-License-Identifier: MIT */
/*
 * bundle.c - mqtt-spool bundle: one file for a bug report, without secrets
 *
 * Everything is collected in memory first; the file appears whole or not at all, and only its
 * owner may read it.
 */
#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "base/view.h"
#include "cli/bundle/archive.h"
#include "cli/bundle/members.h"
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/walk.h"
#include "cli/output.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { LINES_DEFAULT = 2000, AUDIT_DEFAULT = 1000, LINES_MAX = 100000, MODE = 0600 };
/* A path, each byte of it an escape, and two numbers. */
#define JSON_MAX ((size_t)8 * PATH_MAX)

static const char help_text[] =
    "Usage: mqtt-spool bundle [OPTION]... FILE.tar.gz\n"
    "\n"
    "Collects what a bug report needs into one file: status, configuration without\n"
    "secrets, the newest lines of the log and of the audit file, what doctor finds,\n"
    "names and sizes of files, versions. No payload, no key, no password. Its file\n"
    "MANIFEST has what was left out and why. Read it before you send it. Run it as\n"
    "root: what this user may not read is left out.\n"
    "\n"
    "      --no-topics      a number in the place of each topic\n"
    "      --log-lines N    lines of the log (default 2000)\n"
    "      --audit-lines N  lines of the audit file (default 1000)\n"
    "      --json           one JSON object with the result\n"
    "\n"
    "Exit codes: 0 written; 64 usage; 69 it cannot be written; 77 not allowed.\n";

/* As root would read it, as far as it can be read. */
static struct config *load_config(struct bundle *bundle)
{
    static const char *const needed[] = {NULL};
    struct config *config = NULL;
    char error[CONFIG_ERROR_MAX];

    if (config_load_needed(bundle->config_path, needed, &config, error) != 0)
        config = NULL;
    if (error[0] != '\0')
        bundle_note(bundle, error,
                    config ? "the rest of the configuration was used"
                           : "what is named in the configuration is not known");
    return config;
}

static void add_doctor(struct bundle *bundle)
{
    struct doctor_request request = {.config_path = bundle->config_path,
                                     .timeout_ms = DOCTOR_TIMEOUT_S * UINT64_C(1000)};
    struct doctor_findings findings;
    AUTO_FREE char *text = NULL;
    size_t size = 0;
    FILE *to;

    if (doctor_walk(&request, &findings) < 0)
        bundle_note(bundle, NULL, "doctor.txt: left out, no process could be started");
    to = open_memstream(&text, &size);
    if (to) {
        doctor_findings_print(to, &findings);
        if (fclose(to) == 0)
            bundle_add(bundle, "doctor.txt", "mqtt-spool doctor", view_of(text, size));
    }
    doctor_findings_done(&findings);
}

/* What the configuration has and names for secrets is searched for in all, itself included. */
static void collect(struct bundle *bundle)
{
    part_load_secrets(bundle);
    part_add_config(bundle);
    add_doctor(bundle);
    part_add_status(bundle);
    part_add_log(bundle);
    part_add_audit(bundle);
    part_add_files(bundle);
    part_add_versions(bundle);
}

static int write_members(struct bundle *bundle, struct archive *archive)
{
    int result = bundle_add_manifest(bundle);

    for (size_t i = 0; i < bundle->count && result == 0; i++)
        result = archive_add(archive, bundle->members[i].name,
                             view_of(bundle->members[i].data, bundle->members[i].size));
    return result;
}

/* What the stream could not write is reported by output_commit(). */
static int write_archive(struct bundle *bundle, struct output *output)
{
    struct archive *archive;
    int result = archive_open(output_stream(output), cli_now().wall_ms / 1000, &archive);
    int closed;

    if (result == 0) {
        result = write_members(bundle, archive);
        closed = archive_close(archive);
        result = result == 0 ? closed : result;
    }
    if (result == 0 || result == -EIO)
        return output_commit(output);
    output_discard(output);
    cli_error("cannot write the bundle: %s", strerror(-result));
    return EX_UNAVAILABLE;
}

struct bundle_options {
    const char *path;
    bool is_hiding_topics;
    bool is_json;
};

static int
bundle_parse(struct bundle *bundle, struct bundle_options *ret, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "no-topics", .flag = &ret->is_hiding_topics},
        {.name = "log-lines", .number = &bundle->log_lines},
        {.name = "audit-lines", .number = &bundle->audit_lines},
        {.name = "json", .flag = &ret->is_json},
        {.name = NULL},
    };
    int code = cli_parse("bundle", help_text, options, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    if (optind + 1 != argc)
        return cli_usage("bundle", "name one file to write");
    if (bundle->log_lines > LINES_MAX || bundle->audit_lines > LINES_MAX)
        return cli_usage("bundle", "at most %d lines are collected", LINES_MAX);
    ret->path = argv[optind];
    return CLI_CONTINUE;
}

static int print_result(const struct bundle *bundle, const struct bundle_options *options)
{
    AUTO_FREE char *memory = NULL;
    struct json json;
    int code;

    if (!options->is_json) {
        text_put(stdout, options->path);
        printf(
            " is written: %zu file%s.\n"
            "It has status, configuration, log, audit lines, what doctor found and versions;\n"
            "MANIFEST lists them, and %zu note%s on what was left out. Read all of it before\n"
            "you send it: tar -xzf FILE\n",
            bundle->count, cli_plural(bundle->count), bundle->note_count,
            cli_plural(bundle->note_count));
        return EX_OK;
    }
    code = cli_open_json(&json, JSON_MAX, &memory);
    if (code != EX_OK)
        return code;
    json_text(&json, "file", options->path);
    json_unsigned(&json, "files", bundle->count);
    json_unsigned(&json, "notes", bundle->note_count);
    json_close_object(&json);
    return cli_print_json(&json);
}

static int write_bundle(struct bundle *bundle, const struct bundle_options *options)
{
    struct output *output;
    int code = output_open(options->path, NULL, MODE, &output);

    if (code != EX_OK)
        return code;
    struct config *config = load_config(bundle);
    bundle->config = config;
    bundle->socket =
        config ? config->listen.socket : cli_find_default_daemon(bundle->config_path);
    if (bundle->socket)
        cli_set_socket(bundle->socket);
    collect(bundle);
    code = write_archive(bundle, output);
    bundle->config = NULL;
    config_free(config);
    return code == EX_OK ? print_result(bundle, options) : code;
}

int cli_bundle(const struct cli *cli, int argc, char **argv)
{
    struct bundle *bundle = calloc(1, sizeof(*bundle));
    struct bundle_options options = {.path = NULL};
    int code;

    if (!bundle) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    bundle->log_lines = LINES_DEFAULT;
    bundle->audit_lines = AUDIT_DEFAULT;
    bundle->config_path = cli->config_path ? cli->config_path : CONFIG_DEFAULT_PATH;
    code = bundle_parse(bundle, &options, argc, argv);
    if (code == CLI_CONTINUE) {
        bundle->scrub.topics = options.is_hiding_topics ? &bundle->topics : NULL;
        code = write_bundle(bundle, &options);
    }
    bundle_done(bundle);
    free(bundle);
    return code;
}
