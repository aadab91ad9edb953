/* SPDX-License-Identifier: MIT */
/*
 * tls_reason.c - why a handshake of TLS failed, in words for the operator
 *
 * Each text names the file that has to change, and both dates if it may be the clock. Each
 * function returns what the operator can do.
 */
#include "base/clock.h"
#include "base/text.h"
#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/uplink-private.h"

#define SET_CERTIFICATE                                                                        \
    "set uplink.tls.cert_file and uplink.tls.key_file to a certificate that the broker accepts"

/* Where the certificates to trust come from. */
static const char *trust_of(const struct uplink *uplink)
{
    const char *ca_file = uplink->settings->tls.ca_file;

    return ca_file[0] != '\0' ? ca_file : "the system's certificates";
}

static const char *describe_dates(const struct paho_handshake_failure *failure,
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
                "TLS: the broker's certificate %s (%s): it %s at %s, and this clock says %s%s",
                is_expired ? "has expired" : "is not valid yet", failure->subject,
                is_expired ? "ended" : "begins", date, clock,
                is_expired ? "" : ": set the clock");
    return is_expired ? "renew the broker's certificate; if this clock is wrong, set it"
                      : "set the clock of this machine; if it is right, replace the broker's "
                        "certificate";
}

static const char *describe_untrusted(const struct uplink *uplink,
                                      const struct paho_handshake_failure *failure,
                                      char reason[static UPLINK_TEXT_MAX])
{
    text_format(reason, UPLINK_TEXT_MAX,
                "TLS: no certificate in %s vouches for the broker's, whose chain ends at %s, "
                "issued by %s: %s",
                trust_of(uplink), failure->subject, failure->issuer, failure->detail);
    return uplink->settings->tls.ca_file[0] != '\0'
               ? "put the certificate of that issuer into the file of uplink.tls.ca_file"
               : "set uplink.tls.ca_file to a file that has the certificate of that issuer";
}

/* The alert is about our certificate, or that there is none. */
static const char *describe_rejected(const struct uplink *uplink,
                                     const struct paho_handshake_failure *failure,
                                     char reason[static UPLINK_TEXT_MAX])
{
    const char *file = uplink->settings->tls.cert_file;

    if (file[0] == '\0') {
        text_format(reason, UPLINK_TEXT_MAX, "TLS: the broker wants a client certificate");
        return SET_CERTIFICATE;
    }
    text_format(reason, UPLINK_TEXT_MAX, "TLS: the broker rejects the certificate in %s: %s",
                file, failure->detail);
    return SET_CERTIFICATE ", or let the broker trust its issuer";
}

static const char *describe_other(const struct paho_handshake_failure *failure,
                                  char reason[static UPLINK_TEXT_MAX])
{
    text_format(reason, UPLINK_TEXT_MAX, "TLS: the broker ended the handshake: %s",
                failure->detail);
    return UPLINK_CHECK_TLS;
}

static const char *describe_alert(const struct uplink *uplink,
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
        return describe_rejected(uplink, failure, reason);
    case PAHO_HANDSHAKE_DECRYPT_ERROR: /* an issuer of the same name has another key */
        return has_certificate ? describe_rejected(uplink, failure, reason)
                               : describe_other(failure, reason);
    case PAHO_HANDSHAKE_PROTOCOL_VERSION:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker has no version of TLS that uplink.tls.min_version "
                    "allows (%s)",
                    failure->detail);
        return "lower uplink.tls.min_version, or let the broker speak that version";
    case PAHO_HANDSHAKE_NO_APPLICATION_PROTOCOL:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker does not know the protocol of uplink.tls.alpn (%s)",
                    failure->detail);
        return "set uplink.tls.alpn to the protocol that the broker's documentation names";
    case PAHO_HANDSHAKE_REFUSED:
        text_format(reason, UPLINK_TEXT_MAX, "TLS: the broker ended the handshake (%s)%s",
                    failure->detail,
                    has_certificate ? ""
                                    : ": it may want a client certificate, see "
                                      "uplink.tls.cert_file");
        return has_certificate ? UPLINK_CHECK_TLS : SET_CERTIFICATE;
    default:
        return describe_other(failure, reason);
    }
}

const char *uplink_describe_tls_silence(const struct uplink *uplink,
                                        char reason[static UPLINK_TEXT_MAX])
{
    bool has_certificate = uplink->settings->tls.cert_file[0] != '\0';

    if (!paho_handshake_is_complete()) {
        text_format(reason, UPLINK_TEXT_MAX, "TLS: the connection ended during the handshake");
        return UPLINK_CHECK_TLS_PORT;
    }
    if (has_certificate)
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker closed the connection before it answered; it may reject "
                    "the certificate in %s",
                    uplink->settings->tls.cert_file);
    else
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker closed the connection before it answered; it may want a "
                    "client certificate, see uplink.tls.cert_file");
    return has_certificate ? "look for the certificate of this gateway in the log of the broker"
                           : SET_CERTIFICATE;
}

const char *uplink_describe_tls(const struct uplink *uplink,
                                char reason[static UPLINK_TEXT_MAX])
{
    struct paho_handshake_failure failure;

    if (!paho_handshake_get_failure(&failure))
        return NULL;
    switch (failure.fault) {
    case PAHO_HANDSHAKE_NONE:
        return NULL;
    case PAHO_HANDSHAKE_EXPIRED:
    case PAHO_HANDSHAKE_NOT_YET_VALID:
        return describe_dates(&failure, reason);
    case PAHO_HANDSHAKE_UNTRUSTED:
        return describe_untrusted(uplink, &failure, reason);
    case PAHO_HANDSHAKE_UNVERIFIED:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker's certificate (%s) is not accepted: %s", failure.subject,
                    failure.detail);
        return "replace the broker's certificate by one without this fault";
    case PAHO_HANDSHAKE_NAME:
        text_format(reason, UPLINK_TEXT_MAX,
                    "TLS: the broker's certificate is not for the host name in "
                    "uplink.brokers: it is for %s",
                    failure.detail[0] != '\0' ? failure.detail : failure.subject);
        return "write a name that the certificate has in uplink.brokers, or give the broker a "
               "certificate for the name there";
    case PAHO_HANDSHAKE_ALERT:
        return describe_alert(uplink, &failure, reason);
    }
    return NULL;
}
