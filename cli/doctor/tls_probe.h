/* SPDX-License-Identifier: MIT */
/*
 * tls_probe.h - a TLS connection that is looked at, not only used
 *
 * The handshake continues past a certificate that does not hold, so that everything that is
 * wrong with it is known; the caller sends nothing over such a connection.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_TLS_PROBE_H
#define MQTT_SPOOLD_CLI_DOCTOR_TLS_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "daemon/uplink/settings.h"

enum { TLS_PROBE_CHAIN_MAX = 6, TLS_PROBE_TEXT_MAX = 256 };

struct tls_probe;

struct tls_probe_certificate {
    char subject[TLS_PROBE_TEXT_MAX];
    char issuer[TLS_PROBE_TEXT_MAX];
    int64_t from_ms;
    int64_t until_ms;
};

struct tls_probe_seen {
    bool is_complete; /* the handshake ended; else error has the reason */
    char error[TLS_PROBE_TEXT_MAX];
    char version[16];
    char cipher[64];
    struct tls_probe_certificate chain[TLS_PROBE_CHAIN_MAX]; /* the broker's own first */
    unsigned chain_count;
    char names[TLS_PROBE_TEXT_MAX]; /* that the broker's certificate is for */
    bool is_expired;
    bool is_not_yet_valid;
    bool is_other_name;
    bool is_unknown_issuer;
    char other_fault[TLS_PROBE_TEXT_MAX]; /* "": none */
};

/*
 * tls_probe_open() - makes the handshake on a connected descriptor
 * @fd:           borrowed, does not block
 * @key_password: "": none
 * @ret:          set if 0 is returned; free with tls_probe_close()
 *
 * Return: 0: seen->is_complete; -EINVAL: the files of the settings are not usable;
 *         -ETIMEDOUT; -EPROTO. On failure seen->error has the reason.
 */
MUST_CHECK int tls_probe_open(int fd,
                              const char *host,
                              const struct uplink_tls_settings *settings,
                              const char *key_password,
                              int64_t give_up_ms,
                              struct tls_probe **ret,
                              struct tls_probe_seen *seen);
/* NULL is accepted. */
void tls_probe_close(struct tls_probe *probe);

/* Return: bytes, 0 at the end (of tls_probe_read()); -ETIMEDOUT; -EPROTO, then
 * tls_probe_error() has the reason. */
MUST_CHECK ssize_t tls_probe_read(struct tls_probe *probe,
                                  void *to,
                                  size_t size,
                                  int64_t give_up_ms);
MUST_CHECK ssize_t tls_probe_write(struct tls_probe *probe,
                                   const void *from,
                                   size_t size,
                                   int64_t give_up_ms);
const char *tls_probe_error(const struct tls_probe *probe);

/* Of the library in use. */
const char *tls_probe_library(void);

#endif
