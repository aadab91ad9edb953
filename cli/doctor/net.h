/* SPDX-License-Identifier: MIT */
/*
 * net.h - a broker's address, and a TCP connection within a time
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_NET_H
#define MQTT_SPOOLD_CLI_DOCTOR_NET_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

enum { NET_HOST_MAX = 256, NET_ADDRESS_MAX = 128 };

struct net_place {
    char host[NET_HOST_MAX];
    char port[8];
    bool is_tls;
};

/* Of a URI that the configuration has accepted. */
void net_parse(const char *uri, struct net_place *ret);
/* Milliseconds of CLOCK_MONOTONIC. */
int64_t net_now_ms(void);
/* The number of @address and its port, for people. */
void net_format(const struct addrinfo *address, char text[static NET_ADDRESS_MAX]);
/* Waits for @events (of poll(2)). Return: 0; -ETIMEDOUT; negative errno. */
MUST_CHECK int net_wait(int fd, short events, int64_t give_up_ms);
/* Return: a connected descriptor that does not block; -ETIMEDOUT; negative errno. */
MUST_CHECK int net_connect(const struct addrinfo *address, int64_t give_up_ms);

#endif
