/* SPDX-License-Identifier: MIT */
/*
 * file_check.h - are the files of the settings usable, and is what is sent protected?
 *
 * For the start and for `--test-config`. The files are read, and nothing is connected
 * or changed. A missing file is no reason not to start: it is opened again at each attempt.
 *
 * Logs nothing. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_FILE_CHECK_H
#define MQTT_SPOOLD_DAEMON_UPLINK_FILE_CHECK_H

#include <stdint.h>

#include "daemon/uplink/settings.h"

enum uplink_finding_kind {
    UPLINK_FINDING_UNUSABLE,  /* no connection can be made with this file */
    UPLINK_FINDING_UNCHECKED, /* a credential, in a folder that this process cannot enter */
    UPLINK_FINDING_SUSPECT,   /* hardly what is meant */
    UPLINK_FINDING_DATES,     /* a certificate is not valid now, or not for long */
    UPLINK_FINDING_INSECURE   /* others can read or change what is sent */
};

struct uplink_finding {
    enum uplink_finding_kind kind;
    const char *key;
    const char *file; /* "": it is about the setting */
    const char *text; /* to stand behind the name of the file */
    const char *remedy;
};

/* @finding is borrowed for the call. */
typedef void uplink_finding_fn(void *userdata, const struct uplink_finding *finding);

/* Calls @fn with each finding; @wall_ms: the wall clock. */
void uplink_check_files(const struct uplink_settings *settings,
                        int64_t wall_ms,
                        uplink_finding_fn *fn,
                        void *userdata);

#endif
