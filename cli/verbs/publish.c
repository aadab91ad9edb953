/* SPDX-License-Identifier: MIT */
/*
 * publish.c - mqtt-spool publish: hand messages to the daemon
 *
 * The only place that knows libmosquitto: the tool speaks to the daemon as any
 * other producer does, with a client library that is not ours.
 *
 * A window of messages is in flight, each with its own answer; standard input
 * is read only while the window has room, so memory depends neither on the
 * length of the input nor on how slowly the daemon answers. The program ends
 * when each message has its answer, or when the connection ends first; then it
 * says which messages have none. The first message that fails decides the exit
 * code; the others are still sent, for each is a message of its own.
 */
#include "cli/verbs/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/read_full.h"
#include "cli/lines.h"

#define PUBLISH_WINDOW       100
#define PUBLISH_WINDOW_BYTES ((size_t)4 * 1024 * 1024)
#define KEEPALIVE_S          60
#define COMPLAINTS_MAX       10 /* more are only counted */
#define MADE_UP_ID_MAX       32
#define REASON_REFUSED       0x80 /* from here on a v5 reason code says no */

/* A message that was sent and has no answer yet. */
struct flight {
    bool open;
    int mid;
    uint64_t number; /* of the message: with -l the line */
    size_t bytes;
};

struct publisher {
    const struct publish_options *options;
    const char *socket;
    struct mosquitto *client;
    mosquitto_property *properties;
    struct lines lines;
    struct view single; /* the one message, where it does not come in lines */
    struct flight flights[PUBLISH_WINDOW];
    unsigned in_flight;
    size_t in_flight_bytes;
    bool connected;
    bool ended; /* there is nothing more to send */
    bool lost;
    bool timed_out; /* that is why: the connection stood, and nothing came */
    uint64_t sent;
    uint64_t accepted;
    unsigned complaints;
    int code; /* of the first failure; EX_OK: none */
    int64_t progress_ms;
    char *json_memory;
    size_t json_size;
};

static const struct {
    int reason;
    int code;
    const char *text;
} reasons[] = {
    {MQTT_RC_QUOTA_EXCEEDED, EX_TEMPFAIL, "quota exceeded; mqtt-spool status says why"},
    {MQTT_RC_SERVER_BUSY, EX_TEMPFAIL, "the daemon is busy; try again"},
    {MQTT_RC_SERVER_SHUTTING_DOWN, EX_TEMPFAIL, "the daemon is shutting down; try again"},
    {MQTT_RC_NOT_AUTHORIZED, EX_NOPERM, "this user may not do that"},
    {MQTT_RC_TOPIC_NAME_INVALID, EX_DATAERR, "the topic name is not valid"},
    {MQTT_RC_PACKET_TOO_LARGE, EX_DATAERR,
     "the message is larger than the daemon takes (listen.max_packet)"},
    {MQTT_RC_PAYLOAD_FORMAT_INVALID, EX_DATAERR,
     "the payload is not the UTF-8 it claims to be"},
    {MQTT_RC_QOS_NOT_SUPPORTED, EX_DATAERR, "the daemon does not take this QoS"},
    {MQTT_RC_RETAIN_NOT_SUPPORTED, EX_UNAVAILABLE, "the daemon takes no retained messages"},
    {MQTT_RC_CLIENTID_NOT_VALID, EX_UNAVAILABLE, "the client id (-i) is not valid"},
    {MQTT_RC_SESSION_TAKEN_OVER, EX_UNAVAILABLE, "another client came with the same id (-i)"},
    {MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION, EX_UNAVAILABLE, "the MQTT version is not supported"},
    {MQTT_RC_UNSPECIFIED, EX_UNAVAILABLE, "it gave no reason; see the daemon's journal"},
};

static int reason_exit_code(int reason)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].reason == reason)
            return reasons[i].code;
    }
    return EX_UNAVAILABLE;
}

static const char *reason_text(int reason)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].reason == reason)
            return reasons[i].text;
    }
    return mosquitto_reason_string(reason);
}

/* The one thing that nobody may publish. */
static const char *puback_text(const struct publish_options *options, int reason)
{
    return reason == MQTT_RC_NOT_AUTHORIZED && options->topic[0] == '$'
               ? "topics that begin with $ cannot be published"
               : reason_text(reason);
}

