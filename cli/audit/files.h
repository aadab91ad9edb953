/* SPDX-License-Identifier: MIT */
/*
 * files.h - which audit files a verb reads, and with which spool they are compared
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_FILES_H
#define MQTT_SPOOLD_CLI_AUDIT_FILES_H

#include <stdint.h>

#include "base/attr.h"
#include "cli/audit/check.h"

struct cli;
struct config;

/* Of the files that were rotated before the configured one, at most so many are read. */
#define AUDIT_ROTATED_MAX 400

struct audit_files {
    char **names; /* oldest first; as given, or owned */
    int count;
    const char *directory; /* of the spool; NULL: the files are not compared */
    char *owned[AUDIT_ROTATED_MAX + 1];
};

/*
 * audit_configure_files() - what was not given comes from the configuration
 *
 * @check: deliveries_omitted is set if audit.deliveries is false
 * @rotated: so many files may come before the configured one; at most AUDIT_ROTATED_MAX
 * @ret: the configuration, if it was read; the files may point into it
 *
 * Files that were given alone are not compared with the database of this machine: they may be
 * of another one.
 *
 * Return: EX_OK; without a file if none is given and the configuration has none. Another exit
 *         code: reported.
 */
MUST_CHECK int audit_configure_files(struct audit_check *check,
                                     struct audit_files *files,
                                     unsigned rotated,
                                     const struct cli *cli,
                                     struct config **ret);
void audit_free_files(struct audit_files *files);
/* The bytes of all files; 0: not known, because a pipe is among them. */
uint64_t audit_sum_sizes(const struct audit_files *files);

#endif
