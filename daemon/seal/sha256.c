/* SPDX-License-Identifier: MIT */
/*
 * sha256.c - SHA-256 without an allocation
 *
 * EVP allocates, and so fails when memory is short, which is no reason to leave a line
 * of the audit file unsealed. The functions below work in memory of the caller. OpenSSL 3
 * marks them as deprecated, and names no other ones that do; so this file asks for the
 * interface of 1.1.0, and is the only one that does.
 */
#define OPENSSL_API_COMPAT 0x10100000L

#include "daemon/seal/sha256.h"

#include <openssl/sha.h>
#include <string.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct sha256), "it holds OpenSSL's state");
_Static_assert(SHA256_SIZE == SHA256_DIGEST_LENGTH, "the same size");

/* They return 1 always. */
void sha256_begin(struct sha256 *hash)
{
    SHA256_CTX context;

    (void)SHA256_Init(&context);
    memset(hash, 0, sizeof(*hash));
    memcpy(hash, &context, sizeof(context));
}

void sha256_add(struct sha256 *hash, const void *data, size_t size)
{
    SHA256_CTX context;

    memcpy(&context, hash, sizeof(context));
    (void)SHA256_Update(&context, data, size);
    memcpy(hash, &context, sizeof(context));
}

void sha256_digest(const struct sha256 *hash, uint8_t ret[static SHA256_SIZE])
{
    SHA256_CTX context;

    memcpy(&context, hash, sizeof(context));
    (void)SHA256_Final(ret, &context);
}
