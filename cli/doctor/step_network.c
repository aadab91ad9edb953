/* SPDX-License-Identifier: MIT */
/*
 * step_network.c - a broker's name and its port; and proxies, of which there are none
 */
#include "base/text.h"
#include "cli/doctor/broker.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/net.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "daemon/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LOOKUP_MS = 20000, SLACK_MS = 5000, TIMEOUT_LEAST_MS = 1000, TIMEOUT_MOST_MS = 30000 };

void doctor_step_proxy(struct doctor_work *work)
{
    static const char *const names[] = {"all_proxy",   "ALL_PROXY",  "https_proxy",
                                        "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"};
    const char *found = NULL;

    doctor_begin(work, DOCTOR_PROXY, DOCTOR_STEP_MS);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !found; i++)
        found = getenv(names[i]) ? names[i] : NULL;
    if (found)
        doctor_add(work, DOCTOR_WARNING,
                   "if brokers are only reached by a proxy, let the network route to them: the "
                   "daemon connects directly",
                   "%s is set here, and the daemon does not use it", found);
    else
        doctor_add(work, DOCTOR_OK, "", "none: the daemon connects directly");
}

unsigned broker_timeout_ms(const struct broker_walk *walk)
{
    uint64_t ms = walk->work->config->uplink.connect_timeout_ms;

    if (ms < TIMEOUT_LEAST_MS)
        return TIMEOUT_LEAST_MS;
    return ms > TIMEOUT_MOST_MS ? TIMEOUT_MOST_MS : (unsigned)ms;
}

static bool is_address(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    bool is_numeric = getaddrinfo(host, port, &hints, &list) == 0;

    if (is_numeric)
        freeaddrinfo(list);
    return is_numeric;
}

static void report_addresses(struct broker_walk *walk, int64_t took_ms)
{
    char text[DOCTOR_SEEN_MAX / 2] = "";
    bool is_slow = took_ms > (int64_t)broker_timeout_ms(walk);

    if (is_address(walk->place.host, walk->place.port)) {
        doctor_add(walk->work, DOCTOR_OK, "", "%s is an address: no name server is asked",
                   walk->place.host);
        return;
    }
    for (const struct addrinfo *at = walk->addresses; at; at = at->ai_next) {
        char address[NET_ADDRESS_MAX];

        net_format(at, address);
        text_append(text, sizeof(text), "%s%s", text[0] != '\0' ? ", " : "", address);
    }
    doctor_add(walk->work, is_slow ? DOCTOR_WARNING : DOCTOR_OK,
               is_slow ? "look at the name servers: an attempt waits no longer than "
                         "uplink.connect_timeout"
                       : "",
               "%s is %s (%" PRId64 " ms)", walk->place.host, text, took_ms);
}

bool broker_resolve(struct broker_walk *walk)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    int64_t from_ms = net_now_ms();
    int error;

    doctor_begin(walk->work, DOCTOR_DNS, LOOKUP_MS);
    error = getaddrinfo(walk->place.host, walk->place.port, &hints, &walk->addresses);
    if (error == 0) {
        report_addresses(walk, net_now_ms() - from_ms);
        return true;
    }
    walk->addresses = NULL;
    doctor_add(walk->work, DOCTOR_FAILED,
               error == EAI_NONAME
                   ? "correct the host in uplink.brokers, or add the name to the name service"
                   : "look at the name servers (/etc/resolv.conf) and at the network",
               "cannot resolve %s: %s", walk->place.host,
               error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return false;
}

static const char *remedy_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "the machine answers, and nothing listens at this port: check the port in "
               "uplink.brokers, and that the broker runs";
    case ETIMEDOUT:
        return "no answer: a firewall on the way, a wrong address, or the machine is off";
    case ENETUNREACH:
    case EHOSTUNREACH:
        return "look at the network interfaces and routes of this machine (ip route)";
    default:
        return "look at the network and at the broker";
    }
}

static void report_refused(struct broker_walk *walk, const struct addrinfo *address, int error)
{
    bool is_last = !address->ai_next;
    char text[NET_ADDRESS_MAX];
    char reason[128];

    net_format(address, text);
    if (error == ETIMEDOUT)
        text_format(reason, sizeof(reason), "no answer within %u ms", broker_timeout_ms(walk));
    else
        text_format(reason, sizeof(reason), "%s", strerror(error));
    reason[0] = (char)tolower((unsigned char)reason[0]);
    doctor_add(walk->work, is_last ? DOCTOR_FAILED : DOCTOR_WARNING, remedy_of(error), "%s: %s",
               text, reason);
}

bool broker_connect_tcp(struct broker_walk *walk)
{
    unsigned addresses = 0;

    for (const struct addrinfo *at = walk->addresses; at; at = at->ai_next)
        addresses++;
    doctor_begin(walk->work, DOCTOR_TCP, addresses * broker_timeout_ms(walk) + SLACK_MS);
    for (const struct addrinfo *at = walk->addresses; at; at = at->ai_next) {
        int64_t from_ms = net_now_ms();
        int fd = net_connect(at, from_ms + broker_timeout_ms(walk));
        char text[NET_ADDRESS_MAX];

        if (fd < 0) {
            report_refused(walk, at, -fd);
            continue;
        }
        net_format(at, text);
        walk->stream.fd = fd;
        walk->chosen = at;
        doctor_add(walk->work, DOCTOR_OK, "", "%s accepts connections (%" PRId64 " ms)", text,
                   net_now_ms() - from_ms);
        return true;
    }
    return false;
}
