/* SPDX-License-Identifier: MIT */
/*
 * open_ids.h - the packet ids that await an answer on one connection
 *
 * A hash with open addressing: ids are counted upwards, and their homes are spread.
 *
 * Thread: the caller has a lock.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_OPEN_IDS_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_OPEN_IDS_H

#include <stddef.h>
#include <stdint.h>

/* What the broker answers next. */
enum open_id_state { OPEN_ID_PUBACK, OPEN_ID_PUBREC, OPEN_ID_PUBCOMP };

struct open_id {
    uint16_t id;  /* 0: this place is empty */
    uint8_t code; /* of the PUBREC */
    enum open_id_state state;
    uint64_t end; /* position of the connection behind its PUBLISH; UINT64_MAX: not yet */
};

/* All zero: empty. */
struct open_ids {
    struct open_id *places;
    size_t size; /* 0, or a power of 2 */
    size_t count;
};

/* Return: borrowed until the next call that adds or removes; NULL: not open. */
struct open_id *open_ids_find(const struct open_ids *ids, uint16_t id);
/* @id: not 0; one that is open restarts. Return: as open_ids_find(); NULL: no memory. */
struct open_id *open_ids_add(struct open_ids *ids, uint16_t id, enum open_id_state state);
/* @open: of @ids. */
void open_ids_remove(struct open_ids *ids, struct open_id *open);
void open_ids_clear(struct open_ids *ids);
/* Return: the first id after @last that is not open, 1 after 65535; 0: all are open. */
uint16_t open_ids_next(const struct open_ids *ids, uint16_t last);
void open_ids_free(struct open_ids *ids);

#endif
