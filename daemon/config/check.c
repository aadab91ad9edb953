/* SPDX-License-Identifier: MIT */
/*
 * check.c - checks single values, and whether the values go together
 *
 * Checks beyond a range. Each returns a text that begins with "must" or "needs"
 * and names the remedy, because it is all that the operator reads. No other file
 * is read here except the machine id: keys and certificates are read when the
 * link is made, because they change while the daemon runs.
 */
#include "daemon/config/table.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "store/spool.h"

#define BROKER_BYTES_MAX  255
#define MACHINE_ID_DIGITS 32
#define EXPANDED_MAX      MQTT_TEXT_MAX /* of the client id */
#define HOST_NAME_BYTES   256

#define TEXT_OF_(number) #number
#define TEXT_OF(number)  TEXT_OF_(number)

/* "" means "none" where a key allows it. */
const char *config_check_absolute(const char *text)
{
    return text[0] == '\0' || text[0] == '/' ? NULL : "must be an absolute path";
}

/* %d: see credentials.c. */
const char *config_check_read_file(const char *text)
{
    bool is_credential = strncmp(text, "%d/", 3) == 0 && text[3] != '\0';

    return is_credential || !config_check_absolute(text)
               ? NULL
               : "must be an absolute path, or %d/NAME for a credential of the unit";
}

const char *config_check_alpn(const char *text)
{
    for (const char *at = text; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || *at == ',')
            return "must be the name of one protocol, as in \"x-amzn-mqtt-ca\"";
    return NULL;
}

const char *config_check_directory(const char *text)
{
    if (strlen(text) > SPOOL_DIRECTORY_MAX)
        return "must be at most " TEXT_OF(
            SPOOL_DIRECTORY_MAX) " bytes, SQLite's limit for paths";
    return config_check_absolute(text);
}

const char *config_check_socket(const char *text)
{
    const struct sockaddr_un *address = NULL;

    if (text[0] != '/')
        return "must be an absolute path";
    if (strlen(text) >= sizeof(address->sun_path))
        return "must be shorter than 108 bytes, the kernel's limit for a socket's path";
    return NULL;
}

const char *config_check_mqtt_text(const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);

    while (left > 0) {
        size_t size = utf8_character_size(at, left);

        if (size == 0)
            return "must be valid UTF-8";
        if (*at < 0x20 || *at == 0x7F)
            return "must not hold control characters";
        at += size;
        left -= size;
    }
    return NULL;
}

const char *config_check_proxy(const char *text)
{
    (void)text;
    return "cannot be used: the MQTT library waits for a proxy for up to 10 s with all calls "
           "locked, and does not read its answer to the end; connect to a tunnel instead, such as "
           "socat TCP-LISTEN:8883,bind=127.0.0.1,fork PROXY:HOST:BROKER:8883";
}

const char *config_check_prefix(const char *text)
{
    if (strpbrk(text, "+#") != NULL)
        return "must not hold the wildcards + and #";
    if (packet_topic_is_of_broker(text))
        return "must not begin with $SYS/: a broker keeps these topics for itself";
    const char *wrong = config_check_mqtt_text(text);

    if (wrong || text[0] == '\0')
        return wrong;
    return packet_topic_is_valid(view_of_text(text)) ? NULL
                                                     : "must not hold control characters";
}

const char *config_check_lane_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (text[strspn(text, allowed)] != '\0')
        return "must be of letters, digits, minus signs, underscores and dots";
    if (strcmp(text, "default") == 0)
        return "must be another name: this one has the lane of all other topics, whose limits "
               "are those of retention";
    return NULL;
}

const char *config_check_filter(const char *text)
{
    const char *wrong = config_check_mqtt_text(text);

    if (wrong)
        return wrong;
    if (!packet_filter_is_valid(view_of_text(text)))
        return "must be a topic filter: + stands for one whole level, # for all that follow "
               "and "
               "at the end only, as in \"+/alarm/#\"";
    if (!packet_text_is_forwardable(view_of_text(text)))
        return "must not hold control characters or non-characters: no program may publish there";
    if (text[0] == '$')
        return "must not begin with $: no program may publish there";
    return NULL;
}

