/* SPDX-License-Identifier: MIT */
/*
 * named_files.h - are the files usable that a configuration names?
 *
 * For --test-config, and for a HUP before it applies. The files are read, and so this may wait
 * for a file system. Logs nothing.
 */
#ifndef MQTT_SPOOLD_DAEMON_NAMED_FILES_H
#define MQTT_SPOOLD_DAEMON_NAMED_FILES_H

#include <stdbool.h>

#include "base/attr.h"
#include "daemon/config/config.h"

/* Prints all findings to standard error, each with the place of its key. @config: of
 * config_test(). Return: false: no connection can be made with one of the files. Thread:
 * any. */
MUST_CHECK bool named_files_print(const struct config *config);

/* What named_files_check() found. */
struct named_files {
    /* As of config_test(), of the first file without which there is no connection; "": none. */
    char error[CONFIG_ERROR_MAX];
};

/* Of config_job.h, with a struct named_files. @config: of config_test(). Thread: any. */
void named_files_check(const struct config *config, void *findings);
/* Are they other files than those of @running? These are opened again at each attempt to
 * connect, whatever a HUP does, so they are no reason to refuse one. */
bool named_files_differ(const struct config *running, const struct config *fresh);

#endif
