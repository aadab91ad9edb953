/* SPDX-License-Identifier: MIT */
/*
 * status_faults.h - what is not as it should be, each in one line
 *
 * For a page that has few lines. Made of the status object alone. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_STATUS_FAULTS_H
#define MQTT_SPOOLD_CLI_VERBS_STATUS_FAULTS_H

#include <jansson.h>
#include <stdbool.h>

/* In the visible form of text.h, with the remedy after "->". All of it is borrowed. */
struct status_fault {
    const char *label;
    const char *text;
    bool is_severe; /* messages are not taken, or something is lost or wrong */
};

/* Calls @found for each, the worst first. */
void status_faults_each(const json_t *root,
                        void (*found)(void *userdata, const struct status_fault *fault),
                        void *userdata);

/* What configuration.refused means. */
const char *status_refused(const char *refused);
/* Before configuration.restart_keys. */
#define STATUS_RESTART_NEEDED "RESTART NEEDED: a reload does not change "

/* A certificate of uplink.tls has expired or does so within a week: what the page says of it.
 * Return: false: none does, or it is not known, and @text is "". */
#define STATUS_CERTIFICATE_MAX 160
bool status_certificate(const json_t *root,
                        char text[static STATUS_CERTIFICATE_MAX],
                        bool *ret_expired);

#endif
