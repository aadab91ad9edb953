/* SPDX-License-Identifier: MIT */
/*
 * resolve.c - the addresses behind a broker's host name
 *
 * If no name server answers, the resolver takes most of a minute to fail. Paho
 * would call it on its sending thread with its mutex held, and the loop waits for
 * that mutex whenever it creates or destroys a client. So each attempt has the
 * name looked up here first, on a thread of its own, and the link seam answers
 * Paho with one of the addresses that were found.
 *
 * Invariant: there is at most one lookup for each host of the list. A lookup cannot be
 * cancelled; one that outlasts its attempt continues, and the next attempt at the
 * same host waits for it instead of starting another. So a name that is in /etc/hosts
 * does not wait behind one that is not.
 *
 * The result of such a late lookup serves one attempt, if that follows soon:
 * otherwise a resolver that is slower than connect_timeout would never be of use.
 *
 * uplink_free() detaches the lookups under way: they touch only themselves then,
 * and free themselves.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/thread.h"
#include "daemon/uplink/uplink-private.h"

#define ADDRESSES_MAX 16
/* More than the longest pause between attempts at the defaults. */
#define CACHE_MS       300000
#define HOST_SHOWN_MAX 150

struct uplink_lookup {
    struct uplink_mail post;
    SLIST_ENTRY(uplink_lookup) next;
    struct mailbox *mailbox; /* (locked by detach_mutex) NULL: detached */
    bool is_finished; /* (locked by detach_mutex) its thread does not touch it any more */
    bool is_cached;   /* no attempt waited for the answer, which came at @cached_ms */
    int64_t cached_ms;
    int error;        /* of getaddrinfo() */
    int system_error; /* with EAI_SYSTEM */
    size_t count;
    char addresses[ADDRESSES_MAX][PAHO_LINK_ADDRESS_MAX];
    char host[];
};
_Static_assert(offsetof(struct uplink_lookup, post) == 0, "read_mail() casts");
_Static_assert(UPLINK_TEXT_MAX <= PAHO_LINK_HOST_MAX, "the seam keeps the host of an attempt");

/* Taken before the mailbox's mutex, never after. */
static pthread_mutex_t detach_mutex = PTHREAD_MUTEX_INITIALIZER;

/* --- on a thread of its own ------------------------------------------------ */

static void add_addresses(struct uplink_lookup *lookup, const struct addrinfo *list, int family)
{
    for (; list && lookup->count < ADDRESSES_MAX; list = list->ai_next) {
        char *address = lookup->addresses[lookup->count];

        if (list->ai_family == family &&
            getnameinfo(list->ai_addr, list->ai_addrlen, address, PAHO_LINK_ADDRESS_MAX, NULL,
                        0, NI_NUMERICHOST) == 0)
            lookup->count++;
    }
}

/* IPv4 first, as Paho itself would choose; within each family in the resolver's order. */
static void lookup_resolve(struct uplink_lookup *lookup)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    struct addrinfo *list = NULL;

    lookup->count = 0;
    lookup->error = paho_link_getaddrinfo(lookup->host, &hints, &list);
    lookup->system_error = errno;
    if (lookup->error != 0)
        return;
    add_addresses(lookup, list, AF_INET);
    add_addresses(lookup, list, AF_INET6);
    freeaddrinfo(list);
    if (lookup->count == 0)
        lookup->error = EAI_NONAME;
}

static void *lookup_run(void *userdata)
{
    struct uplink_lookup *lookup = userdata;

    lookup_resolve(lookup);
    (void)pthread_mutex_lock(&detach_mutex);
    struct mailbox *mailbox = lookup->mailbox;
    lookup->is_finished = true;
    if (mailbox)
        (void)mailbox_post_if(mailbox, &lookup->post.mail, NULL, NULL);
    (void)pthread_mutex_unlock(&detach_mutex);
    if (!mailbox)
        free(lookup);
    return NULL;
}

/* --- on the loop ----------------------------------------------------------- */

void uplink_host_of(const char *uri, char host[static UPLINK_TEXT_MAX])
{
    const char *scheme = strstr(uri, "://");
    const char *start = scheme ? scheme + 3 : uri;
    const char *end = strrchr(start, ':');

    if (*start == '[')
        end = strchr(++start, ']');
    if (!end)
        end = start + strcspn(start, "/");
    (void)snprintf(host, UPLINK_TEXT_MAX, "%.*s", (int)(end - start), start);
}

bool uplink_host_is_address(const char *host)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
    struct addrinfo *list = NULL;

    if (paho_link_getaddrinfo(host, &hints, &list) != 0)
        return false;
    freeaddrinfo(list);
    return true;
}

