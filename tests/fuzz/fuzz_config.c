/* SPDX-License-Identifier: MIT */
/*
 * fuzz_config.c - fuzz target of the configuration: scanner, libconfig, table and checks
 *
 * The input is a file. It is either accepted, and then every value keeps what
 * config.h and the table promise and what config_print() writes is the same configuration, or
 * refused with one line that names the file. A broken promise aborts.
 *
 * Built twice: with libFuzzer, and with replay.c over the corpus.
 */
#include "tests/fuzz/promise.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/config/config.h"

const char *__lsan_default_suppressions(void);

/* libconfig 1.5 leaks the text it was reading when a file ends inside of it. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

/* It may quote bytes of the file; the visible form has none that a terminal obeys. */
static void error_is_one_line_about(const char *error, const char *path)
{
    char shown[8 * CONFIG_ERROR_MAX];

    PROMISE(memchr(error, '\0', CONFIG_ERROR_MAX) != NULL);
    PROMISE(strncmp(error, path, strlen("/proc/self/fd/")) == 0);
    PROMISE(text_show(shown, sizeof(shown), error, strlen(error)) == strlen(error));
    for (const char *at = shown; *at != '\0'; at++)
        PROMISE((unsigned char)*at >= 0x20 && *at != 0x7F);
}

static void entries_of_access_are_whole(const struct config *config)
{
    PROMISE(config->access_count <= CONFIG_ACCESS_MAX);
    for (size_t i = 0; i < config->access_count; i++) {
        const struct config_access *access = &config->access[i];
        const char *name = access->user ? access->user : access->group;

        PROMISE(!access->user != !access->group);
        PROMISE((access->whom == CONFIG_ACCESS_ANY) == (strcmp(name, "*") == 0));
        PROMISE(access->id != UINT32_MAX && access->publish_count <= 64);
        PROMISE(access->max_clients <= 65536 && access->rate <= 1000000);
    }
}

static void values_are_in_range(const struct config *config)
{
    PROMISE(config->uplink.broker_count >= 1 && config->uplink.broker_count <= 16);
    for (size_t i = 0; i < config->uplink.broker_count; i++)
        PROMISE(strstr(config->uplink.brokers[i], "://") != NULL);
    PROMISE(config->uplink.client_id[0] != '\0' && strlen(config->uplink.client_id) <= 65535);
    PROMISE(config->uplink.protocol == 0 || config->uplink.protocol == 4 ||
            config->uplink.protocol == 5);
    PROMISE(config->uplink.window >= 1 && config->uplink.window <= 10000);
    PROMISE(config->uplink.max_qos <= 2);
    PROMISE(config->uplink.backoff_min_ms <= config->uplink.backoff_max_ms);
    PROMISE(strpbrk(config->uplink.topic_prefix, "+#") == NULL);
    PROMISE(config->spool.directory[0] == '/');
    PROMISE(config->listen.socket[0] == '/' && strlen(config->listen.socket) < 108);
    PROMISE(config->listen.mode <= 0777);
    PROMISE(config->listen.max_packet <= UINT64_C(256) << 20);
    PROMISE(config->retention.max_messages >= 1 && config->retention.max_age_ms >= 1000);
    PROMISE(config->log_level >= 3 && config->log_level <= 7);
    entries_of_access_are_whole(config);
}

/* -EINVAL: the system lacks what the file names, such as a group. */
static void what_is_printed_is_read_again(const char *path, const struct config *config)
{
    AUTO_CLOSE int fd = memfd_create("printed", MFD_CLOEXEC);
    AUTO_FREE char *text = NULL;
    struct config *again = NULL;
    char error[CONFIG_ERROR_MAX];
    char restarts[CONFIG_RESTARTS_MAX];
    char printed[64];

    if (config_print(path, &text, error) != 0)
        return;
    PROMISE(fd >= 0);
    PROMISE(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)snprintf(printed, sizeof(printed), "/proc/self/fd/%d", fd);
    PROMISE(config_load(printed, &again, error) == 0);
    PROMISE(config_needs_restart(config, again, restarts) == 0);
    PROMISE(config->lane_count == again->lane_count);
    PROMISE(config->access_count == again->access_count);
    config_free(again);
}

static void units_of_a_text(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = strndup((const char *)data, size);
    uint64_t number;

    PROMISE(text);
    if (config_parse_size(text, &number) || config_parse_time(text, &number))
        PROMISE(text[0] >= '0' && text[0] <= '9');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
    struct config *config = NULL;
    char error[CONFIG_ERROR_MAX];
    char restarts[CONFIG_RESTARTS_MAX];
    char path[64];
    int result;

    PROMISE(fd >= 0);
    PROMISE(write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    result = config_load(path, &config, error);
    PROMISE(result == 0 || result == -EINVAL);
    if (result == 0)
        values_are_in_range(config);
    else
        error_is_one_line_about(error, path);
    if (result == 0) {
        PROMISE(config_needs_restart(config, config, restarts) == 0);
        what_is_printed_is_read_again(path, config);
    }
    config_free(config);
    units_of_a_text(data, size);
    return 0;
}
