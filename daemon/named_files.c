/* SPDX-License-Identifier: MIT */
/*
 * named_files.c - are the files usable that a configuration names?
 */
#include "daemon/named_files.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/uplink/file_check.h"
#include "daemon/uplink/settings.h"

struct named_files_printer {
    const struct config *config;
    bool is_unusable;
};

static void print_finding(void *userdata, const struct uplink_finding *finding)
{
    struct named_files_printer *printer = userdata;
    bool is_unusable = finding->kind == UPLINK_FINDING_UNUSABLE;
    bool has_file = finding->file[0] != '\0';

    printer->is_unusable = printer->is_unusable || is_unusable;
    text_put(stderr, config_origin(printer->config, finding->key));
    (void)fprintf(stderr, ": %s: %s", finding->key, is_unusable ? "" : "warning: ");
    text_put(stderr, finding->file);
    (void)fputs(has_file ? " " : "", stderr);
    text_put(stderr, finding->text);
    (void)fputs("; ", stderr);
    text_put(stderr, finding->remedy);
    (void)fputs("\n", stderr);
}

bool named_files_print(const struct config *config)
{
    static const struct uplink_finding no_username = {
        .kind = UPLINK_FINDING_SUSPECT,
        .key = "uplink.username",
        .file = "",
        .text = "is empty, although uplink.password_file is set",
        .remedy = "most brokers want both: name the user, or leave the password out",
    };
    struct named_files_printer printer = {.config = config};
    struct clock_reading now;

    clock_read(&now);
    uplink_check_files(&config->uplink, now.wall_ms, print_finding, &printer);
    if (*config->uplink.password_file != '\0' && *config->uplink.username == '\0')
        print_finding(&printer, &no_username);
    return !printer.is_unusable;
}

struct named_files_first {
    const struct config *config;
    struct named_files *files;
};

static void keep_first(void *userdata, const struct uplink_finding *finding)
{
    const struct named_files_first *first = userdata;
    char *error = first->files->error;

    if (finding->kind == UPLINK_FINDING_UNUSABLE && error[0] == '\0')
        text_format(error, CONFIG_ERROR_MAX, "%s: %s: %s %s; %s",
                    config_origin(first->config, finding->key), finding->key, finding->file,
                    finding->text, finding->remedy);
}

void named_files_check(const struct config *config, void *findings)
{
    struct named_files_first first = {.config = config, .files = findings};
    struct clock_reading now;

    clock_read(&now);
    uplink_check_files(&config->uplink, now.wall_ms, keep_first, &first);
}

bool named_files_differ(const struct config *running, const struct config *fresh)
{
    const struct uplink_settings *a = &running->uplink;
    const struct uplink_settings *b = &fresh->uplink;

    return strcmp(a->password_file, b->password_file) != 0 ||
           strcmp(a->tls.ca_file, b->tls.ca_file) != 0 ||
           strcmp(a->tls.cert_file, b->tls.cert_file) != 0 ||
           strcmp(a->tls.key_file, b->tls.key_file) != 0 ||
           strcmp(a->tls.key_password_file, b->tls.key_password_file) != 0;
}