static void lookup_free(struct uplink_resolver *resolver, struct uplink_lookup *lookup)
{
    SLIST_REMOVE(&resolver->lookups, lookup, uplink_lookup, next);
    free(lookup);
}

static struct uplink_lookup *lookup_find(struct uplink_resolver *resolver, const char *host)
{
    struct uplink_lookup *lookup;

    SLIST_FOREACH(lookup, &resolver->lookups, next) {
        if (strcmp(lookup->host, host) == 0)
            break;
    }
    return lookup;
}

static int lookup_begin(struct uplink_resolver *resolver, const char *host)
{
    size_t size = strlen(host) + 1;
    struct uplink_lookup *lookup = calloc(1, sizeof(*lookup) + size);

    if (!lookup)
        return -ENOMEM;
    lookup->post.kind = UPLINK_MAIL_LOOKUP;
    lookup->mailbox = resolver->mailbox;
    memcpy(lookup->host, host, size);
    int r = thread_start_detached(lookup_run, lookup);
    if (r < 0)
        free(lookup);
    else
        SLIST_INSERT_HEAD(&resolver->lookups, lookup, next);
    return r;
}

int uplink_resolve(struct uplink_resolver *resolver)
{
    struct uplink_lookup *lookup = lookup_find(resolver, resolver->host);

    if (!lookup)
        return lookup_begin(resolver, resolver->host);
    if (!lookup->is_cached)
        return 0; /* under way, or about to be read */
    if (uplink_now_ms() - lookup->cached_ms <= CACHE_MS) {
        lookup->is_cached = false;
        (void)mailbox_post_if(resolver->mailbox, &lookup->post.mail, NULL, NULL);
        return 0;
    }
    lookup_free(resolver, lookup);
    return lookup_begin(resolver, resolver->host);
}

/* The one that was tried last, unless it is suspect; then the one after it. */
static const char *choose_address(const struct uplink_lookup *lookup,
                                  const struct uplink_broker *broker)
{
    for (size_t i = 0; i < lookup->count; i++) {
        if (strcmp(lookup->addresses[i], broker->address) == 0)
            return lookup->addresses[broker->is_address_suspect ? (i + 1) % lookup->count : i];
    }
    return lookup->addresses[0];
}

static void lookup_describe_error(const struct uplink_lookup *lookup,
                                  char reason[static UPLINK_TEXT_MAX])
{
    const char *text = lookup->error == EAI_SYSTEM ? strerror(lookup->system_error)
                                                   : gai_strerror(lookup->error);

    (void)snprintf(reason, UPLINK_TEXT_MAX, "cannot resolve %.*s: %c%.80s", HOST_SHOWN_MAX,
                   lookup->host, tolower((unsigned char)text[0]), text + 1);
}

void uplink_describe_slow_lookup(const struct uplink_resolver *resolver,
                                 uint64_t timeout_ms,
                                 char reason[static UPLINK_TEXT_MAX])
{
    (void)snprintf(reason, UPLINK_TEXT_MAX,
                   "name resolution of %.*s takes longer than %" PRIu64
                   " s: look at the name servers",
                   HOST_SHOWN_MAX, resolver->host, (timeout_ms + 999) / 1000);
}

bool uplink_lookup_matches(const struct uplink_resolver *resolver,
                           const struct uplink_lookup *lookup)
{
    return strcmp(lookup->host, resolver->host) == 0;
}

void uplink_cache_lookup(struct uplink_resolver *resolver, struct uplink_lookup *lookup)
{
    if (lookup->error != 0) {
        lookup_free(resolver, lookup);
        return;
    }
    lookup->is_cached = true;
    lookup->cached_ms = uplink_now_ms();
}

bool uplink_apply_lookup(struct uplink_resolver *resolver,
                         struct uplink_lookup *lookup,
                         struct uplink_broker *broker,
                         char reason[static UPLINK_TEXT_MAX])
{
    bool is_found = lookup->error == 0;

    if (is_found) {
        (void)snprintf(broker->address, sizeof(broker->address), "%s",
                       choose_address(lookup, broker));
        broker->is_address_suspect = true; /* until a connection to it was good */
        paho_link_set_address(lookup->host, broker->address);
    } else {
        lookup_describe_error(lookup, reason);
    }
    lookup_free(resolver, lookup);
    return is_found;
}

void uplink_detach_lookups(struct uplink_resolver *resolver)
{
    (void)pthread_mutex_lock(&detach_mutex);
    while (!SLIST_EMPTY(&resolver->lookups)) {
        struct uplink_lookup *lookup = SLIST_FIRST(&resolver->lookups);

        SLIST_REMOVE_HEAD(&resolver->lookups, next);
        if (lookup->is_finished)
            free(lookup);
        else
            lookup->mailbox = NULL;
    }
    (void)pthread_mutex_unlock(&detach_mutex);
}