/* What fills up there are the places of clients. */
static const char *connack_text(int reason)
{
    return reason == MQTT_RC_QUOTA_EXCEEDED
               ? "it has as many clients as it takes (listen.max_clients); try again"
               : reason_text(reason);
}

static int64_t now_ms(void)
{
    struct clock_reading reading;

    clock_read(&reading);
    return reading.boot_ms;
}

static void fail(struct publisher *publisher, int code)
{
    if (publisher->code == EX_OK)
        publisher->code = code;
}

/* One line of --json. @id 0 and @reason 0: there is none. Where it cannot be written the messages
 * are sent all the same. */
static void print_json(struct publisher *publisher,
                       const struct flight *flight,
                       const char *result,
                       uint64_t id,
                       int reason,
                       const char *text)
{
    struct json json;
    int code;

    json_init(&json, publisher->json_memory, publisher->json_size);
    json_open_object(&json, NULL);
    if (id != 0)
        json_unsigned(&json, "id", id);
    json_text(&json, "topic", publisher->options->topic);
    if (publisher->options->source == PUBLISH_LINES)
        json_unsigned(&json, "line", flight->number);
    json_text(&json, "result", result);
    if (reason != 0)
        json_signed(&json, "code", reason);
    if (text)
        json_text(&json, "text", text);
    json_close_object(&json);
    code = cli_print_json(&json);
    if (code != EX_OK)
        fail(publisher, code);
}

static void
report_accepted(struct publisher *publisher, const struct flight *flight, uint64_t id)
{
    /* A message of QoS 0 has no acknowledgement: handed over is all that can be said. */
    const char *result = publisher->options->qos == 0 ? "sent" : "accepted";

    publisher->accepted++;
    if (publisher->options->json)
        print_json(publisher, flight, result, id, 0, NULL);
    else if (publisher->options->verbose && id != 0 &&
             printf("%s id=%" PRIu64 "\n", result, id) < 0)
        (void)cli_unwritten(errno);
    else if (publisher->options->verbose && id == 0 && printf("%s\n", result) < 0)
        (void)cli_unwritten(errno);
}

static void report_refused(struct publisher *publisher, const struct flight *flight, int reason)
{
    const char *text = puback_text(publisher->options, reason);

    fail(publisher, reason_exit_code(reason));
    if (publisher->options->json)
        print_json(publisher, flight, "refused", 0, reason, text);
    if (publisher->complaints++ >= COMPLAINTS_MAX)
        return;
    if (publisher->options->source == PUBLISH_LINES)
        cli_error("line %" PRIu64 " was refused: %s (0x%02X)", flight->number, text,
                  (unsigned)reason);
    else
        cli_error("the message was refused: %s (0x%02X)", text, (unsigned)reason);
}

static void close_flight(struct publisher *publisher, struct flight *flight)
{
    flight->open = false;
    publisher->in_flight--;
    publisher->in_flight_bytes -= flight->bytes;
    publisher->progress_ms = now_ms();
}

static uint64_t read_spool_id(const mosquitto_property *properties)
{
    const mosquitto_property *at = properties;
    uint64_t id = 0;
    bool skip_first = false;

    while (at && id == 0) {
        AUTO_FREE char *name = NULL;
        AUTO_FREE char *value = NULL;

        at = mosquitto_property_read_string_pair(at, MQTT_PROP_USER_PROPERTY, &name, &value,
                                                 skip_first);
        skip_first = true;
        if (at && name && value && strcmp(name, "spool-id") == 0)
            (void)cli_parse_number(value, 1, INT64_MAX, &id); /* not a number: no id */
    }
    return id;
}

static void on_publish(struct mosquitto *client,
                       void *context,
                       int mid,
                       int reason,
                       const mosquitto_property *properties)
{
    struct publisher *publisher = context;

    (void)client;
    for (unsigned i = 0; i < PUBLISH_WINDOW; i++) {
        struct flight *flight = &publisher->flights[i];

        if (!flight->open || flight->mid != mid)
            continue;
        if (reason >= REASON_REFUSED)
            report_refused(publisher, flight, reason);
        else
            report_accepted(publisher, flight, read_spool_id(properties));
        close_flight(publisher, flight);
        return;
    }
}

