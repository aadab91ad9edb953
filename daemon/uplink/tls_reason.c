/* SPDX-License-Identifier: MIT */
/*
 * tls_reason.c - why a handshake of TLS failed, in words for the operator
 *
 * Each text names the file that has to change, and both dates if it may be the clock.
 */
#include "base/clock.h"
#include "base/text.h"
#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/uplink-private.h"

/* Where the certificates to trust come from. */
static const char *trust_of(const struct uplink *uplink)
{
    const char *ca_file = uplink->settings->tls.ca_file;

    return ca_file[0] != '\0' ? ca_file : "the system's certificates";
}

static void describe_dates(const struct paho_handshake_failure *failure,
                           char reason[static UPLINK_TEXT_MAX])
{
    bool is_expired = failure->fault == PAHO_HANDSHAKE_EXPIRED;
    struct clock_reading now;
    char clock[CLOCK_TEXT_MAX];
    char date[CLOCK_TEXT_MAX];

    clock_read(&now);
    clock_format(now.wall_ms, clock);
    clock_format(failure->date_ms, date);
    text_format(reason, UPLINK_TEXT_MAX,
                "TLS: the broker's certificate %s (%s) %s %s, and this clock says %s%s",
                is_expired ? "has expired" : "is not valid yet", failure->subject,
                is_expired ? "ended" : "begins", date, clock,
                is_expired ? "" : ": set the clock");
}

/* The alert is about our certificate, or that there is none. */
static void describe_rejected(const struct uplink *uplink,
                              const struct paho_handshake_failure *failure,
                              char reason[static UPLINK_TEXT_MAX])
{
    const char *file = uplink->settings->tls.cert_file;

    if (file[0] == '\0')
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker wants a client certificate (%s): set "
                    "uplink.tls.cert_file and uplink.tls.key_file",
                    failure->detail);
    else
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker rejects the certificate in %s: %s", file, failure->detail);
}

static void describe_other(const struct paho_handshake_failure *failure,
                           char reason[static UPLINK_TEXT_MAX])
{
    text_format(reason, UPLINK_TEXT_MAX, "TLS: the broker ended the handshake: %s",
                failure->detail);
}

static void describe_alert(const struct uplink *uplink,
                           const struct paho_handshake_failure *failure,
                           char reason[static UPLINK_TEXT_MAX])
{
    bool has_certificate = uplink->settings->tls.cert_file[0] != '\0';

    switch (failure->alert) {
    case PAHO_HANDSHAKE_BAD_CERTIFICATE:
    case PAHO_HANDSHAKE_UNSUPPORTED_CERTIFICATE:
    case PAHO_HANDSHAKE_CERTIFICATE_REVOKED:
    case PAHO_HANDSHAKE_CERTIFICATE_EXPIRED:
    case PAHO_HANDSHAKE_CERTIFICATE_UNKNOWN:
    case PAHO_HANDSHAKE_UNKNOWN_CA:
    case PAHO_HANDSHAKE_ACCESS_DENIED:
    case PAHO_HANDSHAKE_CERTIFICATE_REQUIRED:
        describe_rejected(uplink, failure, reason);
        break;
    case PAHO_HANDSHAKE_DECRYPT_ERROR: /* an issuer of the same name has another key */
        if (has_certificate)
            describe_rejected(uplink, failure, reason);
        else
            describe_other(failure, reason);
        break;
    case PAHO_HANDSHAKE_PROTOCOL_VERSION:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker has no version of TLS that uplink.tls.min_version "
                    "allows (%s)",
                    failure->detail);
        break;
    case PAHO_HANDSHAKE_NO_APPLICATION_PROTOCOL:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker does not know the protocol of uplink.tls.alpn (%s)",
                    failure->detail);
        break;
    case PAHO_HANDSHAKE_REFUSED:
        text_format(reason, UPLINK_TEXT_MAX, "TLS: the broker ended the handshake (%s)%s",
                    failure->detail,
                    has_certificate ? ""
                                    : ": it may want a client certificate, see "
                                      "uplink.tls.cert_file");
        break;
    default:
        describe_other(failure, reason);
    }
}

void uplink_describe_tls_silence(const struct uplink *uplink,
                                 char reason[static UPLINK_TEXT_MAX])
{
    bool has_certificate = uplink->settings->tls.cert_file[0] != '\0';

    if (!paho_handshake_is_complete())
        text_format(
            reason, UPLINK_TEXT_MAX,
            "TLS connection failed: is this a TLS port, and is the broker's certificate "
            "for this host name?");
    else if (has_certificate)
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker closed the connection before it answered; it may reject "
                    "the certificate in %s",
                    uplink->settings->tls.cert_file);
    else
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker closed the connection before it answered; it may want a "
                    "client certificate, see uplink.tls.cert_file");
}

bool uplink_describe_tls(const struct uplink *uplink, char reason[static UPLINK_TEXT_MAX])
{
    struct paho_handshake_failure failure;

    if (!paho_handshake_get_failure(&failure))
        return false;
    switch (failure.fault) {
    case PAHO_HANDSHAKE_NONE:
        return false;
    case PAHO_HANDSHAKE_EXPIRED:
    case PAHO_HANDSHAKE_NOT_YET_VALID:
        describe_dates(&failure, reason);
        break;
    case PAHO_HANDSHAKE_UNTRUSTED:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: no certificate in %s vouches for the broker's (%s, issued by %s): "
                    "%s",
                    trust_of(uplink), failure.subject, failure.issuer, failure.detail);
        break;
    case PAHO_HANDSHAKE_UNVERIFIED:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker's certificate (%s) is not accepted: %s", failure.subject,
                    failure.detail);
        break;
    case PAHO_HANDSHAKE_NAME:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker's certificate is not for the host name in "
                    "uplink.brokers: it is for %s",
                    failure.detail[0] != '\0' ? failure.detail : failure.subject);
        break;
    case PAHO_HANDSHAKE_ALERT:
        describe_alert(uplink, &failure, reason);
        break;
    }
    return true;
}
