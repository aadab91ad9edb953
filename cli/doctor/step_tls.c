/* SPDX-License-Identifier: MIT */
/*
 * step_tls.c - the files of uplink.tls, and the certificates of a broker
 *
 * Invariant: true is returned only if the daemon would use the connection too.
 */
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/doctor/broker.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/net.h"
#include "cli/doctor/record.h"
#include "cli/doctor/tls_probe.h"
#include "daemon/config/config.h"
#include "daemon/tls/tls_check.h"
#include "daemon/tls/tls_files.h"
#include "daemon/uplink/secret.h"
#include "daemon/uplink/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SLACK_MS = 5000 };
#define EXPIRES_SOON_MS (INT64_C(30) * 24 * 3600 * 1000)

/* By enum tls_file. */
static const char *const keys[TLS_FILES] = {"uplink.tls.ca_file", "uplink.tls.cert_file",
                                            "uplink.tls.key_file"};

static void report_problems(struct broker_walk *walk, const struct tls_report *report)
{
    for (unsigned i = 0; i < report->count; i++)
        doctor_add(walk->work, report->problems[i].is_fatal ? DOCTOR_FAILED : DOCTOR_WARNING,
                   report->problems[i].remedy, "%s %s", keys[report->problems[i].file],
                   report->problems[i].text);
}

/* With the daemon's own check. Return: can a handshake be tried with them? */
static bool check_files(struct broker_walk *walk)
{
    const struct uplink_tls_settings *tls = &walk->work->config->uplink.tls;
    const char *paths[TLS_FILES] = {tls->ca_file, tls->cert_file, tls->key_file};
    const char *wrong = "";
    struct tls_report report;
    struct tls_files files;
    int result;

    walk->secret.text[0] = '\0';
    if (tls->key_password_file[0] != '\0' &&
        secret_read(tls->key_password_file, &walk->secret) < 0)
        walk->secret.text[0] = '\0';
    tls_files_init(&files);
    result = tls_files_open(&files, paths, &wrong);
    if (result < 0) {
        doctor_add(walk->work, DOCTOR_FAILED, "see the step rights; run this as root",
                   "%s cannot be read: %s", wrong, strerror(-result));
        return false;
    }
    tls_check(&files, tls, walk->secret.text, cli_now().wall_ms, &report);
    tls_files_close(&files);
    report_problems(walk, &report);
    return !tls_report_fatal(&report);
}

/* By its dates. A chain may have one more that ended, without which it is good. */
static enum doctor_result judge_dates(const struct broker_walk *walk,
                                      const struct tls_probe_seen *seen,
                                      const struct tls_probe_certificate *entry,
                                      const char **ret_remedy)
{
    bool is_fatal = walk->work->config->uplink.tls.verify;
    int64_t now_ms = cli_now().wall_ms;

    if (entry->until_ms <= now_ms) {
        *ret_remedy = "renew it at the broker: it has expired";
        return is_fatal && seen->is_expired ? DOCTOR_FAILED : DOCTOR_WARNING;
    }
    if (entry->from_ms > now_ms) {
        *ret_remedy = "set the clock of this machine, or replace it: it is not valid yet";
        return is_fatal && seen->is_not_yet_valid ? DOCTOR_FAILED : DOCTOR_WARNING;
    }
    if (entry->until_ms - now_ms < EXPIRES_SOON_MS) {
        *ret_remedy = "renew it at the broker: it ends in less than 30 days";
        return DOCTOR_WARNING;
    }
    *ret_remedy = "";
    return DOCTOR_OK;
}

static void report_dates(struct broker_walk *walk, const struct tls_probe_seen *seen)
{
    char from[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];

    for (unsigned i = 0; i < seen->chain_count; i++) {
        const struct tls_probe_certificate *entry = &seen->chain[i];
        const char *remedy;
        enum doctor_result result = judge_dates(walk, seen, entry, &remedy);

        clock_format(entry->from_ms, from);
        clock_format(entry->until_ms, until);
        doctor_add(walk->work, result, remedy,
                   "certificate %u of %u: %s, issued by %s, valid from %.10s to %.10s", i + 1,
                   seen->chain_count, entry->subject, entry->issuer, from, until);
    }
}

static void add_fault(struct broker_walk *walk, const char *remedy, const char *text)
{
    bool is_checked = walk->work->config->uplink.tls.verify;

    doctor_add(walk->work, is_checked ? DOCTOR_FAILED : DOCTOR_WARNING, remedy, "%s", text);
}

