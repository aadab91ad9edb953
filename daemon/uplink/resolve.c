/* SPDX-License-Identifier: MIT */
/*
 * resolve.c - the addresses behind a broker's host name
 *
 * Where no name server answers, the resolver takes most of a minute to say so.
 * Paho would ask it on its sending thread with its mutex held, and the loop
 * waits for that mutex whenever it makes or destroys a client. So each attempt
 * has the name looked up here first, on a thread of its own, and the link seam
 * answers Paho with one of the addresses that were found.
 *
 * A lookup cannot be called off. One that outlasts its attempt goes on, and the
 * next attempt at the same host waits for it instead of asking again. So there
 * is never more than one for each host of the list, and a name that is found in
 * /etc/hosts does not wait behind one that is not.
 *
 * What such a late lookup finds serves one attempt, if that comes soon:
 * otherwise a resolver that is slower than connect_timeout would never do.
 *
 * An uplink that is freed leaves its lookups behind. They touch nothing but
 * themselves then, and free themselves.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "daemon/uplink/uplink-private.h"

#define ADDRESSES_MAX 16
/* More than the longest pause between attempts, as it is by default. */
#define LATE_ANSWER_MS 300000
#define HOST_SHOWN_MAX 150

struct uplink_lookup {
    struct uplink_mail post;
    SLIST_ENTRY(uplink_lookup) next;
    struct mailbox *mailbox; /* (handover) NULL: was left behind */
    bool is_answered;        /* (handover) its thread has nothing to do with it any more */
    bool is_late;            /* the loop got the answer at @late_ms, and nobody waited for it */
    int64_t late_ms;
    int error;        /* of getaddrinfo() */
    int system_error; /* with EAI_SYSTEM */
    size_t count;
    char addresses[ADDRESSES_MAX][PAHO_LINK_ADDRESS_MAX];
    char host[];
};
_Static_assert(offsetof(struct uplink_lookup, post) == 0, "read_mail() casts");
_Static_assert(UPLINK_TEXT_MAX <= PAHO_LINK_HOST_MAX, "the seam keeps the host of an attempt");

/* Taken before the mailbox's mutex, never after. */
static pthread_mutex_t handover = PTHREAD_MUTEX_INITIALIZER;

/* --- on a thread of its own ------------------------------------------------ */

static void
keep_addresses(struct uplink_lookup *lookup, const struct addrinfo *list, int family)
{
    for (; list && lookup->count < ADDRESSES_MAX; list = list->ai_next) {
        char *address = lookup->addresses[lookup->count];

        if (list->ai_family == family &&
            getnameinfo(list->ai_addr, list->ai_addrlen, address, PAHO_LINK_ADDRESS_MAX, NULL,
                        0, NI_NUMERICHOST) == 0)
            lookup->count++;
    }
}

/* IPv4 first, as Paho has it when it chooses; within each family in the resolver's order. */
static void ask(struct uplink_lookup *lookup)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    struct addrinfo *list = NULL;

    lookup->count = 0;
    lookup->error = paho_link_ask_resolver(lookup->host, &hints, &list);
    lookup->system_error = errno;
    if (lookup->error != 0)
        return;
    keep_addresses(lookup, list, AF_INET);
    keep_addresses(lookup, list, AF_INET6);
    freeaddrinfo(list);
    if (lookup->count == 0)
        lookup->error = EAI_NONAME;
}

static void *look_up(void *context)
{
    struct uplink_lookup *lookup = context;

    ask(lookup);
    (void)pthread_mutex_lock(&handover);
    struct mailbox *mailbox = lookup->mailbox;
    lookup->is_answered = true;
    if (mailbox)
        (void)mailbox_post_if(mailbox, &lookup->post.mail, NULL, NULL);
    (void)pthread_mutex_unlock(&handover);
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

    if (paho_link_ask_resolver(host, &hints, &list) != 0)
        return false;
    freeaddrinfo(list);
    return true;
}

static void forget(struct uplink_resolver *resolver, struct uplink_lookup *lookup)
{
    SLIST_REMOVE(&resolver->lookups, lookup, uplink_lookup, next);
    free(lookup);
}

