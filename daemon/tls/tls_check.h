/* SPDX-License-Identifier: MIT */
/*
 * tls_check.h - can a connection be made with these certificates and this key?
 *
 * The library reports a file that it cannot use as a failed context, without its
 * name. So the files are parsed here first, at the start, before each attempt and for
 * `--test-config`, and each fault is named with its cause. What the broker makes of them
 * only a connection shows.
 *
 * Logs nothing, and no text has a secret. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_TLS_TLS_CHECK_H
#define MQTT_SPOOLD_DAEMON_TLS_TLS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/tls/tls_files.h"
#include "daemon/uplink/settings.h"

#define TLS_TEXT_MAX     256
#define TLS_PROBLEMS_MAX (2 * TLS_FILES)
/* A certificate that expires this soon is a problem. */
#define TLS_EXPIRES_SOON_MS (INT64_C(7) * 24 * 3600 * 1000)

struct tls_problem {
    enum tls_file file;
    bool is_fatal; /* no connection can be made; else only its dates are wrong or near */
    char text[TLS_TEXT_MAX]; /* to stand behind the name of the file */
    const char *remedy;      /* a literal */
};

struct tls_report {
    unsigned count;
    struct tls_problem problems[TLS_PROBLEMS_MAX];
    /* The wall clock at which the first of them expires; 0: there is none. Of several
     * certificates to trust the last one counts. */
    int64_t expires_ms;
};

/*
 * tls_check() - parse the files, and compare their dates with the clock
 * @files:        open ones; one that is not set is not checked
 * @settings:     their names, for the texts
 * @key_password: of the key, "": none. Never asks a terminal for it.
 * @wall_ms:      the wall clock
 *
 * Reads at most TLS_FILE_MAX bytes of each.
 */
void tls_check(const struct tls_files *files,
               const struct uplink_tls_settings *settings,
               const char *key_password,
               int64_t wall_ms,
               struct tls_report *ret);

#define TLS_FILE_MAX (4 << 20)

/* A pem_password_cb of OpenSSL, which without one reads the password from the terminal.
 * @userdata: the password, as text. Return: its length; -1: longer than @size. */
int tls_give_password(char *to, int size, int is_for_writing, void *userdata);

/* The first problem that allows no connection; NULL: there is none. */
const struct tls_problem *tls_report_fatal(const struct tls_report *report);

#endif