/* Return: how many there are. */
static unsigned report_faults(struct broker_walk *walk, const struct tls_probe_seen *seen)
{
    const char *ca_file = walk->work->config->uplink.tls.ca_file;
    char text[DOCTOR_SEEN_MAX];
    char now[CLOCK_TEXT_MAX];

    clock_format(cli_now().wall_ms, now);
    if (seen->is_expired) {
        text_format(text, sizeof(text),
                    "a certificate of the broker has expired (see its dates below), and this "
                    "clock says %s",
                    now);
        add_fault(walk, "renew the broker's certificate; if this clock is wrong, set it", text);
    }
    if (seen->is_not_yet_valid) {
        text_format(text, sizeof(text),
                    "a certificate of the broker is not valid yet, and this clock says %s",
                    now);
        add_fault(walk,
                  "set the clock of this machine; if it is right, replace the certificate",
                  text);
    }
    if (seen->is_unknown_issuer) {
        text_format(text, sizeof(text), "no certificate in %s vouches for the broker's",
                    ca_file[0] != '\0' ? ca_file : "the system's certificates");
        add_fault(walk, "set uplink.tls.ca_file to the certificate of the broker's authority",
                  text);
    }
    if (seen->is_other_name) {
        text_format(text, sizeof(text), "the broker's certificate is for %s, not for %s",
                    seen->names[0] != '\0' ? seen->names : "no name at all", walk->place.host);
        add_fault(
            walk,
            "write a name of the certificate in uplink.brokers, or issue one for this name",
            text);
    }
    if (seen->other_fault[0] != '\0')
        add_fault(walk, "look at the broker's certificates", seen->other_fault);
    return (unsigned)seen->is_expired + seen->is_not_yet_valid + seen->is_unknown_issuer +
           seen->is_other_name + (seen->other_fault[0] != '\0');
}

static bool report_handshake(struct broker_walk *walk, const struct tls_probe_seen *seen)
{
    bool is_checked = walk->work->config->uplink.tls.verify;
    unsigned faults = report_faults(walk, seen);

    report_dates(walk, seen);
    if (!is_checked)
        doctor_add(walk->work, DOCTOR_WARNING, "set it to true, and uplink.tls.ca_file",
                   "uplink.tls.verify is false: any machine between can be the broker");
    if (faults > 0 && is_checked)
        return false;
    doctor_add(walk->work, DOCTOR_OK, "", "%s with %s; the certificate is for %s",
               seen->version, seen->cipher, seen->names);
    return true;
}

static void
report_no_handshake(struct broker_walk *walk, int result, const struct tls_probe_seen *seen)
{
    if (result == -ETIMEDOUT)
        doctor_add(walk->work, DOCTOR_FAILED,
                   "check that this is a port for TLS (8883, not 1883), and look at the broker",
                   "the handshake has not ended within %u ms", broker_timeout_ms(walk));
    else
        doctor_add(walk->work, DOCTOR_FAILED,
                   "check that this is a port for TLS (8883, not 1883), that the broker speaks "
                   "uplink.tls.min_version or a newer one, and whether it wants a client "
                   "certificate (uplink.tls.cert_file)",
                   "no handshake: %s", seen->error);
}

bool broker_make_tls(struct broker_walk *walk)
{
    const struct uplink_settings *uplink = &walk->work->config->uplink;
    struct tls_probe_seen *seen;
    int result;

    doctor_begin(walk->work, DOCTOR_TLS, broker_timeout_ms(walk) + SLACK_MS);
    if (!walk->place.is_tls) {
        bool is_plain = uplink->password_file[0] != '\0';

        doctor_add(walk->work, is_plain ? DOCTOR_WARNING : DOCTOR_SKIPPED,
                   is_plain ? "use ssl:// in uplink.brokers" : "",
                   is_plain ? "tcp:// has no TLS, and the password is sent without encryption"
                            : "tcp:// has no TLS: others on the way can read what is sent");
        return true;
    }
    if (!check_files(walk))
        return false;
    seen = calloc(1, sizeof(*seen));
    result = seen ? tls_probe_open(walk->stream.fd, walk->place.host, &uplink->tls,
                                   walk->secret.text, net_now_ms() + broker_timeout_ms(walk),
                                   &walk->stream.tls, seen)
                  : -ENOMEM;
    explicit_bzero(&walk->secret, sizeof(walk->secret));
    bool is_good = result == 0 && report_handshake(walk, seen);
    if (seen && result < 0)
        report_no_handshake(walk, result, seen);
    free(seen);
    return is_good;
}
