/* SPDX-License-Identifier: MIT */
/*
 * sources.h - inside the configuration module: which files a configuration is made of
 *
 * The main file, and then all regular files NAME.conf in the folder conf.d beside it, in the
 * order of the bytes of their names. Other endings are mostly those of editors and package
 * managers: they are passed over, and noted. Names that begin with a dot are not even noted.
 *
 * Opening waits for no other process; a file system may. Logs nothing. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_SOURCES_H
#define MQTT_SPOOLD_DAEMON_CONFIG_SOURCES_H

#include <stddef.h>

#include "base/attr.h"
#include "daemon/config/config.h"

#define CONFIG_DROPINS_MAX       64 /* files of conf.d */
#define CONFIG_SOURCES_MAX       (1 + CONFIG_DROPINS_MAX)
#define CONFIG_SOURCES_BYTES_MAX ((size_t)4 * 1024 * 1024) /* of all, without @include */
#define CONFIG_DROPIN_ENTRIES    1000 /* names of the folder that are looked at */

struct config_paths {
    char *paths[CONFIG_SOURCES_MAX]; /* the main file first */
    size_t count;
};

/*
 * config_list_paths() - the files in the order in which they are read
 * @folder: of the main file
 * @error:  set with -EINVAL
 * @ret:    free with config_free_paths(), also after a failure
 * @unread: empty; gets what is passed over. Free it with config_free_unread(), also after a
 *          failure
 *
 * Return: 0; -EINVAL: the folder cannot be read, or has too many files; -ENOMEM.
 */
MUST_CHECK int config_list_paths(const char *path,
                                 const char *folder,
                                 struct config_paths *ret,
                                 struct config_unread *unread,
                                 char error[static CONFIG_ERROR_MAX]);
void config_free_paths(struct config_paths *paths);
void config_free_unread(struct config_unread *unread);

#endif
