/* SPDX-License-Identifier: MIT */
/*
 * paho_tls.h - the handshake of TLS: what Paho has no setting for, and does not report
 *
 * Paho has no setting for the oldest version of TLS, leaks the name of the protocol (ALPN)
 * at each attempt, and reports a failed handshake as one line of OpenSSL. So the call
 * by which it begins the handshake is replaced when the daemon is linked.
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_TLS_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_TLS_H

#include <stdbool.h>
#include <stdint.h>

#define PAHO_TLS_NAME_MAX 128
#define PAHO_TLS_ALPN_MAX 255

enum paho_tls_minimum { PAHO_TLS_1_2, PAHO_TLS_1_3 };

enum paho_tls_fault {
    PAHO_TLS_NONE,
    PAHO_TLS_EXPIRED,       /* a certificate of the broker's chain */
    PAHO_TLS_NOT_YET_VALID, /* the same */
    PAHO_TLS_UNTRUSTED,     /* no certificate to trust vouches for it */
    PAHO_TLS_UNVERIFIED,    /* anything else that makes it invalid: detail */
    PAHO_TLS_NAME, /* it is not for this host name: detail has the names that it is for */
    PAHO_TLS_ALERT /* the broker ended the handshake: alert, and detail */
};

/* What ended a handshake. Texts come from the broker. */
struct paho_tls_failure {
    enum paho_tls_fault fault;
    char subject[PAHO_TLS_NAME_MAX]; /* of the certificate at fault */
    char issuer[PAHO_TLS_NAME_MAX];
    int64_t date_ms; /* with EXPIRED and NOT_YET_VALID: wall clock */
    int alert;       /* RFC 8446, section 6 */
    char detail[PAHO_TLS_NAME_MAX];
};

/* The alerts that have a remedy. */
enum {
    PAHO_TLS_HANDSHAKE_FAILURE = 40,
    PAHO_TLS_BAD_CERTIFICATE = 42,
    PAHO_TLS_UNSUPPORTED_CERTIFICATE = 43,
    PAHO_TLS_CERTIFICATE_REVOKED = 44,
    PAHO_TLS_CERTIFICATE_EXPIRED = 45,
    PAHO_TLS_CERTIFICATE_UNKNOWN = 46,
    PAHO_TLS_UNKNOWN_CA = 48,
    PAHO_TLS_ACCESS_DENIED = 49,
    PAHO_TLS_PROTOCOL_VERSION = 70,
    PAHO_TLS_CERTIFICATE_REQUIRED = 116,
    PAHO_TLS_NO_APPLICATION_PROTOCOL = 120
};

/* For the handshakes from now on; forgets the last failure. @alpn: "": none; longer ones than
 * PAHO_TLS_ALPN_MAX are cut. */
void paho_tls_begin(enum paho_tls_minimum minimum, const char *alpn);
/* The failure since paho_tls_begin(). False: none is known. */
bool paho_tls_get_failure(struct paho_tls_failure *ret);
/* Does this build replace the call? If not, paho_tls_begin() changes nothing, and no failure is
 * known. */
bool paho_tls_is_replaced(void);

#endif