/* The return codes of 3.1.1 in terms of version 5. */
static int connack_reason(const struct publisher *publisher, int code)
{
    static const int older[] = {0,
                                MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION,
                                MQTT_RC_CLIENTID_NOT_VALID,
                                MQTT_RC_SERVER_UNAVAILABLE,
                                MQTT_RC_BAD_USERNAME_OR_PASSWORD,
                                MQTT_RC_NOT_AUTHORIZED};

    if (publisher->options->version == 5 || code < 0 ||
        code >= (int)(sizeof(older) / sizeof(older[0])))
        return code;
    return older[code];
}

static void on_connect(struct mosquitto *client,
                       void *context,
                       int code,
                       int flags,
                       const mosquitto_property *properties)
{
    struct publisher *publisher = context;
    uint32_t max_packet = MQTT_MAX_PAYLOAD;
    int reason = connack_reason(publisher, code);

    (void)client;
    (void)flags;
    if (code != 0) {
        publisher->lost = true;
        fail(publisher, reason_exit_code(reason));
        cli_error("the daemon refused the connection: %s (0x%02X)", connack_text(reason),
                  (unsigned)reason);
        return;
    }
    (void)mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, &max_packet,
                                        false);
    if (max_packet > MQTT_MAX_PAYLOAD)
        max_packet = MQTT_MAX_PAYLOAD;
    lines_init(&publisher->lines, STDIN_FILENO, max_packet);
    publisher->connected = true;
    publisher->progress_ms = now_ms();
}

static void on_disconnect(struct mosquitto *client,
                          void *context,
                          int reason,
                          const mosquitto_property *properties)
{
    struct publisher *publisher = context;

    (void)client;
    (void)properties;
    publisher->connected = false;
    if (reason == 0 || publisher->lost) /* our own farewell; or said already */
        return;
    publisher->lost = true;
    if (reason < REASON_REFUSED) {
        /* A daemon that does not read from us does not see a ping either. */
        publisher->timed_out = reason == MOSQ_ERR_KEEPALIVE;
        fail(publisher, EX_TEMPFAIL);
        return;
    }
    fail(publisher, reason_exit_code(reason));
    cli_error("the daemon ended the connection: %s (0x%02X)", reason_text(reason),
              (unsigned)reason);
}

/* The library keeps lengths in 16 bits and cuts off the rest without an error. */
static bool is_too_long(const char *text)
{
    return text && strlen(text) > UINT16_MAX;
}

static bool has_long_property(const struct publish_options *options)
{
    for (size_t i = 0; i < options->user_property_count; i++) {
        const char *text = options->user_properties[i];
        const char *equals = strchr(text, '=');

        if (equals - text > UINT16_MAX || is_too_long(equals + 1))
            return true;
    }
    return is_too_long(options->content_type) || is_too_long(options->response_topic) ||
           is_too_long(options->correlation) || is_too_long(options->ref);
}

static int add_user_property(mosquitto_property **properties, const char *text)
{
    const char *equals = strchr(text, '=');
    AUTO_FREE char *name = strndup(text, (size_t)(equals - text));

    if (!name)
        return MOSQ_ERR_NOMEM;
    return mosquitto_property_add_string_pair(properties, MQTT_PROP_USER_PROPERTY, name,
                                              equals + 1);
}

/* Adds a text property that was given; the first failure sticks in @result. */
static void add_text(struct publisher *publisher, int property, const char *text, int *result)
{
    if (*result == MOSQ_ERR_SUCCESS && text)
        *result = mosquitto_property_add_string(&publisher->properties, property, text);
}

