/* SPDX-License-Identifier: MIT */
/*
 * test_seal.c - the chain of seals: known digests, lines in pieces, what a seal says
 *
 * The digests of the second case were computed by sha256sum and Python, as docs/audit.md
 * says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/view.h"
#include "daemon/seal/seal.h"
#include "daemon/seal/sha256.h"

static struct seal_chain chain;
static struct seal_text text;

#define TIME_MS INT64_C(1793536500004)

static void add(const char *lines)
{
    seal_add(&chain, view_of_text(lines));
}

/* Writes the next seal, and returns it as it is read again. */
static struct seal write_next(const char *why, bool has_prev)
{
    struct seal seal;

    seal_write(
        &chain,
        &(struct seal_facts){.time_ms = TIME_MS, .seq = 7, .why = why, .has_prev = has_prev},
        &text);
    assert_true(text.line[text.size - 1] == '\n');
    assert_true(seal_parse(text.line, text.size - 1, &seal));
    assert_memory_equal(seal.digest, text.digest, SHA256_SIZE);
    return seal;
}

static void expect_hex(const uint8_t *digest, const char *hex)
{
    char found[SEAL_HEX_MAX];

    seal_hex(digest, found);
    assert_string_equal(found, hex);
}

static void the_digest_is_sha256(void **state)
{
    struct sha256 hash;
    uint8_t digest[SHA256_SIZE];

    (void)state;
    sha256_begin(&hash);
    sha256_digest(&hash, digest);
    expect_hex(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_add(&hash, "ab", 2);
    sha256_digest(&hash, digest); /* more may be added after it */
    sha256_add(&hash, "c", 1);
    sha256_digest(&hash, digest);
    expect_hex(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void a_chain_has_known_digests(void **state)
{
    (void)state;
    seal_begin(&chain);
    (void)write_next("new_file", false);
    assert_memory_equal(text.line,
                        "{\"seal\":1,\"time\":\"2026-11-01T12:35:00.004Z\",\"seq\":7,"
                        "\"lines\":0,\"starts\":\"new_file\",\"sha256\":\"",
                        sizeof("{\"seal\":1,") - 1);
    expect_hex(text.digest, "a495560ad043652af1020abdb05eb84cb4eca1ea059d79215b8bba29a4c30f0b");
    seal_note(&chain, &text);
    add("{\"seq\":8}\n{\"seq\":9}\n");
    (void)write_next(NULL, false);
    expect_hex(text.digest, "fc104ec8c8775c622bfb1a0754d7584daea9b5d5ba1833f1f2b20af730ae2410");
}

static void lines_may_come_in_pieces(void **state)
{
    static const char lines[] = "{\"seq\":1}\n{\"seq\":2}\n\n{\"seq\":3}\n";
    struct seal_chain whole, pieces;

    (void)state;
    seal_begin(&whole);
    seal_add(&whole, view_of_text(lines));
    assert_int_equal(whole.lines, 4);
    assert_int_equal(whole.bytes, sizeof(lines) - 1);
    for (size_t cut = 0; cut < sizeof(lines); cut++) {
        seal_begin(&pieces);
        seal_add(&pieces, view_of(lines, cut));
        seal_add(&pieces, view_of(lines + cut, sizeof(lines) - 1 - cut));
        assert_memory_equal(&whole.hash, &pieces.hash, sizeof(whole.hash));
        assert_memory_equal(whole.marks, pieces.marks, 4);
        assert_int_equal(pieces.lines, 4);
    }
    seal_begin(&pieces);
    for (size_t i = 0; i < sizeof(lines) - 1; i++)
        seal_add(&pieces, view_of(lines + i, 1));
    assert_memory_equal(&whole.hash, &pieces.hash, sizeof(whole.hash));
}

static void a_seal_depends_on_the_lines_and_the_seal_before(void **state)
{
    struct seal seal;
    uint8_t expected[SHA256_SIZE];

    (void)state;
    seal_begin(&chain);
    (void)write_next("no_seal", false);
    seal_note(&chain, &text);
    add("one\ntwo\n");
    seal = write_next(NULL, true);
    assert_int_equal(seal.number, 2);
    assert_int_equal(seal.lines, 2);
    assert_int_equal(seal.marks.size, 2);
    assert_true(seal.has_prev);
    assert_memory_equal(seal.prev, chain.digest, SHA256_SIZE);
    seal_expect(&chain, &seal, expected);
    assert_memory_equal(expected, seal.digest, SHA256_SIZE);
    chain.digest[31] ^= 1;
    seal_expect(&chain, &seal, expected);
    assert_memory_not_equal(expected, seal.digest, SHA256_SIZE);
    chain.digest[31] ^= 1;
    add("three\n");
    seal_expect(&chain, &seal, expected);
    assert_memory_not_equal(expected, seal.digest, SHA256_SIZE);
}

static void each_byte_of_a_seal_matters(void **state)
{
    char changed[SEAL_LINE_MAX];
    uint8_t expected[SHA256_SIZE];
    struct seal seal;

    (void)state;
    seal_begin(&chain);
    add("one\n");
    (void)write_next(NULL, true);
    for (size_t i = 0; i + 1 < text.size; i++) {
        memcpy(changed, text.line, text.size);
        changed[i] ^= 1;
        if (!seal_parse(changed, text.size - 1, &seal))
            continue;
        seal_expect(&chain, &seal, expected);
        assert_memory_not_equal(expected, seal.digest, SHA256_SIZE);
    }
}

static void more_lines_than_marks_are_sealed_too(void **state)
{
    struct seal seal;

    (void)state;
    seal_begin(&chain);
    for (unsigned i = 0; i < SEAL_MARKS_MAX + 5; i++)
        add("x\n");
    seal = write_next(NULL, true);
    assert_int_equal(seal.lines, SEAL_MARKS_MAX + 5);
    assert_int_equal(seal.marks.size, SEAL_MARKS_MAX);
    assert_true(text.size <= SEAL_LINE_MAX);
}

static void what_is_no_seal_is_not_read(void **state)
{
    static const char *const lines[] = {
        "",
        "{",
        "{\"seal\":",
        "{\"seq\":1,\"sha256\":\"\"}",
        "{\"seal\":1,\"time\":\"t\",\"seq\":1,\"lines\":0,\"sha256\":\"00\"}",
        "{\"seal\":0,\"time\":\"t\",\"seq\":1,\"lines\":0,\"sha256\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
        "{\"seal\":1,\"time\":\"t\",\"lines\":0,\"sha256\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
        "{\"seal\":1,\"time\":\"t\",\"seq\":1,\"lines\":0,\"sha256\":"
        "\"E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
        "{\"seal\":1,\"time\":\"t\",\"seq\":1,\"lines\":0,\"prev\":\"00\",\"sha256\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
        "{\"seal\":99999999999999999999,\"time\":\"t\",\"seq\":1,\"lines\":0,\"sha256\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
    };
    static const char later[] =
        "{\"seal\":1,\"time\":\"t\",\"seq\":1,\"lines\":0,\"later\":{},\"sha256\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}";
    struct seal seal;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_false(seal_parse(lines[i], strlen(lines[i]), &seal));
    assert_true(seal_parse(later, strlen(later), &seal));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_digest_is_sha256),
        cmocka_unit_test(a_chain_has_known_digests),
        cmocka_unit_test(lines_may_come_in_pieces),
        cmocka_unit_test(a_seal_depends_on_the_lines_and_the_seal_before),
        cmocka_unit_test(each_byte_of_a_seal_matters),
        cmocka_unit_test(more_lines_than_marks_are_sealed_too),
        cmocka_unit_test(what_is_no_seal_is_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
