/* SPDX-License-Identifier: MIT */
/*
 * credentials.c - %d in the path of a file that is read: the credentials of the unit
 *
 * systemd puts what a unit gets by LoadCredential= and the like into a folder that only
 * the daemon can read, and names it in CREDENTIALS_DIRECTORY. %d stands for it, as in
 * units.
 *
 * Without the variable the text stays as it is: the tool reads the configuration too, and
 * opens none of these files. The daemon then reports the variable, not the file.
 */
#include "daemon/config/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/uplink/settings.h"

/* Return: false: out of memory. */
static bool expand_credential(char **path, const char *folder)
{
    char *text;

    if (strncmp(*path, "%d/", 3) != 0)
        return true;
    if (asprintf(&text, "%s%s", folder, *path + 2) < 0)
        return false;
    free(*path);
    *path = text;
    return true;
}

int config_expand_credentials(struct config *config)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    struct uplink_settings *uplink = &config->uplink;

    if (!folder || folder[0] != '/')
        return 0;
    if (expand_credential(&uplink->password_file, folder) &&
        expand_credential(&uplink->tls.ca_file, folder) &&
        expand_credential(&uplink->tls.cert_file, folder) &&
        expand_credential(&uplink->tls.key_file, folder) &&
        expand_credential(&uplink->tls.key_password_file, folder))
        return 0;
    return -ENOMEM;
}
