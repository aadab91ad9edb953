/* SPDX-License-Identifier: MIT */
/*
 * files.c - which audit files a verb reads, and with which spool they are compared
 */
#include "cli/audit/files.h"

#include "base/regular.h"
#include "cli/cli.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

/* The configured file, after FILE.2, FILE.1 and so on as far as they can be read. */
static int find_files(struct audit_files *files, const char *file, unsigned rotated)
{
    unsigned count = 0;

    for (char name[PATH_MAX]; count < rotated; count++) {
        if (!audit_find_numbered(file, count + 1, name))
            break;
        files->owned[AUDIT_ROTATED_MAX - 1 - count] = strdup(name);
        if (!files->owned[AUDIT_ROTATED_MAX - 1 - count])
            return -ENOMEM;
    }
    files->owned[AUDIT_ROTATED_MAX] = strdup(file);
    files->names = &files->owned[AUDIT_ROTATED_MAX - count];
    files->count = (int)count + 1;
    return files->owned[AUDIT_ROTATED_MAX] ? 0 : -ENOMEM;
}

int audit_configure_files(struct audit_check *check,
                          struct audit_files *files,
                          unsigned rotated,
                          const struct cli *cli,
                          struct config **ret)
{
    static const char *const needed[] = {"spool.directory", "audit.file", "audit.deliveries",
                                         NULL};
    int code;

    if (files->count > 0 && !cli->config_path)
        return EX_OK;
    code = cli_load_config(cli, needed, "the audit FILE", ret);
    if (code != EX_OK)
        return code;
    if (!(*ret)->audit.has_deliveries)
        check->deliveries_omitted = true;
    if (!files->directory)
        files->directory = (*ret)->spool.directory;
    if (files->count > 0 || *(*ret)->audit.file == '\0')
        return EX_OK;
    if (regular_is_other(AT_FDCWD, (*ret)->audit.file)) { /* a FIFO that is named is read */
        cli_error("the audit file %s is no regular file; move it away", (*ret)->audit.file);
        return EX_UNAVAILABLE;
    }
    if (find_files(files, (*ret)->audit.file, rotated) == 0)
        return EX_OK;
    cli_error("out of memory");
    return EX_UNAVAILABLE;
}

void audit_free_files(struct audit_files *files)
{
    for (size_t i = 0; i <= AUDIT_ROTATED_MAX; i++)
        free(files->owned[i]);
}

uint64_t audit_sum_sizes(const struct audit_files *files)
{
    uint64_t sum = 0;

    for (int i = 0; i < files->count; i++) {
        struct stat st;

        if (stat(files->names[i], &st) < 0 || !S_ISREG(st.st_mode))
            return 0;
        sum += (uint64_t)st.st_size;
    }
    return sum;
}
