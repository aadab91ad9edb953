/* SPDX-License-Identifier: MIT */
/*
 * step_mqtt.c - CONNECT, what the broker announces, and a message of QoS 1
 *
 * The configured client id with "-doctor" is used: a broker ends the connection of a client if
 * another one comes with its id, and the daemon may be connected.
 */
#include "base/text.h"
#include "base/view.h"
#include "cli/cli.h"
#include "cli/doctor/broker.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/mqtt_probe.h"
#include "cli/doctor/net.h"
#include "cli/doctor/record.h"
#include "cli/doctor/stream.h"
#include "cli/doctor/tls_probe.h"
#include "daemon/config/config.h"
#include "daemon/uplink/secret.h"
#include "daemon/uplink/settings.h"
#include "store/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SLACK_MS = 5000, FIRST_FAILURE = 0x80, NO_SUBSCRIBERS = 0x10, CODES_3_1_1 = 6 };
/* Bytes of a PUBLISH besides topic and payload, generously. */
enum { PACKET_SLACK = 512 };
enum { USE_ANOTHER_SERVER = 0x9C, SERVER_MOVED = 0x9D };
#define ID_MAX 1024

#define WAIT "the broker is busy or stops: try again"

static const struct {
    uint8_t code;
    const char *text;
    const char *remedy;
} codes[] = {
    {0x84, "unsupported protocol version", "set uplink.protocol to what the broker speaks"},
    {0x85, "client id not valid",
     "the broker accepts only certain client ids: stop the daemon and repeat this with "
     "--client-id and the configured one"},
    {0x86, "bad user name or password", "correct uplink.username and uplink.password_file"},
    {0x87, "not authorized",
     "correct uplink.username, uplink.password_file or the client certificate, or let the broker "
     "allow this client id and topic; if it allows the daemon's only, stop the daemon and use "
     "--client-id"},
    {0x88, "server unavailable", WAIT},
    {0x89, "server busy", WAIT},
    {0x8A, "banned", "let the broker unban this client"},
    {0x8C, "bad authentication method", "the daemon has user name, password and certificate"},
    {0x90, "topic name invalid", "the broker does not accept this topic: name another one"},
    {0x95, "packet too large", "raise the packet size that the broker takes"},
    {0x97, "quota exceeded", "raise the quota at the broker, or wait"},
    {USE_ANOTHER_SERVER, "use another server",
     "add that server to uplink.brokers if you know it, else ask who runs the broker"},
    {SERVER_MOVED, "server moved",
     "name that server in uplink.brokers in the place of this one if you know it, else ask who "
     "runs the broker"},
    {0x9F, "connection rate exceeded", WAIT},
};

static size_t find_code(uint8_t code)
{
    size_t i = 0;

    while (i < sizeof(codes) / sizeof(codes[0]) && codes[i].code != code)
        i++;
    return i;
}

static const char *remedy_of(size_t found, const struct mqtt_probe_words *words)
{
    if (found == sizeof(codes) / sizeof(codes[0]))
        return "look at the log of the broker";
    if (words->reference[0] == '\0' &&
        (codes[found].code == USE_ANOTHER_SERVER || codes[found].code == SERVER_MOVED))
        return "the broker names none: ask who runs the broker for the server, and name it in "
               "uplink.brokers";
    return codes[found].remedy;
}

static void add_code(struct broker_walk *walk,
                     const char *what,
                     uint8_t code,
                     const struct mqtt_probe_words *words)
{
    size_t found = find_code(code);
    bool is_known = found < sizeof(codes) / sizeof(codes[0]);
    bool has_reason = words->reason[0] != '\0';

    doctor_add(walk->work, DOCTOR_FAILED, remedy_of(found, words),
               "the broker refuses %s: %s (code 0x%02X)%s%s%s%s%s", what,
               is_known ? codes[found].text : "unknown reason", code, has_reason ? ": \"" : "",
               words->reason, has_reason ? "\"" : "",
               words->reference[0] != '\0' ? "; it refers to " : "", words->reference);
}

/* The return codes of 3.1.1, as the code of version 5 that means the same. */
static uint8_t code_of_3_1_1(uint8_t code)
{
    static const uint8_t same[CODES_3_1_1] = {0, 0x84, 0x85, 0x88, 0x86, 0x87};

    return code < CODES_3_1_1 ? same[code] : code;
}