static int make_properties(struct publisher *publisher)
{
    const struct publish_options *options = publisher->options;
    mosquitto_property **list = &publisher->properties;
    int result = has_long_property(options) ? MOSQ_ERR_INVAL : MOSQ_ERR_SUCCESS;

    add_text(publisher, MQTT_PROP_CONTENT_TYPE, options->content_type, &result);
    add_text(publisher, MQTT_PROP_RESPONSE_TOPIC, options->response_topic, &result);
    if (result == MOSQ_ERR_SUCCESS && options->expiry_s > 0)
        result = mosquitto_property_add_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
                                              options->expiry_s);
    if (result == MOSQ_ERR_SUCCESS && options->utf8)
        result = mosquitto_property_add_byte(list, MQTT_PROP_PAYLOAD_FORMAT_INDICATOR, 1);
    if (result == MOSQ_ERR_SUCCESS && options->correlation)
        result = mosquitto_property_add_binary(list, MQTT_PROP_CORRELATION_DATA,
                                               options->correlation,
                                               (uint16_t)strlen(options->correlation));
    for (size_t i = 0; result == MOSQ_ERR_SUCCESS && i < options->user_property_count; i++)
        result = add_user_property(list, options->user_properties[i]);
    if (result == MOSQ_ERR_SUCCESS && options->ref)
        result = mosquitto_property_add_string_pair(list, MQTT_PROP_USER_PROPERTY, "spool-ref",
                                                    options->ref);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_property_check_all(CMD_PUBLISH, *list);
    if (result == MOSQ_ERR_SUCCESS && options->response_topic) /* not looked at by check_all */
        result = mosquitto_pub_topic_check(options->response_topic);
    if (result == MOSQ_ERR_SUCCESS)
        return EX_OK;
    cli_error("the properties of the message are not valid MQTT (%s): each is UTF-8 of at most "
              "65535 bytes without control characters, and a response topic has no wildcards",
              mosquitto_strerror(result));
    return result == MOSQ_ERR_NOMEM ? EX_UNAVAILABLE : EX_DATAERR;
}

/* U+0001 to U+001F and U+007F to U+009F, which MQTT lets the library refuse in any text. */
static bool has_control(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7F || (at[0] == 0xC2 && at[1] >= 0x80 && at[1] <= 0x9F))
            return true;
    }
    return false;
}

static int make_client(struct publisher *publisher)
{
    const struct publish_options *options = publisher->options;
    char made_up[MADE_UP_ID_MAX];
    uint64_t random = 0;

    if (is_too_long(options->client_id)) {
        cli_error("the client id is not valid: it is longer than %u bytes", UINT16_MAX);
        return EX_DATAERR;
    }
    /* Two clients of one id would push each other out, so the id must be unlike any other. */
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        cli_error("no random numbers for a client id: name one with -i");
        return EX_UNAVAILABLE;
    }
    (void)snprintf(made_up, sizeof(made_up), "mqtt-spool-%012" PRIx64, random >> 16);
    publisher->client =
        mosquitto_new(options->client_id ? options->client_id : made_up, true, publisher);
    if (!publisher->client) {
        cli_error("the client id is not valid: %s",
                  options->client_id && has_control(options->client_id)
                      ? "it has a control character"
                      : "it must be UTF-8 and not be empty");
        return EX_DATAERR;
    }
    mosquitto_connect_v5_callback_set(publisher->client, on_connect);
    mosquitto_disconnect_v5_callback_set(publisher->client, on_disconnect);
    mosquitto_publish_v5_callback_set(publisher->client, on_publish);
    (void)mosquitto_int_option(publisher->client, MOSQ_OPT_PROTOCOL_VERSION,
                               options->version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    (void)mosquitto_int_option(publisher->client, MOSQ_OPT_SEND_MAXIMUM, PUBLISH_WINDOW);
    return EX_OK;
}

static int say_no_connection(const struct publisher *publisher, int error)
{
    switch (error) {
    case EACCES:
        cli_error(
            "may not open %s: run this as a member of the socket's group (ls -l shows it)",
            publisher->socket);
        return EX_NOPERM;
    case EINTR:
    case EAGAIN:
        cli_error("the daemon takes no connections at %s just now; try again",
                  publisher->socket);
        return EX_TEMPFAIL;
    case ENOENT:
    case ECONNREFUSED:
        cli_error(
            "nobody listens at %s: start the daemon (systemctl start mqtt-spoold), or name "
            "its socket with --socket or -c",
            publisher->socket);
        return EX_UNAVAILABLE;
    default:
        cli_error("cannot connect to %s: %s", publisher->socket, strerror(error));
        return EX_UNAVAILABLE;
    }
}

static void on_alarm(int signal_number)
{
    (void)signal_number; /* its only work is to interrupt connect(2) */
}