bool config_parse_account(const char *text, unsigned *ret_id)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long long number;

    if (digits < 1 || digits > 10 || text[digits] != '\0' || config_has_leading_zero(text))
        return false;
    number = strtoull(text, NULL, 10); /* of ten digits: it cannot overflow */
    if (number > UINT32_MAX - 1)
        return false;
    *ret_id = (unsigned)number;
    return true;
}

const char *config_check_account(const char *text)
{
    unsigned id;

    if (text[strspn(text, "0123456789")] == '\0' && !config_parse_account(text, &id))
        return "must be a name, or a number up to 4294967294 without a leading zero";
    return config_check_mqtt_text(text);
}

int config_check_system(const struct config *config, const struct config_errors *errors)
{
    const char *group = config->listen.group;
    char why[CONFIG_ERROR_MAX];

    if (group[0] == '\0' || getgrnam(group))
        return 0;
    (void)snprintf(why, sizeof(why),
                   "there is no group \"%s\"; create it (groupadd), or correct the name",
                   group);
    return errors->refuse(errors->userdata, "listen.group", NULL, why);
}

/* @broker: with its scheme in small letters. */
static bool config_is_encrypted(const char *broker)
{
    return strncmp(broker, "ssl://", 6) == 0 || strncmp(broker, "mqtts://", 8) == 0;
}

/* The part behind the scheme; NULL: not a scheme of the uplink. */
static const char *config_skip_scheme(const char *broker)
{
    static const char *const schemes[] = {"tcp://", "mqtt://", "ssl://", "mqtts://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t size = strlen(schemes[i]);

        if (strncasecmp(broker, schemes[i], size) == 0)
            return broker + size;
    }
    return NULL;
}

static bool config_is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long port = digits >= 1 && digits <= 5 ? strtoul(text, NULL, 10) : 0;

    return text[digits] == '\0' && *text != '0' && port >= 1 && port <= 65535;
}

