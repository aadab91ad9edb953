/* SPDX-License-Identifier: MIT */
/*
 * loader.h - inside the configuration module: reads settings by the table
 *
 * config.c reads the files with it, lanes.c the list of lanes, access.c that of access,
 * unused.c looks at both, and print.c writes what was read. These five and loader.c are the
 * only sources that use libconfig.
 *
 * Invariant: what the target holds is whole after each call, also after a failure.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_LOADER_H
#define MQTT_SPOOLD_DAEMON_CONFIG_LOADER_H

#include <libconfig.h>
#include <limits.h>

#include "base/attr.h"
#include "daemon/config/config.h"
#include "daemon/config/sources.h"
#include "daemon/config/table.h"

#define CONFIG_SHOWN_MAX 96 /* bytes of a wrong value that an error repeats */

/* One of the files, as libconfig has parsed it. */
struct config_source {
    const char *path; /* borrowed; the root of what was parsed has it as its hook */
    config_t parsed;
};

struct config_loader {
    const char *path;      /* of the main file */
    char folder[PATH_MAX]; /* of path; includes are relative to it */
    struct config_paths paths;
    struct config_source *sources; /* up to CONFIG_SOURCES_MAX, in the order of reading */
    size_t source_count;
    size_t bytes; /* of the files read so far */
    struct config *config;
    char *error;
    bool is_test;              /* ask the system, too: does what the keys name exist? */
    const char *const *needed; /* NULL: all; else other wrong settings are passed over */
    char passed_over[CONFIG_ERROR_MAX]; /* the error of the first of these; "": none */
    char **ret_text;                    /* of config_print(); NULL: nothing is printed */
    /* The settings of the files, the last of each, by row of the table; NULL: none, the default
     * applies. */
    const config_setting_t *found[CONFIG_KEYS_MAX];
};

/*
 * config_put_file() - write the name of a file
 * @source:   NULL: the main file
 * @included: as reported by libconfig, NULL for the file of the source itself; version 1.5
 *            leaves the folder out, others put it in front
 */
void config_put_file(const struct config_loader *loader,
                     const char *source,
                     const char *included,
                     char text[static CONFIG_ERROR_MAX]);
/* The same of a setting, with its line: "FILE:LINE". */
void config_put_place(const struct config_loader *loader,
                      const config_setting_t *at,
                      char text[static CONFIG_ERROR_MAX]);
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

/*
 * print.c: the whole configuration in the form of a file, with where each value is from
 * @defaults: what applies without any file
 * @ret:      terminated; the caller frees it
 *
 * To be called last, when all is read, checked and expanded. Return: 0; -ENOMEM.
 */
MUST_CHECK int
config_put_all(const struct config_loader *loader, const struct config *defaults, char **ret);

/* lanes.c: reads the list of lanes. To be called last, because the limits of retention are the
 * defaults of a lane. */
MUST_CHECK int config_take_lanes(const struct config_loader *loader);
void config_free_lanes(struct config *config);

/* access.c: the same for the access list. */
MUST_CHECK int config_take_access(const struct config_loader *loader);
void config_free_access(struct config *config);

/* unused.c: fills the warnings of the configuration. To be called when both lists are read.
 * Return: 0; -ENOMEM. */
MUST_CHECK int config_find_unused(const struct config_loader *loader);

#endif
