/* SPDX-License-Identifier: MIT */
/*
 * journal.c - entries for journald, by its native protocol and without waiting
 *
 * sd_journal_sendv() of libsystemd is not used: it sends without MSG_DONTWAIT,
 * so it waits for as long as journald does not read, and blocks the loop. The
 * protocol is documented ("Native Journal Protocol") and covered by systemd's
 * interface stability promise:
 *
 *   - an entry is one datagram to JOURNAL_SOCKET;
 *   - a field is "NAME=value\n", or, if the value has a line break,
 *     "NAME\n", its size as 64 bits little endian, the value, "\n";
 *   - an entry that is larger than a datagram may be goes as a sealed memory
 *     file, whose descriptor is the only content of the datagram.
 *
 * The kernel queues little for journald: some 150 entries, by the size of the
 * send buffer. A batch ends more messages than that at once, so entries wait
 * here, in order, until journald has read; an entry without room is left out.
 */
#include "daemon/host/journal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/host/datagram.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define JOURNAL_SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
/* Some 700 entries of the usual size, two of the largest. */
#define JOURNAL_MEMORY_MAX ((size_t)512 * 1024)

/* The entries are the bytes from @from to @to, each preceded by its size. */
static struct {
    bool is_absent;
    unsigned lost;
    size_t count;
    size_t from;
    size_t to;
    uint8_t memory[JOURNAL_MEMORY_MAX]; /* pages that no entry needed are never touched */
} journal;

/* ---- entries ---- */

/* An entry that is being added; a part that does not fit sets is_truncated. */
struct journal_entry {
    size_t at;
    bool is_truncated;
};

static void journal_add(struct journal_entry *entry, const void *data, size_t size)
{
    if (entry->is_truncated || size > JOURNAL_MEMORY_MAX - entry->at) {
        entry->is_truncated = true;
        return;
    }
    memcpy(journal.memory + entry->at, data, size);
    entry->at += size;
}

static void journal_add_field(struct journal_entry *entry, const struct iovec *field)
{
    const char *text = field->iov_base;
    const char *equals = memchr(text, '=', field->iov_len);
    const char *value = equals ? equals + 1 : text + field->iov_len;
    size_t value_size = field->iov_len - (size_t)(value - text);

    if (!equals || !memchr(value, '\n', value_size)) {
        journal_add(entry, text, field->iov_len);
    } else {
        uint64_t size = htole64(value_size);

        journal_add(entry, text, (size_t)(equals - text));
        journal_add(entry, "\n", 1);
        journal_add(entry, &size, sizeof(size));
        journal_add(entry, value, value_size);
    }
    journal_add(entry, "\n", 1);
}

static bool journal_try_put(const struct iovec *fields, size_t count)
{
    struct journal_entry entry = {.at = journal.to};
    size_t size = 0;

    journal_add(&entry, &size, sizeof(size));
    for (size_t i = 0; i < count; i++)
        journal_add_field(&entry, &fields[i]);
    if (entry.is_truncated)
        return false;
    size = entry.at - journal.to - sizeof(size);
    memcpy(journal.memory + journal.to, &size, sizeof(size));
    journal.to = entry.at;
    journal.count++;
    return true;
}

static void journal_compact(void)
{
    memmove(journal.memory, journal.memory + journal.from, journal.to - journal.from);
    journal.to -= journal.from;
    journal.from = 0;
}

bool journal_put(const struct iovec *fields, size_t count)
{
    if (journal_try_put(fields, count))
        return true;
    if (journal.from == 0)
        return false;
    journal_compact();
    return journal_try_put(fields, count);
}

/* ---- sending ---- */

/* One socket for the life of the process. */
static int journal_socket(void)
{
    static int fd = -1;

    if (fd < 0)
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

static int journal_send_message(int fd, const struct msghdr *message)
{
    struct sockaddr_un address = {AF_UNIX, JOURNAL_SOCKET};
    struct msghdr addressed = *message;

    addressed.msg_name = &address;
    addressed.msg_namelen = sizeof(address);
    while (sendmsg(fd, &addressed, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int journal_send_file(int fd, int file)
{
    union {
        struct cmsghdr header;
        char memory[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(file));
    memcpy(CMSG_DATA(header), &file, sizeof(file));
    return journal_send_message(fd, &message);
}

/* A memory file does not wait for a disk. */
static int journal_send_large(int fd, const void *data, size_t size)
{
    AUTO_CLOSE int file = memfd_create("journal-entry", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (file < 0)
        return -errno;
    ssize_t n = write(file, data, size);
    if (n < 0)
        return -errno;
    if ((size_t)n != size)
        return -ENOSPC;
    if (fcntl(file, F_ADD_SEALS, JOURNAL_SEALS) < 0)
        return -errno;
    return journal_send_file(fd, file);
}

static int journal_send(void *data, size_t size)
{
    struct iovec piece = {data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    int fd = journal_socket();

    if (fd < 0)
        return fd;
    int r = journal_send_message(fd, &message);
    return r == -EMSGSIZE || r == -ENOBUFS ? journal_send_large(fd, data, size) : r;
}

static void journal_clear(void)
{
    journal.from = journal.to = 0;
    journal.count = 0;
}

size_t journal_flush(void)
{
    int r = 0;

    while (journal.count > 0) {
        uint8_t *entry = journal.memory + journal.from;
        size_t size;

        memcpy(&size, entry, sizeof(size));
        r = journal_send(entry + sizeof(size), size);
        if (r == -ENOENT || datagram_may_retry(r))
            break;
        journal.lost += r < 0;
        r = 0;
        journal.from += sizeof(size) + size;
        journal.count--;
    }
    journal.is_absent = r == -ENOENT;
    if (journal.count == 0 || journal.is_absent)
        journal_clear();
    return journal.count;
}

unsigned journal_take_lost(void)
{
    unsigned lost = journal.lost;

    journal.lost = 0;
    return lost;
}

bool journal_is_absent(void)
{
    return journal.is_absent;
}
