/* SPDX-License-Identifier: MIT */
/*
 * tls_files.h - the files of TLS, opened before the library needs them
 *
 * Paho lets OpenSSL open them by their names, on a thread of Paho's, with Paho's
 * mutex held: a FIFO of such a name would block everything that needs the mutex,
 * the loop included. A check of the name is not enough, because the name may lead to
 * another file a moment later. So each file is opened here, and the library gets a
 * name that leads to the open file (/proc/self/fd).
 *
 * Thread: loop thread only; the names may be used on any.
 */
#ifndef MQTT_SPOOLD_DAEMON_TLS_TLS_FILES_H
#define MQTT_SPOOLD_DAEMON_TLS_TLS_FILES_H

#include "base/attr.h"

enum tls_file { TLS_CA, TLS_CERTIFICATE, TLS_KEY, TLS_FILES };

#define TLS_FILES_NAME_MAX 32

struct tls_files {
    int fds[TLS_FILES]; /* -1: none is set */
    char names[TLS_FILES][TLS_FILES_NAME_MAX];
};

void tls_files_init(struct tls_files *files);
/*
 * tls_files_open() - open the files at @paths, and close those that were open before
 * @paths:    by enum tls_file; "": none is set
 * @ret_path: on failure the one that cannot be read
 *
 * They stay open until the next call or tls_files_close(): the library opens them
 * when it has a connection.
 *
 * Return: 0; negative errno, -REGULAR_OTHER.
 */
MUST_CHECK int tls_files_open(struct tls_files *files,
                              const char *const paths[TLS_FILES],
                              const char **ret_path);
/* A name for the library; NULL: none is set. Valid until the files are closed. */
const char *tls_files_name(const struct tls_files *files, enum tls_file file);
void tls_files_close(struct tls_files *files);

#endif