static void report_no_answer(struct broker_walk *walk, const char *what, int result)
{
    const char *tls_error = walk->stream.tls ? tls_probe_error(walk->stream.tls) : "";

    if (result == -ETIMEDOUT)
        doctor_add(walk->work, DOCTOR_FAILED,
                   "check that this is a port for MQTT, and look at the broker",
                   "connected, but no %s within %u ms", what, broker_timeout_ms(walk));
    else if (result == -EBADMSG)
        doctor_add(walk->work, DOCTOR_FAILED, "check that this is a port for MQTT",
                   "the answer is no %s of MQTT", what);
    else if (result == -EPROTO)
        doctor_add(walk->work, DOCTOR_FAILED,
                   "if the broker wants a client certificate: set uplink.tls.cert_file and "
                   "key_file to one that it accepts",
                   "the broker ended TLS: %s", tls_error);
    else
        doctor_add(walk->work, DOCTOR_FAILED,
                   walk->place.is_tls
                       ? "look at the log of the broker"
                       : "if this is a port for TLS, write ssl:// in uplink.brokers; else look "
                         "at the log of the broker",
                   "the connection ended before a %s: %s", what,
                   result == -ECONNRESET ? "the broker closed it" : strerror(-result));
}

/* The daemon's own session must not end for this. */
static bool may_use_id(const struct broker_walk *walk, const char *id)
{
    const struct config *config = walk->work->config;
    const char *directory = config->spool.directory;

    if (strcmp(id, config->uplink.client_id) != 0)
        return true;
    return cli_may_read(directory) && !spool_is_in_use(directory) && cli_daemon_pid() == 0;
}

/* Another connection to the address that was good before, without reports. */
static int connect_again(struct broker_walk *walk)
{
    const struct uplink_settings *uplink = &walk->work->config->uplink;
    int64_t give_up_ms = net_now_ms() + broker_timeout_ms(walk);
    struct tls_probe_seen seen;

    stream_close(&walk->stream);
    walk->stream.fd = net_connect(walk->chosen, give_up_ms);
    if (walk->stream.fd < 0 || !walk->place.is_tls)
        return walk->stream.fd < 0 ? walk->stream.fd : 0;
    if (uplink->tls.key_password_file[0] == '\0' ||
        secret_read(uplink->tls.key_password_file, &walk->secret) < 0)
        walk->secret.text[0] = '\0';
    return tls_probe_open(walk->stream.fd, walk->place.host, &uplink->tls, walk->secret.text,
                          give_up_ms, &walk->stream.tls, &seen);
}

static int try_connect(struct broker_walk *walk, struct mqtt_probe_connect *connect)
{
    const char *file = walk->work->config->uplink.password_file;
    int result;

    connect->password = view_of(NULL, 0);
    if (file[0] != '\0') {
        result = secret_read(file, &walk->secret);
        if (result < 0)
            return result;
        connect->password = view_of(walk->secret.text, walk->secret.size);
    }
    result = mqtt_probe_connect(&walk->stream, connect, net_now_ms() + broker_timeout_ms(walk),
                                &walk->connack);
    explicit_bzero(&walk->secret, sizeof(walk->secret));
    walk->version = connect->version;
    return result;
}

/* As the daemon does with uplink.protocol = "auto". */
static bool speaks_older(const struct broker_walk *walk, int result)
{
    if (walk->work->config->uplink.protocol != 0 || walk->version != 5)
        return false;
    return result == -ECONNRESET || result == -EBADMSG ||
           (result == 0 && (walk->connack.code == 1 || walk->connack.code == 0x84));
}

static bool is_password_readable(struct broker_walk *walk)
{
    const char *file = walk->work->config->uplink.password_file;
    int result = file[0] != '\0' ? secret_read(file, &walk->secret) : 0;

    explicit_bzero(&walk->secret, sizeof(walk->secret));
    if (result == 0)
        return true;
    doctor_add(walk->work, DOCTOR_SKIPPED, "see the step rights; run this as root",
               "the password in %s cannot be read here", file);
    return false;
}

static bool report_connack(struct broker_walk *walk, const char *id, int result)
{
    uint8_t code = walk->version == 5 ? walk->connack.code : code_of_3_1_1(walk->connack.code);

    if (result < 0) {
        report_no_answer(walk, "CONNACK", result);
        return false;
    }
    if (code != 0) {
        add_code(walk, "the CONNECT", code, &walk->connack.words);
        return false;
    }
    doctor_add(walk->work, DOCTOR_OK, "", "accepted as client %s with MQTT %s%s", id,
               walk->version == 5 ? "5" : "3.1.1",
               walk->connack.has_session ? "; it had a session of this id" : "");
    return true;
}

