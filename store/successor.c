/* SPDX-License-Identifier: MIT */
/*
 * successor.c - may a file take the place of the database?
 *
 * A salvage or a restore gives a name of its own to a whole new database, and a
 * crash may leave it there. Any other file can have that name, an older copy for
 * example. So what has it is opened only if it is a regular file, and takes the
 * place only if it is a sound spool that is not behind the mark.
 *
 * It is one file: written without a log, and closed before it got the name. So it
 * is read as SQLite reads a file that cannot change, and no -wal, -shm or -journal
 * beside it is read or created.
 */
#include "base/regular.h"
#include "store/aside.h"
#include "store/salvage/reads.h"
#include "store/spool-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ESCAPED_BYTES = 3 }; /* "%3f" */

/* As a URI, in which some characters have a meaning. */
static int write_uri(const char *path, char *to, size_t room)
{
    size_t used = (size_t)snprintf(to, room, "file:%s", *path == '/' ? "//" : "");
    for (const char *at = path; *at != '\0'; at++) {
        if (used + ESCAPED_BYTES + sizeof("?immutable=1") > room)
            return -ENAMETOOLONG;
        if (strchr("%?#", *at))
            used += (size_t)snprintf(to + used, room - used, "%%%02x", (unsigned char)*at);
        else
            to[used++] = *at;
    }
    (void)snprintf(to + used, room - used, "?immutable=1");
    return 0;
}

static int connect_to(struct spool *spool, const char *directory, const char *name)
{
    char uri[PATH_MAX + SPOOL_NAME_MAX];
    if (asprintf(&spool->files.path, "%s/%s", directory, name) < 0) {
        spool->files.path = NULL;
        return spool_fail_memory(spool);
    }
    int r = write_uri(spool->files.path, uri, sizeof(uri));
    if (r < 0)
        return spool_fail(spool, r, "%s", strerror(-r));
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(uri, &spool->conn.db, flags, reads_vfs());
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(spool->conn.db, "PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF",
                          NULL, NULL, NULL);
    return examine_result(spool, rc);
}

static int judge_database(struct spool *spool)
{
    struct mark mark;
    int version = 0;
    if (mark_read(spool->files.directory_fd, &mark) !=
        0) /* the opening that follows acts upon that */
        mark = (struct mark){0};
    int rc = schema_check(spool->conn.db, &version);
    if (rc == SQLITE_SCHEMA)
        return spool_fail(spool, SPOOL_E_NEWER, "it has schema version %d", version);
    if (rc == SQLITE_OK)
        rc = functions_register(spool->conn.db, &spool->conn.record_tally,
                                &spool->conn.record_seq);
    if (rc != SQLITE_OK)
        return examine_result(spool, rc);
    return examine(spool, &mark);
}

static int judge(struct spool *spool, const char *directory, const char *name)
{
    int fd = regular_openat(spool->files.directory_fd, name, O_RDONLY | O_NOFOLLOW, 0);
    if (fd < 0)
        return spool_fail(spool, fd, "%s",
                          fd == -ELOOP ? "is a symbolic link" : regular_error(fd));
    (void)close(fd); /* not read from */
    int r = connect_to(spool, directory, name);
    return r == 0 ? judge_database(spool) : r;
}

int successor_judge(int directory_fd, const char *directory, const char *name, char *errmsg)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (!spool)
        return -ENOMEM;
    spool->files.directory_fd = directory_fd;
    spool->files.mark_fd = -1;
    int r = judge(spool, directory, name);
    if (r != 0)
        memcpy(errmsg, spool->conn.errmsg, sizeof(spool->conn.errmsg));
    (void)sqlite3_close(spool->conn.db); /* no statement is left */
    free(spool->files.path);
    free(spool);
    return r == 0 || r == -ENOMEM ? r : SPOOL_E_DAMAGED;
}

/* ---- spool_check_names() ---- */

static void report_successor(int directory_fd,
                             const char *directory,
                             const char *name,
                             spool_finding_fn *fn,
                             void *userdata)
{
    char errmsg[SPOOL_ERRMSG_MAX] = "";
    char text[SPOOL_ERRMSG_MAX * 2];
    if (!aside_is_there(directory_fd, name))
        return;
    int r = successor_judge(directory_fd, directory, name, errmsg);
    if (r == 0 ||
        (!aside_is_there(directory_fd, DATABASE_NAME) && schema_is_ours(directory_fd, name)))
        (void)snprintf(text, sizeof(text),
                       "%s exists, left by a crash: the next start puts it in the place "
                       "of " DATABASE_NAME ", which moves aside",
                       name);
    else
        (void)snprintf(text, sizeof(text),
                       "%s cannot take the place of " DATABASE_NAME
                       " (%s): the next start gives "
                       "it another name",
                       name, errmsg);
    fn(userdata, SPOOL_PART_NAMES, text);
}

static void report_folders(int directory_fd, spool_finding_fn *fn, void *userdata)
{
    static const char *const names[] = {SCHEMA_NEW_NAME, SCHEMA_NEW_NAME "-journal",
                                        SCHEMA_NEW_NAME "-wal", SCHEMA_NEW_NAME "-shm"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct stat status;
        char text[SPOOL_ERRMSG_MAX];
        if (fstatat(directory_fd, names[i], &status, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISDIR(status.st_mode))
            continue;
        (void)snprintf(
            text, sizeof(text),
            "%s is a folder: the daemon gives it another name when it needs this one",
            names[i]);
        fn(userdata, SPOOL_PART_NAMES, text);
    }
}

void spool_check_names(const char *directory, spool_finding_fn *fn, void *userdata)
{
    int fd;
    if (spool_open_directory(directory, false, &fd) < 0)
        return; /* the open reports it */
    report_successor(fd, directory, SALVAGED_NAME, fn, userdata);
    report_successor(fd, directory, RESTORED_NAME, fn, userdata);
    report_folders(fd, fn, userdata);
    (void)close(fd); /* only read from */
}