const char *config_check_broker(const char *text)
{
    static const char name[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    static const char address[] = "0123456789abcdefABCDEF:.";
    const char *host = config_skip_scheme(text);
    bool bracket;
    size_t size;

    if (strncasecmp(text, "ws://", 5) == 0 || strncasecmp(text, "wss://", 6) == 0)
        return "must not be a WebSocket: the MQTT library misreads an answer to the upgrade that "
               "comes in pieces or with more than 1 KiB (paho.mqtt.c issue 1688); write tcp:// "
               "or ssl://, with uplink.tls.alpn where only port 443 is open";
    if (!host)
        return "must begin with tcp://, mqtt://, ssl:// or mqtts://, as in "
               "\"ssl://broker.example:8883\"";
    if (strlen(text) > BROKER_BYTES_MAX)
        return "must not be longer than 255 bytes";
    bracket = *host == '[';
    host += bracket;
    size = strspn(host, bracket ? address : name);
    if (size == 0 && !strchr(host, '@'))
        return "must have a host behind the scheme, as in \"ssl://broker.example:8883\"";
    if (bracket && host[size++] != ']')
        return "must have an IPv6 address in the brackets, as in \"ssl://[2001:db8::1]:8883\"";
    if (strchr(host, '@'))
        return "must not hold a user name or password: set uplink.username and "
               "uplink.password_file";
    if (host[size] != '\0' && host[size] != ':')
        return "must end after HOST or HOST:PORT (an IPv6 address stands in brackets)";
    if (host[size] == ':' && !config_is_port(host + size + 1))
        return "must have a port of 1 to 65535, without a leading zero, behind the colon";
    return NULL;
}

void config_lower_schemes(struct config *config)
{
    for (size_t i = 0; i < config->uplink.broker_count; i++) {
        for (char *at = config->uplink.brokers[i]; *at != ':'; at++)
            *at = (char)tolower((unsigned char)*at);
    }
}

static const char *config_check_brokers(const struct config *config, char *why)
{
    for (size_t i = 1; i < config->uplink.broker_count; i++) {
        if (config_is_encrypted(config->uplink.brokers[i]) ==
            config_is_encrypted(config->uplink.brokers[0]))
            continue;
        (void)snprintf(why, CONFIG_ERROR_MAX,
                       "must not mix encrypted brokers (ssl://, mqtts://) and plain ones "
                       "(tcp://, mqtt://) in one list");
        return "uplink.brokers";
    }
    return NULL;
}

/* The first tls key that is not at its default; NULL: none. */
static const char *config_used_tls_key(const struct config *config)
{
    if (config->uplink.tls.ca_file[0] != '\0')
        return "uplink.tls.ca_file";
    if (config->uplink.tls.cert_file[0] != '\0')
        return "uplink.tls.cert_file";
    if (config->uplink.tls.key_file[0] != '\0')
        return "uplink.tls.key_file";
    if (config->uplink.tls.key_password_file[0] != '\0')
        return "uplink.tls.key_password_file";
    if (config->uplink.tls.alpn[0] != '\0')
        return "uplink.tls.alpn";
    if (config->uplink.tls.min_version != UPLINK_TLS_1_2)
        return "uplink.tls.min_version";
    return config->uplink.tls.verify ? NULL : "uplink.tls.verify";
}

/* No broker: their list was passed over. */
static const char *config_check_tls_use(const struct config *config, char *why)
{
    const char *used = config_used_tls_key(config);

    if (!used || config->uplink.broker_count == 0 ||
        config_is_encrypted(config->uplink.brokers[0]))
        return NULL;
    (void)snprintf(
        why, CONFIG_ERROR_MAX,
        "needs encrypted brokers, but uplink.brokers are plain: write ssl:// there or "
        "leave this out");
    return used;
}

static const char *config_check_key_files(const struct config *config, char *why)
{
    bool cert = config->uplink.tls.cert_file[0] != '\0';
    bool key = config->uplink.tls.key_file[0] != '\0';

    if (cert != key) {
        (void)snprintf(why, CONFIG_ERROR_MAX,
                       "needs uplink.tls.%s too: certificate and key come together",
                       cert ? "key_file" : "cert_file");
        return cert ? "uplink.tls.cert_file" : "uplink.tls.key_file";
    }
    if (config->uplink.tls.key_password_file[0] != '\0' && !key) {
        (void)snprintf(why, CONFIG_ERROR_MAX, "needs uplink.tls.key_file too");
        return "uplink.tls.key_password_file";
    }
    return NULL;
}

static const char *config_check_backoff(const struct config *config, char *why)
{
    char min[CLOCK_SPAN_MAX], max[CLOCK_SPAN_MAX];

    if (config->uplink.backoff_min_ms <= config->uplink.backoff_max_ms)
        return NULL;
    clock_format_span((int64_t)config->uplink.backoff_min_ms, min);
    clock_format_span((int64_t)config->uplink.backoff_max_ms, max);
    (void)snprintf(why, CONFIG_ERROR_MAX,
                   "%s must not be above uplink.backoff.max, which is %s", min, max);
    return "uplink.backoff.min";
}

static const char *config_check_stamp(const struct config *config, char *why)
{
    if (!config->uplink.has_stamp || config->uplink.protocol != 4)
        return NULL;
    (void)snprintf(why, CONFIG_ERROR_MAX,
                   "needs uplink.protocol = 5: MQTT 3.1.1 has no user properties");
    return "uplink.stamp";
}

static const char *config_check_password(const struct config *config, char *why)
{
    if (config->uplink.password_file[0] == '\0' || config->uplink.username[0] != '\0' ||
        config->uplink.protocol != 4)
        return NULL;
    (void)snprintf(
        why, CONFIG_ERROR_MAX,
        "needs uplink.username too: MQTT 3.1.1 knows no password without a user name");
    return "uplink.password_file";
}

int config_check_all(const struct config *config, const struct config_errors *errors)
{
    /* Return: NULL, or the key at fault, and @why has what is wrong. */
    static const struct {
        const char *(*check)(const struct config *config, char *why);
        const char *other; /* if the key at fault may be at its default */
    } checks[] = {
        {config_check_brokers, NULL},   {config_check_tls_use, NULL},
        {config_check_key_files, NULL}, {config_check_backoff, "uplink.backoff.max"},
        {config_check_stamp, NULL},     {config_check_password, NULL},
    };

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        char why[CONFIG_ERROR_MAX];
        const char *key = checks[i].check(config, why);
        int r = key ? errors->refuse(errors->userdata, key, checks[i].other, why) : 0;

        if (r != 0)
            return r;
    }
    return 0;
}

