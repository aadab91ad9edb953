/* SPDX-License-Identifier: MIT */
/*
 * access.c - the access list: who may do what
 *
 * Names of users and groups are resolved here, once, because a name service may be another
 * process or machine: at accept only numbers are compared. A name of digits is a number, or it
 * is refused.
 *
 * A name that does not exist is an error: its entry would fit no program, and the next one
 * that does may allow more.
 *
 * Invariant: an entry is for all, for one user or for one group.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/loader.h"
#include "daemon/config/table.h"

/* Of what a name service has about one name; a group has its members, too. */
#define LOOKUP_FIRST 4096
#define LOOKUP_MAX   ((size_t)16 * 1024 * 1024)

/* One attempt with @size bytes. Return: 0; ENOENT: no such name; ERANGE: more memory is
 * needed; another errno. */
typedef int config_account_fn(const char *name, char *memory, size_t size, unsigned *ret_id);

static int config_account_user(const char *name, char *memory, size_t size, unsigned *ret_id)
{
    struct passwd entry, *found = NULL;
    int error = getpwnam_r(name, &entry, memory, size, &found);

    if (found)
        *ret_id = entry.pw_uid;
    return error == 0 && !found ? ENOENT : error;
}

static int config_account_group(const char *name, char *memory, size_t size, unsigned *ret_id)
{
    struct group entry, *found = NULL;
    int error = getgrnam_r(name, &entry, memory, size, &found);

    if (found)
        *ret_id = entry.gr_gid;
    return error == 0 && !found ? ENOENT : error;
}

static int
config_try_account(config_account_fn *lookup, const char *name, size_t size, unsigned *ret_id)
{
    AUTO_FREE char *memory = malloc(size);

    return memory ? lookup(name, memory, size, ret_id) : ENOMEM;
}

static int config_find_account(config_account_fn *lookup, const char *name, unsigned *ret_id)
{
    int error = ERANGE;

    for (size_t size = LOOKUP_FIRST; error == ERANGE && size <= LOOKUP_MAX; size *= 4)
        error = config_try_account(lookup, name, size, ret_id);
    return error;
}

/* All errors that getpwnam(3) says may mean that there is no such name. */
static bool config_is_unknown_name(int error)
{
    return error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static int config_resolve_access(const struct config_loader *loader,
                                 const config_setting_t *group,
                                 struct config_access *access)
{
    bool is_user = access->user != NULL;
    const char *name = is_user ? access->user : access->group;
    const char *key = is_user ? "access.user" : "access.group";
    const config_setting_t *at = config_setting_get_member(group, is_user ? "user" : "group");
    int error;

    if (strcmp(name, "*") == 0) {
        access->whom = CONFIG_ACCESS_ANY;
        return 0;
    }
    access->whom = is_user ? CONFIG_ACCESS_USER : CONFIG_ACCESS_GROUP;
    if (loader->needed)
        return 0; /* a tool that decides nothing by it must not wait for a name service */
    if (config_parse_account(name, &access->id))
        return 0;
    error = config_find_account(is_user ? config_account_user : config_account_group, name,
                                &access->id);
    if (error == 0)
        return 0;
    if (error == ENOMEM)
        return -ENOMEM;
    if (config_is_unknown_name(error))
        return config_fail(
            loader, at, key,
            "there is no %s \"%.*s\"; create it (%s), correct the name, or write "
            "its number",
            is_user ? "user" : "group", text_prefix_size(name, CONFIG_SHOWN_MAX), name,
            is_user ? "useradd" : "groupadd");
    return config_fail(loader, at, key,
                       "\"%.*s\" cannot be looked up (%s); look at the name service "
                       "(nsswitch.conf), or write its number",
                       text_prefix_size(name, CONFIG_SHOWN_MAX), name, strerror(error));
}

static int config_take_entry(const struct config_loader *loader,
                             const config_setting_t *group,
                             struct config_access *access)
{
    int result =
        config_take_keys(loader, group, access, config_access_keys, config_access_key_count);

    if (result != 0)
        return result;
    if (!access->user && !access->group)
        return config_fail(loader, group, "access.user",
                           "missing; each entry needs a user or a group, such as user = "
                           "\"sensors\"; \"*\" is for all");
    if (access->user && access->group)
        return config_fail(loader, config_setting_get_member(group, "group"), "access.group",
                           "stands beside a user: an entry is for one of the two, so write two "
                           "entries");
    return config_resolve_access(loader, group, access);
}

int config_take_access(const struct config_loader *loader)
{
    struct config *config = loader->config;
    const config_setting_t *list = loader->found[config_key_index(config_key_find("access"))];
    int count = list ? config_setting_length(list) : 0;
    int result = 0;

    if (count == 0)
        return 0;
    config->access = calloc((size_t)count, sizeof(*config->access));
    if (!config->access)
        return -ENOMEM;
    for (int i = 0; i < count && result == 0; i++) {
        const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);

        if (!config_setting_is_group(group))
            return config_fail(
                loader, group, "access",
                "each entry must be a group such as { user = \"sensors\"; publish "
                "= ( \"plant/#\" ); }");
        config->access_count++;
        result = config_take_entry(loader, group, &config->access[i]);
    }
    return result;
}

void config_free_access(struct config *config)
{
    for (size_t i = 0; i < config->access_count; i++) {
        struct config_access *access = &config->access[i];

        free(access->user);
        free(access->group);
        config_free_texts(access->publish, access->publish_count);
    }
    free(config->access);
    config->access = NULL;
    config->access_count = 0;
}
