/* SPDX-License-Identifier: MIT */
/*
 * paho_packet.c - which packets of the broker reach Paho, and the writes of its messages
 *
 * Invariant: an answer reaches Paho once, and only if it is the one that its packet id awaits;
 * nothing of an earlier connection is open on a later one; what a broker sends without being
 * asked is bounded before it is read.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "daemon/uplink/paho/open_ids.h"

/* Types of packets. */
enum {
    PAHO_CONNACK = 2,
    PAHO_PUBLISH,
    PAHO_PUBACK,
    PAHO_PUBREC,
    PAHO_PUBREL,
    PAHO_PUBCOMP,
    PAHO_SUBACK = 9,
    PAHO_UNSUBACK = 11,
    PAHO_PINGRESP = 13
};
#define PAHO_MQTT_5 5
/* The first reason code of a failure. */
#define FIRST_FAILURE 0x80

int __wrap_MQTTAsync_assignMsgId(void *client);
int __wrap_MQTTProtocol_startPublish(
    void *client, void *publish, int qos, int retained, void **message);
int __wrap_MQTTPersistence_putPacket(int fd,
                                     char *first,
                                     size_t first_size,
                                     int count,
                                     char **buffers,
                                     size_t *sizes,
                                     int type,
                                     int id,
                                     int is_received,
                                     int version);
int __wrap_MQTTPacket_send_publish(
    void *packet, int dup, int qos, int retained, void *net, const char *client);
int __wrap_SocketBuffer_writeComplete(int fd);
char *__wrap_WebSocket_getdata(void *net, size_t size, size_t *ret_size);
void *__wrap_MQTTPacket_Factory(int version, void *net, int *error);

int __real_MQTTProtocol_startPublish(
    void *client, void *publish, int qos, int retained, void **message);
int __real_MQTTPersistence_putPacket(int fd,
                                     char *first,
                                     size_t first_size,
                                     int count,
                                     char **buffers,
                                     size_t *sizes,
                                     int type,
                                     int id,
                                     int is_received,
                                     int version);
int __real_MQTTPacket_send_publish(
    void *packet, int dup, int qos, int retained, void *net, const char *client);
int __real_SocketBuffer_writeComplete(int fd);
char *__real_WebSocket_getdata(void *net, size_t size, size_t *ret_size);
void *__real_MQTTPacket_Factory(int version, void *net, int *error);
void MQTTPacket_freeSuback(void *packet);
void MQTTPacket_freeUnsuback(void *packet);
void MQTTPacket_freeAck(void *packet);
void MQTTPacket_free_packet(void *packet);

/* Of the newest connection. */
static struct {
    pthread_mutex_t mutex;
    unsigned connection;
    struct open_ids open;    /* ours */
    struct open_ids inbound; /* the broker's, of QoS 2 */
    uint16_t last_id;        /* that was assigned */
    uint16_t pending;        /* its PUBLISH is written in part; 0: none is */
    const char *violation;
    uint64_t ignored_answers; /* of all connections */
} packets = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* The PUBLISH that this thread writes; 0: of QoS 0. */
static _Thread_local uint16_t writing;
/* The packet that this thread reads, without its fixed header; and the code of an answer. */
static _Thread_local const uint8_t *body;
static _Thread_local size_t body_size;
static _Thread_local uint8_t answer_code;
/* More was received behind the packet that this thread has read. */
static _Thread_local bool has_more;

static void packets_lock(void)
{
    (void)pthread_mutex_lock(&packets.mutex);
    if (packets.connection == paho_traffic_connection())
        return;
    packets.connection = paho_traffic_connection();
    open_ids_clear(&packets.open);
    open_ids_clear(&packets.inbound);
    packets.last_id = 0;
    packets.pending = 0;
    packets.violation = NULL;
}

static void packets_unlock(void)
{
    (void)pthread_mutex_unlock(&packets.mutex);
}

/* --- what is written ------------------------------------------------------- */

/*
 * The search: Paho looks through three lists for a packet id that is free, with its mutex held
 * (upstream: none known). Those that are written and await an answer are known here. A publish
 * that Paho has queued is not, but the window bounds them, and it is far behind before all
 * other ids were assigned.
 */
int __wrap_MQTTAsync_assignMsgId(void *client)
{
    (void)client;
    packets_lock();
    uint16_t id = open_ids_next(&packets.open, packets.last_id);
    if (id != 0)
        packets.last_id = id;
    packets_unlock();
    return id;
}

unsigned paho_packet_awaited(void)
{
    packets_lock();
    size_t count = packets.open.count;
    packets_unlock();
    return (unsigned)count;
}

/*
 * The double free: after a hard error while writing a PUBLISH of QoS 1 or 2 Paho
 * frees topic and payload although the stored publication still points at them
 * (upstream #1621, #1622, #1532). With "pending" it frees nothing; the reading side
 * finds the broken connection, closes it and frees everything once.
 */
