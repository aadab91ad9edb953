/* SPDX-License-Identifier: MIT */
/*
 * sha256.h - SHA-256 without an allocation
 *
 * Invariant: nothing here can fail. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_SEAL_SHA256_H
#define MQTT_SPOOLD_DAEMON_SEAL_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE ((size_t)32)

/* What was hashed so far. To copy it is to fork the hash. */
struct sha256 {
    uint64_t state[14];
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
/* The digest of what was added so far; more may be added. */
void sha256_digest(const struct sha256 *hash, uint8_t ret[static SHA256_SIZE]);

#endif
