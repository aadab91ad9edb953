/* SPDX-License-Identifier: MIT */
/*
 * paho_tls.c - certificates of a broker without a name, and bytes that OpenSSL writes
 *
 * Invariant: a certificate is checked by OpenSSL alone; what changes is how the address is
 * written.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

int __wrap_X509_check_ip_asc(X509 *certificate, const char *address, unsigned flags);
int __wrap_SSL_write(SSL *ssl, const void *from, int size);

int __real_X509_check_ip_asc(X509 *certificate, const char *address, unsigned flags);
int __real_SSL_write(SSL *ssl, const void *from, int size);

/*
 * The broker without a name: of an IPv6 address in the URI Paho leaves the opening bracket, and
 * OpenSSL finds no address in that (upstream: none known). So no certificate was right.
 */
int __wrap_X509_check_ip_asc(X509 *certificate, const char *address, unsigned flags)
{
    char text[PAHO_LINK_ADDRESS_MAX];

    if (address[0] != '[' || strlen(address) > sizeof(text))
        return __real_X509_check_ip_asc(certificate, address, flags);
    size_t size = strcspn(address + 1, "]");
    memcpy(text, address + 1, size);
    text[size] = '\0';
    return __real_X509_check_ip_asc(certificate, text, flags);
}

/* Records have headers, so only OpenSSL knows how much it has written. */
int __wrap_SSL_write(SSL *ssl, const void *from, int size)
{
    int fd = SSL_get_fd(ssl);

    paho_traffic_before_tls(fd, BIO_number_written(SSL_get_wbio(ssl)));
    int n = __real_SSL_write(ssl, from, size);
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, n);
    paho_traffic_after_tls(fd, BIO_number_written(SSL_get_wbio(ssl)),
                           error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_WRITE &&
                               error != SSL_ERROR_WANT_READ);
    return n;
}
