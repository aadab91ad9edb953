/* SPDX-License-Identifier: MIT */
/*
 * tls_files.c - the files of TLS, opened before the library needs them
 *
 * Invariant: all files of the settings are open, or none.
 */
#include "daemon/tls/tls_files.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/regular.h"

void tls_files_init(struct tls_files *files)
{
    for (int i = 0; i < TLS_FILES; i++)
        files->fds[i] = -1;
}

void tls_files_close(struct tls_files *files)
{
    for (int i = 0; i < TLS_FILES; i++) {
        cleanup_close(&files->fds[i]);
        files->fds[i] = -1;
    }
}

int tls_files_open(struct tls_files *files,
                   const char *const paths[TLS_FILES],
                   const char **ret_path)
{
    tls_files_close(files);
    for (int i = 0; i < TLS_FILES; i++) {
        if (paths[i][0] == '\0')
            continue;
        int fd = regular_openat(AT_FDCWD, paths[i], O_RDONLY, 0);

        if (fd < 0) {
            *ret_path = paths[i];
            tls_files_close(files);
            return fd;
        }
        files->fds[i] = fd;
        (void)snprintf(files->names[i], TLS_FILES_NAME_MAX, "/proc/self/fd/%d", fd);
    }
    return 0;
}

const char *tls_files_name(const struct tls_files *files, enum tls_file file)
{
    return files->fds[file] >= 0 ? files->names[file] : NULL;
}
