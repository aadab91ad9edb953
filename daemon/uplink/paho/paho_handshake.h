/* SPDX-License-Identifier: MIT */
/*
 * paho_handshake.h - the handshake of TLS: what Paho has no setting for, and does not report
 *
 * Paho has no setting for the oldest version of TLS, leaks the name of the protocol (ALPN)
 * at each attempt, and reports a failed handshake as one line of OpenSSL. So the call
 * by which it begins the handshake is replaced when the daemon is linked.
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_HANDSHAKE_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#define PAHO_HANDSHAKE_NAME_MAX 128
#define PAHO_HANDSHAKE_ALPN_MAX 255

enum paho_handshake_minimum { PAHO_HANDSHAKE_1_2, PAHO_HANDSHAKE_1_3 };

enum paho_handshake_fault {
    PAHO_HANDSHAKE_NONE,
    PAHO_HANDSHAKE_EXPIRED,       /* a certificate of the broker's chain */
    PAHO_HANDSHAKE_NOT_YET_VALID, /* the same */
    PAHO_HANDSHAKE_UNTRUSTED,     /* no certificate to trust vouches for it */
    PAHO_HANDSHAKE_UNVERIFIED,    /* anything else that makes it invalid: detail */
    PAHO_HANDSHAKE_NAME, /* it is not for this host name: detail has the names that it is for */
    PAHO_HANDSHAKE_ALERT /* the broker ended the handshake: alert, and detail */
};

/* What ended a handshake. Texts come from the broker. */
struct paho_handshake_failure {
    enum paho_handshake_fault fault;
    char subject[PAHO_HANDSHAKE_NAME_MAX]; /* of the certificate at fault */
    char issuer[PAHO_HANDSHAKE_NAME_MAX];
    int64_t date_ms; /* with EXPIRED and NOT_YET_VALID: wall clock */
    int alert;       /* RFC 8446, section 6 */
    char detail[PAHO_HANDSHAKE_NAME_MAX];
};

/* The alerts that have a remedy. */
enum {
    PAHO_HANDSHAKE_REFUSED = 40,
    PAHO_HANDSHAKE_BAD_CERTIFICATE = 42,
    PAHO_HANDSHAKE_UNSUPPORTED_CERTIFICATE = 43,
    PAHO_HANDSHAKE_CERTIFICATE_REVOKED = 44,
    PAHO_HANDSHAKE_CERTIFICATE_EXPIRED = 45,
    PAHO_HANDSHAKE_CERTIFICATE_UNKNOWN = 46,
    PAHO_HANDSHAKE_UNKNOWN_CA = 48,
    PAHO_HANDSHAKE_ACCESS_DENIED = 49,
    PAHO_HANDSHAKE_DECRYPT_ERROR = 51,
    PAHO_HANDSHAKE_PROTOCOL_VERSION = 70,
    PAHO_HANDSHAKE_CERTIFICATE_REQUIRED = 116,
    PAHO_HANDSHAKE_NO_APPLICATION_PROTOCOL = 120
};

/* For the handshakes from now on; forgets the last failure. @alpn: "": none; longer ones than
 * PAHO_HANDSHAKE_ALPN_MAX are cut. */
void paho_handshake_begin(enum paho_handshake_minimum minimum, const char *alpn);
/* The failure since paho_handshake_begin(). False: none is known. */
bool paho_handshake_get_failure(struct paho_handshake_failure *ret);
/* Did a handshake end well since then? With TLS 1.3 the broker may reject the client's
 * certificate afterwards, and the alert may be lost. */
bool paho_handshake_is_complete(void);
/* Does this build replace the call? If not, paho_handshake_begin() changes nothing, and no
 * failure is known. */
bool paho_handshake_is_replaced(void);

#endif