int __wrap_MQTTProtocol_startPublish(
    void *client, void *publish, int qos, int retained, void **message)
{
    int rc = __real_MQTTProtocol_startPublish(client, publish, qos, retained, message);

    return rc == PAHO_SOCKET_ERROR && qos > 0 ? PAHO_PENDING : rc;
}

/*
 * Called for each PUBLISH of QoS 1 and 2 and for each PUBREL, before it is written. Without
 * memory the id is not open: its answer is ignored, and the message is sent again later.
 */
int __wrap_MQTTPersistence_putPacket(int fd,
                                     char *first,
                                     size_t first_size,
                                     int count,
                                     char **buffers,
                                     size_t *sizes,
                                     int type,
                                     int id,
                                     int is_received,
                                     int version)
{
    if (!is_received) {
        packets_lock();
        if (type == PAHO_PUBLISH) {
            writing = (uint16_t)id;
            (void)open_ids_add(&packets.open, (uint16_t)id,
                               (first[0] >> 1 & 3) == 2 ? OPEN_ID_PUBREC : OPEN_ID_PUBACK);
        } else if (!open_ids_find(&packets.open, (uint16_t)id)) {
            (void)open_ids_add(&packets.open, (uint16_t)id, OPEN_ID_PUBCOMP); /* kept session */
        }
        packets_unlock();
    }
    return __real_MQTTPersistence_putPacket(fd, first, first_size, count, buffers, sizes, type,
                                            id, is_received, version);
}

/* The mutex is held. */
static void note_written(uint16_t id)
{
    struct open_id *open = open_ids_find(&packets.open, id);

    if (open)
        open->end = paho_stream_position();
}

int __wrap_MQTTPacket_send_publish(
    void *packet, int dup, int qos, int retained, void *net, const char *client)
{
    writing = 0;
    paho_stream_gather(qos > 0);
    int rc = __real_MQTTPacket_send_publish(packet, dup, qos, retained, net, client);
    paho_stream_gather(false);
    packets_lock();
    if (rc == 0)
        note_written(writing);
    else if (rc == PAHO_PENDING)
        packets.pending = writing;
    packets_unlock();
    return rc;
}

/* The rest of a packet went out. */
int __wrap_SocketBuffer_writeComplete(int fd)
{
    packets_lock();
    note_written(packets.pending);
    packets.pending = 0;
    packets_unlock();
    return __real_SocketBuffer_writeComplete(fd);
}

bool paho_link_is_taken(uint16_t packet_id)
{
    struct paho_link_traffic traffic;
    bool is_known = paho_link_get_traffic(&traffic);

    packets_lock();
    const struct open_id *open = open_ids_find(&packets.open, packet_id);
    bool is_taken = !is_known || (open && traffic.taken >= paho_traffic_wire_end(open->end));
    packets_unlock();
    return is_taken;
}

/* --- what is read ---------------------------------------------------------- */

/*
 * The flood: Paho allocates what a packet announces, up to 256 MB, before it has read it
 * (upstream: none known). Nothing that a broker has to send to a client that subscribes to
 * nothing is large. Without the data the connection ends, as after an error of its socket.
 */
char *__wrap_WebSocket_getdata(void *net, size_t size, size_t *ret_size)
{
    body = NULL;
    if (size > PAHO_LINK_PACKET_MAX) {
        packets_lock();
        packets.violation = "the broker sent a packet that is too large for a client that "
                            "subscribes to nothing";
        packets_unlock();
        *ret_size = 0;
        return NULL;
    }
    char *data = __real_WebSocket_getdata(net, size, ret_size);
    body = (const uint8_t *)data;
    body_size = size;
    return data;
}

enum verdict { VERDICT_TAKE, VERDICT_IGNORE, VERDICT_VIOLATION };

static uint16_t read_id(size_t at)
{
    if (!body || body_size < at + 2)
        return 0;
    return (uint16_t)((unsigned)body[at] << 8 | body[at + 1]);
}

static enum verdict close_id(struct open_id *open, uint8_t code)
{
    answer_code = code;
    open_ids_remove(&packets.open, open);
    return VERDICT_TAKE;
}

/* Awaits its PUBREC, then its PUBCOMP unless it is refused. */
static enum verdict take_pubrec(struct open_id *open, uint8_t code)
{
    if (code >= FIRST_FAILURE)
        return close_id(open, code);
    open->state = OPEN_ID_PUBCOMP;
    open->code = code;
    return VERDICT_TAKE;
}

/*
 * The answer of the wrong type: Paho finds the command of an answer by its packet id alone. A
 * PUBACK, PUBREC or PUBCOMP that is not the one that the id awaits ends the command and frees
 * topic and payload, which the stored publication frees again (upstream: none known). So does
 * a second PUBREC of failure. The mutex is held.
 */
static enum verdict judge_answer(unsigned type, uint8_t code)
{
    struct open_id *open = open_ids_find(&packets.open, read_id(0));

