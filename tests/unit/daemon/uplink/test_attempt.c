/* SPDX-License-Identifier: MIT */
/*
 * test_attempt.c - what an attempt needs besides a broker: secrets, files of TLS, memory
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/uplink_fixture.h"
#include "tests/support/uplink_settings.h"

static void write_file(const char *path, const char *text, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
}

/* The link comes up as soon as @path holds @text. */
static void expect_unreadable_until(struct fixture *f, const char *path, const char *text)
{
    char wanted[UPLINK_TEXT_MAX];

    (void)snprintf(wanted, sizeof(wanted), "cannot read %s: No such file or directory", path);
    start(f);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error, wanted);
    assert_int_equal(f->broker.accepted, 0);
    write_file(path, text, strlen(text));
    wait_for(f, is_online);
}

static void a_password_file_that_is_missing_is_named_and_read_once_it_is_there(void **state)
{
    struct fixture *f = *state;

    f->settings.username = uplink_test_text("user");
    f->settings.password_file = f->password_file;
    expect_unreadable_until(f, f->password_file, "secret");
    assert_true(f->broker.has_secret);
}

static void so_is_the_file_with_the_password_of_the_key(void **state)
{
    struct fixture *f = *state;

    f->settings.tls.key_password_file = f->password_file;
    expect_unreadable_until(f, f->password_file, "secret");
}

static void a_password_longer_than_mqtt_allows_is_an_error(void **state)
{
    struct fixture *f = *state;
    static char text[MQTT_TEXT_MAX + 1];

    memset(text, 'p', sizeof(text));
    f->settings.username = uplink_test_text("user");
    f->settings.password_file = f->password_file;
    write_file(f->password_file, text, sizeof(text));
    start(f);
    wait_for(f, has_error);
    assert_non_null(strstr(link_of(f).last_error, "File too large"));
    write_file(f->password_file, text, sizeof(text) - 1);
    wait_for(f, is_online);
}

static void a_folder_in_the_place_of_a_password_file_is_an_error(void **state)
{
    struct fixture *f = *state;

    f->settings.username = uplink_test_text("user");
    f->settings.password_file = f->folder;
    start(f);
    wait_for(f, has_error);
    assert_non_null(strstr(link_of(f).last_error, "is no regular file"));
}

static void a_client_id_that_is_no_utf_8_is_refused_by_the_library(void **state)
{
    struct fixture *f = *state;
    static char id[] = "\xff";

    f->settings.client_id = id;
    start(f);
    wait_for(f, has_error);
    assert_non_null(strstr(link_of(f).last_error, "Paho refuses to connect (-5)"));
    assert_int_equal(f->broker.accepted, 0);
}

/* --- TLS ------------------------------------------------------------------ */

/* A server that accepts, answers with @text, and closes. */
struct plain_server {
    int fd;
    sd_event_source *source;
    const char *text;
    unsigned accepted;
    char uri[64];
};

static int on_plain_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct plain_server *server = userdata;
    AUTO_CLOSE int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    size_t size = strlen(server->text);

    (void)source;
    (void)events;
    assert_true(connection >= 0);
    server->accepted++;
    assert_int_equal(send(connection, server->text, size, MSG_NOSIGNAL), (ssize_t)size);
    assert_int_equal(shutdown(connection, SHUT_WR), 0);
    return 0;
}

static void plain_server_start(struct plain_server *server, struct fixture *f, const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *server = (struct plain_server){.text = text};
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->fd, 16), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    assert_true(sd_event_add_io(f->event, &server->source, server->fd, EPOLLIN,
                                on_plain_connection, server) >= 0);
    (void)snprintf(server->uri, sizeof(server->uri), "ssl://127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
    f->uris[0] = server->uri;
}

static void plain_server_stop(struct plain_server *server, struct fixture *f)
{
    uplink_free(f->uplink);
    f->uplink = NULL;
    sd_event_source_disable_unref(server->source);
    (void)close(server->fd);
}

static void a_server_that_does_not_speak_tls_is_reported_with_openssl_s_reason(void **state)
{
    struct fixture *f = *state;
    struct plain_server server;

    f->settings.connect_timeout_ms = DEADLINE_S * 1000;
    plain_server_start(&server, f, "HTTP/1.1 400 Bad Request\r\n\r\n");
    start(f);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error, "TLS: wrong version number");
    plain_server_stop(&server, f);
}

static void a_server_that_closes_in_the_handshake_is_reported_as_a_failure_of_tls(void **state)
{
    struct fixture *f = *state;
    struct plain_server server;

    f->settings.connect_timeout_ms = DEADLINE_S * 1000;
    plain_server_start(&server, f, "");
    start(f);
    wait_for(f, has_error);
    assert_non_null(strstr(link_of(f).last_error, "TLS"));
    plain_server_stop(&server, f);
}

static void a_file_of_tls_that_is_missing_is_named_and_nothing_is_connected(void **state)
{
    struct fixture *f = *state;
    struct plain_server server;

    plain_server_start(&server, f, "");
    f->settings.tls.ca_file = uplink_test_text("/nowhere/ca.pem");
    start(f);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error,
                        "cannot read /nowhere/ca.pem: No such file or directory");
    assert_int_equal(server.accepted, 0);
    plain_server_stop(&server, f);
}

static void an_encrypted_key_without_a_password_names_the_setting(void **state)
{
    static const char key[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n";
    struct fixture *f = *state;
    struct plain_server server;

    plain_server_start(&server, f, "");
    write_file(f->password_file, key, sizeof(key) - 1);
    f->settings.tls.key_file = f->password_file;
    start(f);
    wait_for(f, has_error);
    assert_non_null(strstr(link_of(f).last_error, "no uplink.tls.key_password_file"));
    assert_non_null(strstr(link_of(f).remedy, "set uplink.tls.key_password_file to a file"));
    assert_int_equal(server.accepted, 0);
    plain_server_stop(&server, f);
}

/* Paho never takes TLS back from a client: the next broker gets a new one. */
static void a_broker_without_tls_is_reached_after_one_with(void **state)
{
    struct fixture *f = *state;
    struct plain_server server;

    plain_server_start(&server, f, "");
    f->settings.broker_count = 2;
    go_online(f);
    assert_string_equal(link_of(f).broker, f->second.uri);
    plain_server_stop(&server, f);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_password_file_that_is_missing_is_named_and_read_once_it_is_there),
        CASE(so_is_the_file_with_the_password_of_the_key),
        CASE(a_password_longer_than_mqtt_allows_is_an_error),
        CASE(a_folder_in_the_place_of_a_password_file_is_an_error),
        CASE(a_client_id_that_is_no_utf_8_is_refused_by_the_library),
        CASE(a_server_that_does_not_speak_tls_is_reported_with_openssl_s_reason),
        CASE(a_server_that_closes_in_the_handshake_is_reported_as_a_failure_of_tls),
        CASE(a_file_of_tls_that_is_missing_is_named_and_nothing_is_connected),
        CASE(an_encrypted_key_without_a_password_names_the_setting),
        CASE(a_broker_without_tls_is_reached_after_one_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
