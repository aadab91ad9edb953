/* SPDX-License-Identifier: MIT */
/*
 * findings.c - what the doctor found, and the page of it
 */
#include "cli/doctor/findings.h"

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS   80
#define INDENT    24
#define ESCAPED   6 /* bytes of a character in JSON */
#define PER_ENTRY 256

#define DISK_HANGS                                                                             \
    "the file system does not answer: look at the disk (journalctl -k) and at network mounts"
#define BROKER_HANGS "look at the network and at the broker"

static const struct {
    const char *name;
    const char *hang_remedy;
} steps[DOCTOR_STEPS] = {
    [DOCTOR_CONFIG] = {"configuration",
                       "the name service (the access list names users and groups) or the file "
                       "system of the file does not answer"},
    [DOCTOR_RIGHTS] = {"rights", DISK_HANGS},
    [DOCTOR_DAEMON] = {"daemon", "look at journalctl -u mqtt-spoold, and restart the daemon"},
    [DOCTOR_SYNC] = {"disk sync", DISK_HANGS},
    [DOCTOR_SPACE] = {"disk space", DISK_HANGS},
    [DOCTOR_CLOCK] = {"clock", "look at the time service"},
    [DOCTOR_AUDIT] = {"audit", DISK_HANGS},
    [DOCTOR_PROXY] = {"proxy", BROKER_HANGS},
    [DOCTOR_DNS] = {"name",
                    "no name server answers: look at /etc/resolv.conf and at the network"},
    [DOCTOR_TCP] = {"tcp", BROKER_HANGS},
    [DOCTOR_TLS] = {"tls", BROKER_HANGS},
    [DOCTOR_CONNECT] = {"connect", BROKER_HANGS},
    [DOCTOR_ANNOUNCED] = {"announced", BROKER_HANGS},
    [DOCTOR_PROBE] = {"probe", BROKER_HANGS},
};

/* By enum doctor_result. */
static const char *const results[] = {"ok", "warning", "failed", "skipped"};

const char *doctor_step_name(enum doctor_step step)
{
    return steps[step].name;
}

const char *doctor_step_hang_remedy(enum doctor_step step)
{
    return steps[step].hang_remedy;
}

int doctor_findings_add(struct doctor_findings *findings, const struct doctor_finding *finding)
{
    struct doctor_finding *all;

    findings->failed += finding->result == DOCTOR_FAILED;
    findings->warnings += finding->result == DOCTOR_WARNING;
    if (findings->count == DOCTOR_FINDINGS_MAX)
        return -ENOBUFS;
    all = reallocarray(findings->all, findings->count + 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    findings->all = all;
    all[findings->count++] = *finding;
    return 0;
}

void doctor_findings_done(struct doctor_findings *findings)
{
    free(findings->all);
    *findings = (struct doctor_findings){.all = NULL};
}

/* Columns of UTF-8 whose hidden characters are escaped. */
static size_t columns_of(const char *text, size_t size)
{
    size_t columns = 0;

    for (size_t i = 0; i < size; i++)
        columns += ((uint8_t)text[i] & 0xC0) != 0x80;
    return columns;
}

/* Words of @text from column @at on; a word that is longer than a line stands alone. */
static void print_wrapped(FILE *stream, size_t at, const char *text)
{
    char shown[2 * DOCTOR_SEEN_MAX];
    const char *word = shown;
    bool is_first = true;

    (void)text_show(shown, sizeof(shown), text, strlen(text));
    while (*word != '\0') {
        size_t size = strcspn(word, " ");
        size_t columns = columns_of(word, size);

        if (!is_first && at + 1 + columns > COLUMNS) {
            fprintf(stream, "\n%*s", INDENT, "");
            at = INDENT;
        } else if (!is_first) {
            fputc(' ', stream);
            at++;
        }
        fprintf(stream, "%.*s", (int)size, word);
        at += columns;
        word += size;
        word += strspn(word, " ");
        is_first = false;
    }
    fputc('\n', stream);
}

static void print_finding(FILE *stream, const struct doctor_finding *finding)
{
    fprintf(stream, "%-9s%-15s", results[finding->result], steps[finding->step].name);
    print_wrapped(stream, INDENT, finding->seen);
    if (finding->remedy[0] != '\0') {
        fprintf(stream, "%*s-> ", INDENT, "");
        print_wrapped(stream, INDENT + 3, finding->remedy);
    }
}

void doctor_findings_print(FILE *stream, const struct doctor_findings *findings)
{
    const char *target = "";

    for (size_t i = 0; i < findings->count; i++) {
        const struct doctor_finding *finding = &findings->all[i];

        if (strcmp(finding->target, target) != 0) {
            fputs("broker   ", stream);
            text_put(stream, finding->target);
            fputc('\n', stream);
        }
        target = finding->target;
        print_finding(stream, finding);
    }
    if (findings->failed == 0)
        fputs("verdict  nothing failed", stream);
    else
        fprintf(stream, "verdict  %u FAILED", findings->failed);
    if (findings->warnings > 0)
        fprintf(stream, ", %u warning%s", findings->warnings, cli_plural(findings->warnings));
    fputc('\n', stream);
}

void doctor_findings_write(struct json *json, const struct doctor_findings *findings)
{
    json_text(json, "verdict", findings->failed == 0 ? "ok" : "failed");
    json_unsigned(json, "failed", findings->failed);
    json_unsigned(json, "warnings", findings->warnings);
    json_open_array(json, "steps");
    for (size_t i = 0; i < findings->count; i++) {
        const struct doctor_finding *finding = &findings->all[i];

        json_open_object(json, NULL);
        json_text(json, "step", steps[finding->step].name);
        json_text(json, "broker", finding->target);
        json_text(json, "result", results[finding->result]);
        json_text(json, "seen", finding->seen);
        json_text(json, "remedy", finding->remedy);
        json_close_object(json);
    }
    json_close_array(json);
}

size_t doctor_findings_json_size(const struct doctor_findings *findings)
{
    return PER_ENTRY + findings->count * (ESCAPED * sizeof(struct doctor_finding) + PER_ENTRY);
}