bool broker_connect_mqtt(struct broker_walk *walk)
{
    const struct uplink_settings *uplink = &walk->work->config->uplink;
    struct mqtt_probe_connect connect = {.version = uplink->protocol == 4 ? 4 : 5,
                                         .username = uplink->username};
    char id[ID_MAX];
    int result;

    doctor_begin(walk->work, DOCTOR_CONNECT, 4 * broker_timeout_ms(walk) + SLACK_MS);
    if (walk->work->client_id)
        text_format(id, sizeof(id), "%s", walk->work->client_id);
    else
        text_format(id, sizeof(id), "%s-doctor", uplink->client_id);
    if (!may_use_id(walk, id)) {
        doctor_add(walk->work, DOCTOR_SKIPPED, "stop the daemon, or leave --client-id out",
                   "a second client %s would end the connection of the daemon", id);
        return false;
    }
    if (!is_password_readable(walk))
        return false;
    connect.client_id = id;
    result = try_connect(walk, &connect);
    if (speaks_older(walk, result)) {
        connect.version = 4;
        result = connect_again(walk);
        if (result == 0)
            result = try_connect(walk, &connect);
    }
    return report_connack(walk, id, result);
}

static void
describe_announced(const struct mqtt_probe_connack *connack, char *text, size_t size)
{
    text_format(text, size, "Receive Maximum %u, Maximum QoS %u, Topic Alias Maximum %u, ",
                connack->receive_maximum, connack->maximum_qos, connack->alias_maximum);
    if (connack->maximum_packet == 0)
        text_append(text, size, "no limit of the packet size, ");
    else
        text_append(text, size, "Maximum Packet Size %" PRIu32 ", ", connack->maximum_packet);
    text_append(text, size, "retained messages %s", connack->has_retain ? "yes" : "no");
    if (connack->has_keepalive)
        text_append(text, size, ", Server Keep Alive %u s", connack->keepalive_s);
    if (connack->client_id[0] != '\0')
        text_append(text, size, ", assigned client id %s", connack->client_id);
}

void broker_report_announced(struct broker_walk *walk)
{
    const struct config *config = walk->work->config;
    const struct mqtt_probe_connack *connack = &walk->connack;
    char text[DOCTOR_SEEN_MAX];

    doctor_begin(walk->work, DOCTOR_ANNOUNCED, DOCTOR_STEP_MS);
    if (walk->version != 5) {
        doctor_add(walk->work, DOCTOR_SKIPPED, "", "a broker of MQTT 3.1.1 announces nothing");
        return;
    }
    describe_announced(connack, text, sizeof(text));
    doctor_add(walk->work, DOCTOR_OK, "", "%s", text);
    if (connack->maximum_packet > 0 &&
        connack->maximum_packet < config->listen.max_packet + PACKET_SLACK)
        doctor_add(walk->work, DOCTOR_WARNING,
                   "raise the packet size that the broker takes, or lower listen.max_packet",
                   "messages of listen.max_packet (%" PRIu64 " byte%s) are larger than the "
                   "broker takes, and would be rejected",
                   config->listen.max_packet, cli_plural(config->listen.max_packet));
    if (!connack->has_retain && config->uplink.has_retain)
        doctor_add(walk->work, DOCTOR_WARNING, "set uplink.retain = false",
                   "the broker keeps no retained messages");
    if (connack->maximum_qos < config->uplink.max_qos && connack->maximum_qos == 0)
        doctor_add(walk->work, DOCTOR_WARNING, "use a broker with QoS 1",
                   "the broker takes QoS 0 only: nothing shows whether a message arrived");
}

static void
report_puback(struct broker_walk *walk, const struct mqtt_probe_puback *puback, int64_t took_ms)
{
    if (puback->is_disconnect)
        add_code(walk, "the message with a DISCONNECT", puback->code, &puback->words);
    else if (puback->code >= FIRST_FAILURE)
        add_code(walk, "the message", puback->code, &puback->words);
    else
        doctor_add(walk->work, DOCTOR_OK, "",
                   "a message of QoS 1 to %s was acknowledged after %" PRId64 " ms%s",
                   walk->work->probe, took_ms,
                   puback->code == NO_SUBSCRIBERS ? "; it had no subscriber" : "");
}

void broker_send_probe(struct broker_walk *walk)
{
    struct mqtt_probe_puback puback;
    int64_t from_ms = net_now_ms();
    int result;

    doctor_begin(walk->work, DOCTOR_PROBE, broker_timeout_ms(walk) + SLACK_MS);
    if (!walk->work->probe) {
        doctor_add(walk->work, DOCTOR_SKIPPED, "", "no --probe TOPIC was given");
    } else if (walk->version == 5 && walk->connack.maximum_qos == 0) {
        doctor_add(walk->work, DOCTOR_SKIPPED, "", "the broker takes QoS 0 only");
    } else {
        result =
            mqtt_probe_publish(&walk->stream, walk->version, walk->work->probe,
                               "mqtt-spool doctor", from_ms + broker_timeout_ms(walk), &puback);
        if (result < 0)
            report_no_answer(walk, "PUBACK", result);
        else
            report_puback(walk, &puback, net_now_ms() - from_ms);
    }
    mqtt_probe_disconnect(&walk->stream, net_now_ms() + broker_timeout_ms(walk));
}