/* Return: NULL, or what is wrong. */
static const char *config_machine_id(char *text, size_t size)
{
    FILE *file = fopen("/etc/machine-id", "re");
    bool read;

    if (!file)
        return strerror(errno);
    read = fgets(text, (int)size, file) != NULL;
    (void)fclose(file); /* only read from */
    if (!read || strspn(text, "0123456789abcdef") != MACHINE_ID_DIGITS)
        return "it holds no machine id";
    text[MACHINE_ID_DIGITS] = '\0';
    return NULL;
}

/* The replacement of %@letter; NULL: none, @why has the reason. */
static const char *config_expand_letter(char letter, char *memory, size_t size, char *why)
{
    const char *wrong;

    if (letter == '%')
        return "%";
    if (letter == 'H') {
        if (gethostname(memory, size) == 0)
            return memory;
        (void)snprintf(why, CONFIG_ERROR_MAX, "%%H: %s", strerror(errno));
        return NULL;
    }
    if (letter == 'm') {
        wrong = config_machine_id(memory, size);
        if (wrong)
            (void)snprintf(why, CONFIG_ERROR_MAX, "%%m needs /etc/machine-id: %s", wrong);
        return !wrong ? memory : NULL;
    }
    (void)snprintf(why, CONFIG_ERROR_MAX,
                   "must hold no %% but %%H (host name), %%m (machine id) and %%%% (a percent "
                   "sign)");
    return NULL;
}

/* @text: of EXPANDED_MAX + 1 bytes. False: why has the reason. */
static bool
config_put_expanded(const char *format, char *text, char why[static CONFIG_ERROR_MAX])
{
    char memory[HOST_NAME_BYTES] = "";
    size_t used = 0;

    for (const char *at = format; *at != '\0'; at++) {
        char plain[] = {*at, '\0'};
        const char *piece = plain;

        if (*at == '%')
            piece = config_expand_letter(*++at, memory, sizeof(memory) - 1, why);
        if (!piece)
            return false;
        if (piece == memory && config_check_mqtt_text(piece) != NULL) {
            (void)snprintf(why, CONFIG_ERROR_MAX, "%%H: the host name %s",
                           config_check_mqtt_text(piece));
            return false;
        }
        if (used + strlen(piece) > EXPANDED_MAX) {
            (void)snprintf(why, CONFIG_ERROR_MAX, "must not be longer than 65535 bytes");
            return false;
        }
        memcpy(text + used, piece, strlen(piece));
        used += strlen(piece);
    }
    text[used] = '\0';
    return true;
}

int config_expand(char **text, config_check_fn *check, char why[static CONFIG_ERROR_MAX])
{
    char *expanded = malloc(EXPANDED_MAX + 1);
    char *fitted;
    const char *wrong;

    if (!expanded)
        return -ENOMEM;
    if (!config_put_expanded(*text, expanded, why)) {
        free(expanded);
        return -EINVAL;
    }
    wrong = check ? check(expanded) : NULL;
    if (wrong) {
        (void)snprintf(why, CONFIG_ERROR_MAX, "%s", wrong);
        free(expanded);
        return -EINVAL;
    }
    fitted = realloc(expanded, strlen(expanded) + 1);
    free(*text);
    *text = fitted ? fitted : expanded; /* a failed realloc() keeps the block */
    return 0;
}

static const char *config_check_not_empty(const char *text)
{
    return text[0] != '\0' ? NULL : "must not be empty";
}

int config_expand_all(struct config *config, const struct config_errors *errors)
{
    const struct {
        const char *key;
        char **text;
        config_check_fn *check;
    } texts[] = {
        {"uplink.client_id", &config->uplink.client_id, config_check_not_empty},
        {"uplink.topic_prefix", &config->uplink.topic_prefix, config_check_prefix},
        {"uplink.presence.topic", &config->uplink.presence.topic, config_check_prefix},
        {"uplink.report.topic", &config->uplink.report_topic, config_check_prefix},
        {"audit.seal_topic", &config->audit.seal_topic, config_check_prefix},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char why[CONFIG_ERROR_MAX];
        int r = config_expand(texts[i].text, texts[i].check, why);

        if (r == -EINVAL)
            r = errors->refuse(errors->userdata, texts[i].key, NULL, why);
        if (r != 0)
            return r;
    }
    return 0;
}
