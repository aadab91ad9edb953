/* SPDX-License-Identifier: MIT */
/*
 * loader.h - inside the configuration module: reading settings by the table
 *
 * config.c reads the file with it, lanes.c the list of lanes in it. These two and
 * loader.c are the only sources that know libconfig.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_LOADER_H
#define MQTT_SPOOLD_DAEMON_CONFIG_LOADER_H

#include <libconfig.h>

#include "base/log.h"
#include "daemon/config/table.h"

struct config_loader {
    const char *path;
    const char *folder; /* of path: where includes are */
    struct config *config;
    char *error;
    /* What the file holds, by row of the table; NULL: nothing, the default stands. */
    const config_setting_t *found[CONFIG_KEYS_MAX];
};

/*
 * Writes the file's name to the front of the error. @included: as libconfig
 * has it, NULL for the main file; version 1.5 leaves the folder out, others
 * put it in front.
 */
size_t config_put_file(const struct config_loader *loader, const char *included);
/* Writes the error, which names the place of @at (NULL: the file only). Return: -EINVAL. */
int PRINTF_LIKE(4, 5) config_fail(const struct config_loader *loader,
                                  const config_setting_t *at,
                                  const char *key,
                                  const char *format,
                                  ...);
int config_refuse_unknown(const struct config_loader *loader,
                          const config_setting_t *setting,
                          const char *path);

/* Where the value of @key stands. @target: what the offset of @key counts from. */
void *config_member(void *target, const struct config_key *key);

/*
 * config_take() - read, check and store one setting
 * @target: what the offset of @key counts from
 *
 * Return: 0; -EINVAL: the error says why; -ENOMEM.
 */
MUST_CHECK int config_take(const struct config_loader *loader,
                           void *target,
                           const struct config_key *key,
                           const config_setting_t *setting);
/* Does nothing where the key has no default. */
MUST_CHECK int config_take_default(const struct config_loader *loader,
                                   void *target,
                                   const struct config_key *key);
void config_free_texts(char **texts, size_t count);

/* lanes.c; after all else was read, for a lane takes over what retention says. */
MUST_CHECK int config_take_lanes(const struct config_loader *loader);
void config_free_lanes(struct config *config);

#endif
