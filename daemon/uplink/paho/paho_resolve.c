/* SPDX-License-Identifier: MIT */
/*
 * paho_resolve.c - the address behind the broker's host name, for both ways to link
 *
 * Invariant: one name at a time has an address; what Paho asks for another finds none here.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The host of the attempt, and its address. */
static struct {
    pthread_mutex_t mutex;
    char host[PAHO_LINK_HOST_MAX];
    char address[PAHO_LINK_ADDRESS_MAX];
} resolved = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void paho_link_set_address(const char *host, const char *address)
{
    (void)pthread_mutex_lock(&resolved.mutex);
    (void)snprintf(resolved.host, sizeof(resolved.host), "%s", host);
    (void)snprintf(resolved.address, sizeof(resolved.address), "%s", address);
    (void)pthread_mutex_unlock(&resolved.mutex);
}

bool paho_get_address(const char *host, char address[static PAHO_LINK_ADDRESS_MAX])
{
    (void)pthread_mutex_lock(&resolved.mutex);
    bool is_resolved = host && resolved.address[0] != '\0' && strcmp(host, resolved.host) == 0;
    if (is_resolved)
        memcpy(address, resolved.address, PAHO_LINK_ADDRESS_MAX);
    (void)pthread_mutex_unlock(&resolved.mutex);
    return is_resolved;
}

struct addrinfo paho_numeric_only(const struct addrinfo *hints)
{
    struct addrinfo numeric = {.ai_flags = 0};

    if (hints)
        numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    return numeric;
}
