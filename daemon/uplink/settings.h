/* SPDX-License-Identifier: MIT */
/*
 * settings.h - the settings of the uplink: group "uplink" of the configuration
 *
 * The table of keys fills this structure, the uplink reads it where it lies. The
 * uplink knows no file and no table, the configuration nothing of the link. This
 * header is all that they share, so it has types only.
 *
 * Texts are never NULL; "" means that it is not set.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_SETTINGS_H
#define MQTT_SPOOLD_DAEMON_UPLINK_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum uplink_tls_version { UPLINK_TLS_1_2, UPLINK_TLS_1_3 };

struct uplink_tls_settings {
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *key_password_file;
    bool verify;
    enum uplink_tls_version min_version;
    char *alpn; /* the name of one protocol */
};

/* What is made of refusals that no repetition can change. */
enum uplink_on_refusal {
    UPLINK_ON_REFUSAL_HOLD,  /* a broker that refuses everything is not believed */
    UPLINK_ON_REFUSAL_REJECT /* each of them ends its message */
};

/* A second; 0: no limit. */
struct uplink_rate {
    unsigned messages;
    uint64_t bytes; /* of PUBLISH packets */
};

/* What is published at the broker about this gateway itself. */
struct uplink_presence {
    char *topic; /* below topic_prefix; "": none */
    char *online;
    char *offline;
    unsigned qos;
    bool is_retained;
};

struct uplink_settings {
    char *
        *brokers; /* in turn: tcp:// mqtt:// ssl:// mqtts://, in small letters; at least one */
    size_t broker_count;
    char *client_id;
    unsigned protocol; /* 4 (MQTT 3.1.1) or 5; 0: 5, or 4 where the broker speaks that only */
    char *username;
    char *password_file; /* read at each connect, one trailing newline is cut */
    uint64_t keepalive_ms;
    uint64_t connect_timeout_ms;
    uint64_t ack_timeout_ms; /* 0: no limit */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    uint64_t failback_ms; /* 0: never */
    unsigned window;      /* messages */
    uint64_t window_bytes;
    unsigned max_qos;
    bool has_retain; /* the flag is sent; the owner clears it in messages otherwise */
    enum uplink_on_refusal on_refusal; /* of the owner */
    unsigned max_attempts;             /* of the owner; 0: any number */
    char *topic_prefix;                /* for uplink_message.prefix; not added here */
    bool has_stamp;                    /* for uplink_message.stamp; not added here */
    struct uplink_rate rate;
    struct uplink_presence presence;
    char *report_topic; /* of the reports of failures; "": none. Not published here */
    struct uplink_tls_settings tls;
};

#endif