    if (!open || (type == PAHO_PUBREC && open->state == OPEN_ID_PUBCOMP)) {
        packets.ignored_answers++;
        return VERDICT_IGNORE;
    }
    if (type == PAHO_PUBACK && open->state == OPEN_ID_PUBACK)
        return close_id(open, code);
    if (type == PAHO_PUBREC && open->state == OPEN_ID_PUBREC)
        return take_pubrec(open, code);
    if (type == PAHO_PUBCOMP && open->state == OPEN_ID_PUBCOMP)
        return close_id(open, code >= FIRST_FAILURE ? code : open->code);
    packets.violation = "the broker's answer does not fit the message";
    return VERDICT_VIOLATION;
}

/* Paho keeps messages of QoS 2 until their PUBREL. The mutex is held. */
static enum verdict judge_inbound(unsigned type, unsigned qos)
{
    uint16_t id = type == PAHO_PUBREL ? read_id(0) : read_id(2u + read_id(0));
    struct open_id *open = open_ids_find(&packets.inbound, id);

    if (type == PAHO_PUBREL && open)
        open_ids_remove(&packets.inbound, open);
    if (type == PAHO_PUBREL || qos < 2 || open)
        return VERDICT_TAKE;
    if (packets.inbound.count < PAHO_LINK_INBOUND_MAX &&
        open_ids_add(&packets.inbound, id, OPEN_ID_PUBREC))
        return VERDICT_TAKE;
    packets.violation = "the broker sent many messages to a client that subscribes to nothing";
    return VERDICT_VIOLATION;
}

static enum verdict judge(uint8_t first, int version)
{
    unsigned type = first >> 4;
    uint8_t code = version >= PAHO_MQTT_5 && body && body_size > 2 ? body[2] : 0;

    switch (type) {
    case PAHO_PUBACK:
    case PAHO_PUBREC:
    case PAHO_PUBCOMP:
        return judge_answer(type, code);
    case PAHO_PUBLISH:
    case PAHO_PUBREL:
        return judge_inbound(type, first >> 1 & 3);
    case PAHO_SUBACK:
    case PAHO_UNSUBACK:
        packets.violation = "the broker answered a subscription that was never made";
        return VERDICT_VIOLATION;
    default:
        return VERDICT_TAKE;
    }
}

static void free_packet(void *packet, unsigned type)
{
    switch (type) {
    case PAHO_SUBACK:
        MQTTPacket_freeSuback(packet);
        break;
    case PAHO_UNSUBACK:
        MQTTPacket_freeUnsuback(packet);
        break;
    case PAHO_PUBACK:
    case PAHO_PUBREC:
    case PAHO_PUBCOMP:
        MQTTPacket_freeAck(packet);
        break;
    default:
        MQTTPacket_free_packet(packet);
        break;
    }
}

/* All of it was read, and the library could not decode it. */
static void note_malformed(int error)
{
    if (!body || error != PAHO_SOCKET_ERROR)
        return;
    packets_lock();
    packets.violation = "the broker sent a malformed packet";
    packets_unlock();
    body = NULL;
}

static bool is_hung_up(int fd)
{
    struct pollfd hangup = {.fd = fd};

    return poll(&hangup, 1, 0) != 0;
}

/*
 * The closed connection: Paho does not read while the rest of a write waits, because its answer
 * to a PUBREC would be a second write, which it takes for an error of the connection. It checks
 * that without its mutex (upstream: none known), so it may have changed until the packet is
 * read; from here to the answer the mutex is held.
 */
static bool must_not_read(void)
{
    return paho_stream_has_pending_write() && !is_hung_up(paho_traffic_fd());
}

/*
 * What is ignored was not there. A violation ends the connection, as an error of its socket
 * does. The structures of all packets begin with their first byte as it was received.
 */
void *__wrap_MQTTPacket_Factory(int version, void *net, int *error)
{
    answer_code = 0;
    has_more = false;
    body = NULL;
    if (must_not_read()) {
        *error = PAHO_PENDING;
        return NULL;
    }
    void *packet = __real_MQTTPacket_Factory(version, net, error);
    if (!packet) {
        note_malformed(*error);
        return NULL;
    }
    uint8_t first = *(const uint8_t *)packet;
    has_more = paho_stream_has_input();
    if (first >> 4 == PAHO_CONNACK)
        paho_keepalive_begin(net);
    if (first >> 4 == PAHO_PINGRESP)
        paho_keepalive_answered();
    packets_lock();
    enum verdict verdict = judge(first, version);
    packets_unlock();
    body = NULL;
    if (verdict == VERDICT_TAKE)
        return packet;
    free_packet(packet, first >> 4);
    *error = verdict == VERDICT_IGNORE ? PAHO_PENDING : PAHO_SOCKET_ERROR;
    return NULL;
}

uint8_t paho_link_answer_code(void)
{
    return answer_code;
}

bool paho_link_has_more(void)
{
    return has_more;
}

const char *paho_link_violation(void)
{
    packets_lock();
    const char *violation = packets.violation;
    packets_unlock();
    return violation;
}

uint64_t paho_link_ignored_answers(void)
{
    packets_lock();
    uint64_t ignored = packets.ignored_answers;
    packets_unlock();
    return ignored;
}
