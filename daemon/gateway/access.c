/* SPDX-License-Identifier: MIT */
/*
 * access.c - what a local program may do, by the access list
 *
 * The groups of a peer are those that it had when it connected, as its user is. They are
 * read once for each decision, and only if an entry depends on them.
 *
 * Invariant: what is not known allows nothing.
 */
#include "daemon/gateway/access.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "daemon/mqtt/packet.h"

struct access_groups {
    bool was_read;
    bool has_failed;
    size_t count;
    gid_t *ids;
};

/* A socket has no more than the kernel's limit of 65536 groups, and they never change. */
static void access_read_groups(struct access_groups *groups, int fd)
{
    socklen_t size = 0;

    groups->was_read = true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0)
        return; /* it has none */
    groups->ids = size > 0 ? malloc(size) : NULL;
    groups->has_failed =
        !groups->ids || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups->ids, &size) != 0;
    if (!groups->has_failed)
        groups->count = size / sizeof(*groups->ids);
}

static bool
access_has_group(struct access_groups *groups, int fd, const struct peer *peer, gid_t gid)
{
    if (peer->gid == gid)
        return true;
    if (!groups->was_read)
        access_read_groups(groups, fd);
    for (size_t i = 0; i < groups->count; i++) {
        if (groups->ids[i] == gid)
            return true;
    }
    return false;
}

static bool access_fits(const struct config_access *entry,
                        struct access_groups *groups,
                        int fd,
                        const struct peer *peer)
{
    if (entry->whom == CONFIG_ACCESS_ANY)
        return true;
    if (peer->uid == PEER_UID_UNKNOWN)
        return false;
    if (entry->whom == CONFIG_ACCESS_USER)
        return peer->uid == entry->id;
    return access_has_group(groups, fd, peer, entry->id);
}

struct access access_decide(const struct config *config, int fd, const struct peer *peer)
{
    bool is_known = peer->uid != PEER_UID_UNKNOWN;
    struct access_groups groups = {.count = 0};
    struct access access = {
        .is_allowed = config->access_count == 0,
        .is_admin = config->access_count == 0 && peer->uid == 0,
    };

    for (size_t i = 0; i < config->access_count && !groups.has_failed; i++) {
        const struct config_access *entry = &config->access[i];

        if (access_fits(entry, &groups, fd, peer)) {
            access = (struct access){
                .entry = entry, .is_allowed = true, .is_admin = entry->is_admin && is_known};
            break;
        }
    }
    free(groups.ids);
    return access;
}

unsigned access_rate(const struct access *access)
{
    return access->entry ? access->entry->rate : 0;
}

bool access_may_publish(const struct access *access, struct view topic)
{
    const struct config_access *entry = access->entry;

    if (!entry)
        return access->is_allowed;
    for (size_t i = 0; i < entry->publish_count; i++) {
        if (packet_topic_matches(entry->publish[i], topic))
            return true;
    }
    return false;
}