static struct uplink_lookup *find_lookup(struct uplink_resolver *resolver, const char *host)
{
    struct uplink_lookup *lookup;

    SLIST_FOREACH(lookup, &resolver->lookups, next) {
        if (strcmp(lookup->host, host) == 0)
            break;
    }
    return lookup;
}

static int begin_lookup(struct uplink_resolver *resolver, const char *host)
{
    size_t size = strlen(host) + 1;
    struct uplink_lookup *lookup = calloc(1, sizeof(*lookup) + size);

    if (!lookup)
        return -ENOMEM;
    lookup->post.kind = UPLINK_MAIL_LOOKUP;
    lookup->mailbox = resolver->mailbox;
    memcpy(lookup->host, host, size);
    int r = thread_start_detached(look_up, lookup);
    if (r < 0)
        free(lookup);
    else
        SLIST_INSERT_HEAD(&resolver->lookups, lookup, next);
    return r;
}

int uplink_resolve(struct uplink_resolver *resolver)
{
    struct uplink_lookup *lookup = find_lookup(resolver, resolver->host);

    if (!lookup)
        return begin_lookup(resolver, resolver->host);
    if (!lookup->is_late)
        return 0; /* under way, or about to be read */
    if (uplink_now_ms() - lookup->late_ms <= LATE_ANSWER_MS) {
        lookup->is_late = false;
        (void)mailbox_post_if(resolver->mailbox, &lookup->post.mail, NULL, NULL);
        return 0;
    }
    forget(resolver, lookup);
    return begin_lookup(resolver, resolver->host);
}

/* The one that was tried last, while nothing speaks against it; otherwise the one after it. */
static const char *choose(const struct uplink_lookup *lookup,
                          const struct uplink_broker *broker)
{
    for (size_t i = 0; i < lookup->count; i++) {
        if (strcmp(lookup->addresses[i], broker->address) == 0)
            return lookup->addresses[broker->is_address_suspect ? (i + 1) % lookup->count : i];
    }
    return lookup->addresses[0];
}

static void explain(const struct uplink_lookup *lookup, char reason[static UPLINK_TEXT_MAX])
{
    const char *text = lookup->error == EAI_SYSTEM ? strerror(lookup->system_error)
                                                   : gai_strerror(lookup->error);

    (void)snprintf(reason, UPLINK_TEXT_MAX, "cannot resolve %.*s: %c%.80s", HOST_SHOWN_MAX,
                   lookup->host, tolower((unsigned char)text[0]), text + 1);
}

void uplink_explain_slow_lookup(const struct uplink_resolver *resolver,
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

void uplink_keep_lookup(struct uplink_resolver *resolver, struct uplink_lookup *lookup)
{
    if (lookup->error != 0) {
        forget(resolver, lookup);
        return;
    }
    lookup->is_late = true;
    lookup->late_ms = uplink_now_ms();
}

bool uplink_use_lookup(struct uplink_resolver *resolver,
                       struct uplink_lookup *lookup,
                       struct uplink_broker *broker,
                       char reason[static UPLINK_TEXT_MAX])
{
    bool is_found = lookup->error == 0;

    if (is_found) {
        (void)snprintf(broker->address, sizeof(broker->address), "%s", choose(lookup, broker));
        broker->is_address_suspect = true; /* until a connection to it was a good one */
        paho_link_set_address(lookup->host, broker->address);
    } else {
        explain(lookup, reason);
    }
    forget(resolver, lookup);
    return is_found;
}

void uplink_leave_lookups(struct uplink_resolver *resolver)
{
    (void)pthread_mutex_lock(&handover);
    while (!SLIST_EMPTY(&resolver->lookups)) {
        struct uplink_lookup *lookup = SLIST_FIRST(&resolver->lookups);

        SLIST_REMOVE_HEAD(&resolver->lookups, next);
        if (lookup->is_answered)
            free(lookup);
        else
            lookup->mailbox = NULL;
    }
    (void)pthread_mutex_unlock(&handover);
}
