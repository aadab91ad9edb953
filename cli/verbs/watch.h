/* SPDX-License-Identifier: MIT */
/*
 * watch.h - mqtt-spool status --watch: the status in place, each second
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_WATCH_H
#define MQTT_SPOOLD_CLI_VERBS_WATCH_H

#include "base/attr.h"
#include "cli/verbs/status_source.h"

/*
 * watch_run() - show the status until q or Ctrl-C, or a signal ends it
 * @status: configured
 *
 * The terminal is then as it was. Return: EX_OK; EX_USAGE: standard output or input is no
 * terminal, reported; the exit code of the first status, reported; after a signal it does not
 * return.
 */
MUST_CHECK int watch_run(struct status_source *status);

#endif