/* The library connects a Unix socket with a blocking connect(2), which waits as long as the
 * daemon's backlog is full: an alarm bounds it. */
static int connect_socket(struct publisher *publisher)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    uint64_t ms = publisher->options->timeout_ms;
    struct itimerval timer = {
        .it_value = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)},
    };
    int result;
    int error;

    if (strlen(publisher->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return say_no_connection(publisher, ENAMETOOLONG);
    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    errno = 0;
    result = mosquitto_connect(publisher->client, publisher->socket, 0, KEEPALIVE_S);
    error = errno;
    timer.it_value = (struct timeval){0};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    if (result == MOSQ_ERR_SUCCESS)
        return EX_OK;
    return say_no_connection(publisher, result == MOSQ_ERR_ERRNO && error ? error : EIO);
}

/* What the library itself would not send, as the daemon would have refused it. */
static int library_reason(int result)
{
    switch (result) {
    case MOSQ_ERR_OVERSIZE_PACKET:
    case MOSQ_ERR_PAYLOAD_SIZE:
        return MQTT_RC_PACKET_TOO_LARGE;
    case MOSQ_ERR_QOS_NOT_SUPPORTED:
        return MQTT_RC_QOS_NOT_SUPPORTED;
    case MOSQ_ERR_RETAIN_NOT_SUPPORTED:
        return MQTT_RC_RETAIN_NOT_SUPPORTED;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
        return MQTT_RC_TOPIC_NAME_INVALID;
    default:
        return MQTT_RC_UNSPECIFIED;
    }
}

static bool has_room(const struct publisher *publisher)
{
    return publisher->in_flight < PUBLISH_WINDOW &&
           publisher->in_flight_bytes < PUBLISH_WINDOW_BYTES;
}

static void send_message(struct publisher *publisher, const void *payload, size_t size)
{
    const struct publish_options *options = publisher->options;
    struct flight *flight = publisher->flights;
    int result;

    while (flight->open)
        flight++;
    if (publisher->in_flight == 0)
        publisher->progress_ms = now_ms();
    /* Open before it is sent: of QoS 0 the answer comes inside the call. */
    *flight = (struct flight){.open = true, .number = ++publisher->sent, .bytes = size};
    publisher->in_flight++;
    publisher->in_flight_bytes += size;
    result = mosquitto_publish_v5(publisher->client, &flight->mid, options->topic, (int)size,
                                  payload, (int)options->qos, options->retain,
                                  publisher->properties);
    if (result == MOSQ_ERR_SUCCESS || !flight->open)
        return;
    if (result == MOSQ_ERR_NO_CONN || result == MOSQ_ERR_CONN_LOST || result == MOSQ_ERR_ERRNO)
        return; /* stays open: the loop finds the connection lost */
    report_refused(publisher, flight, library_reason(result));
    close_flight(publisher, flight);
}

static void send_lines(struct publisher *publisher)
{
    struct line line;

    while (has_room(publisher) && publisher->connected) {
        if (lines_take(&publisher->lines, &line)) {
            send_message(publisher, line.text, line.size);
            continue;
        }
        publisher->ended = publisher->lines.ended;
        return;
    }
}

static void send_more(struct publisher *publisher)
{
    if (!publisher->connected || publisher->ended)
        return;
    if (publisher->options->source == PUBLISH_LINES) {
        send_lines(publisher);
        return;
    }
    publisher->ended = true;
    send_message(publisher, publisher->single.data, publisher->single.size);
}

static void read_input(struct publisher *publisher)
{
    int result = lines_fill(&publisher->lines);

    if (result == 0)
        return;
    publisher->ended = true;
    if (result == -ENOBUFS) {
        fail(publisher, EX_DATAERR);
        cli_error("line %" PRIu64 " is longer than the %zu bytes that the daemon takes; it and "
                  "what follows was not sent",
                  publisher->sent + 1, publisher->lines.bytes.cap);
    } else {
        fail(publisher, EX_UNAVAILABLE);
        cli_error("cannot read standard input: %s; what was read before was sent",
                  strerror(-result));
    }
}

/* Waits until there is something to read or to write, and lets the library do it. */
static void turn(struct publisher *publisher)
{
    bool wants_input = publisher->options->source == PUBLISH_LINES && publisher->connected &&
                       !publisher->ended && has_room(publisher);
    struct pollfd fds[2] = {
        {.fd = mosquitto_socket(publisher->client), .events = POLLIN},
        {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
    };
    int result = MOSQ_ERR_SUCCESS;

    if (mosquitto_want_write(publisher->client))
        fds[0].events |= POLLOUT;
    if (fflush(stdout) != 0) /* a reader sees each answer now; main() makes it the exit code */
        (void)cli_unwritten(errno);
    if (poll(fds, 2, 1000) < 0 && errno != EINTR) {
        publisher->lost = true;
        fail(publisher, EX_UNAVAILABLE);
        cli_error("poll: %m");
        return;
    }
    if (fds[0].revents & POLLOUT)
        result = mosquitto_loop_write(publisher->client, 1);
    if (result == MOSQ_ERR_SUCCESS && fds[0].revents & ~POLLOUT)
        result = mosquitto_loop_read(publisher->client, 1);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_loop_misc(publisher->client);
    if (result != MOSQ_ERR_SUCCESS && !publisher->lost) {
        publisher->lost = true;
        fail(publisher, EX_TEMPFAIL);
    }
    if (fds[1].revents)
        read_input(publisher);
}

static void check_timeout(struct publisher *publisher)
{
    if (publisher->connected && publisher->in_flight == 0)
        return;
    if (now_ms() - publisher->progress_ms < (int64_t)publisher->options->timeout_ms)
        return;
    publisher->lost = true;
    publisher->timed_out = true;
    fail(publisher, EX_TEMPFAIL);
    cli_error("the daemon did not answer for %" PRIu64 " ms (--timeout)",
              publisher->options->timeout_ms);
}

static void exchange(struct publisher *publisher)
{
    publisher->progress_ms = now_ms();
    while (!publisher->lost) {
        send_more(publisher);
        if (publisher->ended && publisher->in_flight == 0)
            break;
        turn(publisher);
        check_timeout(publisher);
    }
    if (!publisher->lost)
        (void)mosquitto_disconnect(publisher->client); /* everything has its answer already */
}

/* Messages that were sent and never answered: whether they are on disk nobody here can tell. */
static void report_unanswered(struct publisher *publisher)
{
    if (publisher->options->json) {
        for (unsigned i = 0; i < PUBLISH_WINDOW; i++) {
            if (publisher->flights[i].open)
                print_json(publisher, &publisher->flights[i], "unknown", 0, 0, NULL);
        }
    }
    if (publisher->in_flight > 0)
        cli_error(
            "%u sent without an answer: the daemon may have taken them, sending them again "
            "may double them",
            publisher->in_flight);
}

/* What may have been the cause, and what to do. */
static void report_lost(struct publisher *publisher)
{
    report_unanswered(publisher);
    if (publisher->code != EX_TEMPFAIL)
        return;
    if (publisher->timed_out && publisher->in_flight > 0)
        cli_error("the daemon did not take the message%s in time: a lane is full and "
                  "blocks its producers (when_full = \"block\"), or the daemon is busy; see "
                  "mqtt-spool status, and try again",
                  publisher->in_flight > 1 ? "s" : "");
    else if (publisher->timed_out)
        cli_error("the daemon does not answer: it is busy; try again");
    else if (publisher->options->version == 4)
        cli_error(
            "the connection ended: it may be a restart or a refusal, MQTT 3.1.1 cannot tell "
            "why and -V 5 can; try again");
    else
        cli_error("the connection to the daemon was lost; it may be restarting, try again");
}

static void report_end(struct publisher *publisher)
{
    if (publisher->code == EX_OK)
        return;
    if (publisher->complaints > COMPLAINTS_MAX)
        cli_error("%u more were refused", publisher->complaints - COMPLAINTS_MAX);
    if (publisher->lost)
        report_lost(publisher);
    cli_error("%" PRIu64 " of %" PRIu64 " messages were accepted%s", publisher->accepted,
              publisher->sent, publisher->ended ? "" : "; the rest of the input was not read");
}

/* The whole of @fd; above what one MQTT packet holds it is said and refused. */
static int read_whole(int fd, const char *name, struct bytes *bytes)
{
    for (;;) {
        size_t left = bytes->cap - bytes_used(bytes);
        size_t size = left < 65536 ? left : 65536;
        uint8_t *memory;
        ssize_t got;

        if (left == 0) {
            cli_error("%s is larger than an MQTT message can be (%u bytes)", name,
                      MQTT_MAX_PAYLOAD);
            return EX_DATAERR;
        }
        if (bytes_reserve(bytes, size, &memory) < 0) {
            cli_error("out of memory while reading %s", name);
            return EX_UNAVAILABLE;
        }
        got = read_full(fd, memory, size);
        if (got < 0) {
            cli_error("cannot read %s: %s", name, strerror((int)-got));
            return EX_UNAVAILABLE;
        }
        bytes_commit(bytes, (size_t)got);
        if ((size_t)got < size)
            return EX_OK;
    }
}

static int
read_single(const struct publish_options *options, struct bytes *bytes, struct view *ret)
{
    AUTO_CLOSE int fd = -1;
    int code;

    switch (options->source) {
    case PUBLISH_TEXT:
        *ret = (struct view){(const uint8_t *)options->text_or_file,
                             strlen(options->text_or_file)};
        return EX_OK;
    case PUBLISH_FILE:
        fd = open(options->text_or_file, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            code = errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
            cli_error("cannot open %s: %m", options->text_or_file);
            return code;
        }
        code = read_whole(fd, options->text_or_file, bytes);
        break;
    case PUBLISH_INPUT:
        code = read_whole(STDIN_FILENO, "standard input", bytes);
        break;
    case PUBLISH_NOTHING:
    case PUBLISH_LINES:
    default:
        return EX_OK;
    }
    *ret = bytes_view(bytes);
    return code;
}

static int check_topic(const char *topic)
{
    if (has_control(topic)) {
        cli_error("the topic is not valid: it has a control character");
        return EX_DATAERR;
    }
    if (*topic != '\0' && strlen(topic) <= UINT16_MAX &&
        mosquitto_pub_topic_check(topic) == MOSQ_ERR_SUCCESS &&
        mosquitto_validate_utf8(topic, (int)strlen(topic)) == MOSQ_ERR_SUCCESS)
        return EX_OK;
    cli_error(
        "the topic is not valid: 1 to 65535 bytes of UTF-8, without the wildcards + and #");
    return EX_DATAERR;
}

static int run(struct publisher *publisher)
{
    int code = check_topic(publisher->options->topic);

    if (code == EX_OK)
        code = make_properties(publisher);
    if (code == EX_OK)
        code = make_client(publisher);
    if (code == EX_OK)
        code = connect_socket(publisher);
    if (code != EX_OK)
        return code;
    exchange(publisher);
    report_end(publisher);
    return publisher->code;
}

static int publish(struct publish_options *options, const char *socket)
{
    struct publisher publisher = {.options = options, .socket = socket};
    struct bytes bytes;
    int code;

    publisher.json_size = 6 * strlen(options->topic) + 1024;
    publisher.json_memory = malloc(publisher.json_size);
    if (!publisher.json_memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    (void)signal(SIGPIPE, SIG_IGN);         /* a lost connection is an answer, not an end */
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a script reads each answer when it comes */
    (void)mosquitto_lib_init();
    bytes_init(&bytes, (size_t)MQTT_MAX_PAYLOAD + 1);
    code = read_single(options, &bytes, &publisher.single);
    if (code == EX_OK)
        code = run(&publisher);
    mosquitto_destroy(publisher.client);
    mosquitto_property_free_all(&publisher.properties);
    (void)mosquitto_lib_cleanup();
    lines_done(&publisher.lines);
    bytes_done(&bytes);
    free(publisher.json_memory);
    return code;
}

int cli_publish(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct publish_options options;
    AUTO_FREE const char **user_properties = NULL;
    int code = publish_parse(argc, argv, &options);

    user_properties = options.user_properties;
    if (code != CLI_GO_ON)
        return code;
    if (!options.socket) {
        code = cli_load_config(cli, "--socket PATH", &config);
        if (code != EX_OK)
            return code;
        options.socket = config->listen.socket;
    }
    return publish(&options, options.socket);
}
