/* SPDX-License-Identifier: MIT */
/*
 * certificates.c - when the certificates of the settings expire
 *
 * They are read each hour, whether the link is up or not, because a connection may last for
 * months and a certificate is replaced meanwhile. One that is not valid, or not for long, is
 * logged once a day.
 *
 * Diagnostics: uplink_certificate_dates.
 */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/tls/tls_check.h"
#include "daemon/uplink/uplink-private.h"

#define CHECK_EACH_MS (INT64_C(3600) * 1000)
#define LOG_EACH_MS   (24 * CHECK_EACH_MS)
/* The checks of a day are a little more than a day apart. */
#define LOG_EARLY_MS 60000
#define ACCURACY_US  1000000

static void log_problem(const struct tls_problem *problem, const char *path)
{
    char quoted[UPLINK_TEXT_MAX];
    char reason[2 * TLS_TEXT_MAX];

    log_warning(
        "uplink_certificate_dates key=%s file=%s reason=%s remedy=\"replace the file, which is read "
        "at each connect, or correct the clock\"",
        uplink_tls_key(problem->file), log_quote(quoted, sizeof(quoted), path, strlen(path)),
        log_quote(reason, sizeof(reason), problem->text, strlen(problem->text)));
}

static void log_dates(const struct uplink *uplink, const struct tls_report *report)
{
    const char *paths[TLS_FILES];

    uplink_tls_paths(uplink->settings, paths);
    for (unsigned i = 0; i < report->count; i++)
        if (!report->problems[i].is_fatal)
            log_problem(&report->problems[i], paths[report->problems[i].file]);
}

static void check_certificates(struct uplink *uplink)
{
    struct uplink_certificates *certificates = &uplink->certificates;
    const char *paths[TLS_FILES], *wrong;
    struct tls_files files;
    struct tls_report report = {.count = 0};
    struct clock_reading now;

    uplink_tls_paths(uplink->settings, paths);
    paths[TLS_KEY] = "";
    tls_files_init(&files);
    clock_read(&now);
    if (tls_files_open(&files, paths, &wrong) == 0) /* else each attempt reports it */
        tls_check(&files, &uplink->settings->tls, "", now.wall_ms, &report);
    tls_files_close(&files);
    certificates->expires_ms = report.expires_ms;
    if (certificates->has_logged &&
        now.boot_ms - certificates->logged_ms < LOG_EACH_MS - LOG_EARLY_MS)
        return;
    certificates->has_logged = report.count > 0;
    certificates->logged_ms = now.boot_ms;
    log_dates(uplink, &report);
}

static int on_certificates_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)usec;
    check_certificates(userdata);
    int r = sd_event_source_set_time(source, clock_boot_us() + CHECK_EACH_MS * 1000);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int uplink_watch_certificates(struct uplink *uplink)
{
    int r = sd_event_add_time(uplink->event, &uplink->certificates.timer, CLOCK_BOOTTIME,
                              clock_boot_us(), ACCURACY_US, on_certificates_timer, uplink);

    return r < 0 ? r : 0;
}
