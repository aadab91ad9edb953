/* SPDX-License-Identifier: MIT */
/*
 * loader.h - inside the configuration module: reads settings by the table
 *
 * config.c reads the file with it, lanes.c the list of lanes, access.c that of access.
 * These three and loader.c are the only sources that use libconfig.
 *
 * Invariant: what the target holds is whole after each call, also after a failure.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_LOADER_H
#define MQTT_SPOOLD_DAEMON_CONFIG_LOADER_H

#include <libconfig.h>
#include <limits.h>

#include "base/attr.h"
#include "daemon/config/config.h"
#include "daemon/config/table.h"

#define CONFIG_SHOWN_MAX 96 /* bytes of a wrong value that an error repeats */

struct config_loader {
    const char *path;
    char folder[PATH_MAX]; /* of path; includes are relative to it */
    struct config *config;
    char *error;
    bool is_test;              /* ask the system, too: does what the keys name exist? */
    const char *const *needed; /* NULL: all; else other wrong settings are passed over */
    char passed_over[CONFIG_ERROR_MAX]; /* the error of the first of these; "": none */
    /* The settings of the file, by row of the table; NULL: none, the default applies. */
    const config_setting_t *found[CONFIG_KEYS_MAX];
};

/* Begins the error with the name of the file. @included: as reported by libconfig, NULL for the
 * main file; version 1.5 leaves the folder out, others put it in front. */
void config_put_file(const struct config_loader *loader, const char *included);
/* Writes the error, with the file and line of @at (NULL: the file only). Return: -EINVAL. */
int PRINTF_LIKE(4, 5) config_fail(const struct config_loader *loader,
                                  const config_setting_t *at,
                                  const char *key,
                                  const char *format,
                                  ...);
/* Writes the error for an unknown key, with the nearest known one. Return: -EINVAL. */
int config_refuse_unknown(const struct config_loader *loader,
                          const config_setting_t *setting,
                          const char *path);

/* The member of @key. @target: the structure that the offset of @key refers to. */
void *config_member(void *target, const struct config_key *key);

/*
 * config_take() - read, check and store one setting
 * @target: the structure that the offset of @key refers to
 *
 * Return: 0; -EINVAL: the error was written; -ENOMEM.
 */
MUST_CHECK int config_take(const struct config_loader *loader,
                           void *target,
                           const struct config_key *key,
                           const config_setting_t *setting);
/* As config_take(), of the default; does nothing if the key has none. */
MUST_CHECK int config_take_default(const struct config_loader *loader,
                                   void *target,
                                   const struct config_key *key);
/* The defaults of all @keys, then the settings of @group, an element of their list. Return: as
 * config_take(). */
MUST_CHECK int config_take_keys(const struct config_loader *loader,
                                const config_setting_t *group,
                                void *target,
                                const struct config_key *keys,
                                size_t key_count);
void config_free_texts(char **texts, size_t count);

/* lanes.c: reads the list of lanes. To be called last, because the limits of retention are the
 * defaults of a lane. */
MUST_CHECK int config_take_lanes(const struct config_loader *loader);
void config_free_lanes(struct config *config);

/* access.c: the same for the access list. */
MUST_CHECK int config_take_access(const struct config_loader *loader);
void config_free_access(struct config *config);

#endif
