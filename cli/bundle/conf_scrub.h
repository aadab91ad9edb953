/* SPDX-License-Identifier: MIT */
/*
 * conf_scrub.h - takes secrets out of a file in the form of libconfig
 *
 * It need not be one that can be parsed: a wrong one is what bundles are made for. Values that
 * are removed, and files that hold secrets, are added to the scrubber.
 */
#ifndef MQTT_SPOOLD_CLI_BUNDLE_CONF_SCRUB_H
#define MQTT_SPOOLD_CLI_BUNDLE_CONF_SCRUB_H

#include <stdbool.h>
#include <stdio.h>

#include "base/view.h"
#include "cli/bundle/scrub.h"

/* Writes @text without comments, and with the values of secret settings replaced. Return: was
 * it read to its end? Else the rest, from a text or comment that does not end, is left out. */
bool conf_scrub(struct scrub *scrub, FILE *to, struct view text);

#endif
