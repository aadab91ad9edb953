/* SPDX-License-Identifier: MIT */
/*
 * test_packet.c - the codec against the standards: one table row for each normative
 * statement, each row a test case of its own; then what the values of a good packet are,
 * and what the encoders write
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"
#include "tests/support/child.h"
#include "tests/support/wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { ROOM = 1 << 20 };

/* The versions a row holds for. */
enum versions { V3 = 1, V5 = 2, BOTH = 3 };

enum {
    OK = 0,
    MORE = PACKET_E_MORE,
    LARGE = PACKET_E_TOO_LARGE,
    MALFORMED = PACKET_E_MALFORMED
};
enum { PROTOCOL = PACKET_E_PROTOCOL, VERSION = PACKET_E_VERSION, TOPIC = PACKET_E_TOPIC };
enum { FORMAT = PACKET_E_FORMAT };

struct row {
    const char *name; /* statement, then what it means for this packet */
    enum versions versions;
    const char *wire;
    int expected;
};

/* CONNECT up to its flags, and what comes behind those. */
#define C3 "10([ 'MQTT'] 04 "
#define C5 "10([ 'MQTT'] 05 "

/* clang-format off */
static const struct row rows[] = {
    /* Framing */
    {"1.5.5-1 length_of_four_bytes_is_read", BOTH, "30 ff ff ff 7f", LARGE},
    {"1.5.5-1 length_longer_than_needed", BOTH, "c0 80 00", MALFORMED},
    {"1.5.5-1 length_with_a_fifth_byte", BOTH, "30 80 80 80 80 01", MALFORMED},
    {"1.5.5-1 length_with_a_fifth_byte_to_come", BOTH, "30 ff ff ff ff", MALFORMED},
    {"1.5.5-1 property_length_longer_than_needed", V5, "30( ['a'] 80 00 )", MALFORMED},
    {"2.1.1 no_byte_is_no_packet_yet", BOTH, "", MORE},
    {"2.1.1 first_byte_is_no_packet_yet", BOTH, "30", MORE},
    {"2.1.1 cut_length_is_no_packet_yet", BOTH, "30 80 80", MORE},
    {"2.1.1 cut_body_is_no_packet_yet", BOTH, "30 05 00 01", MORE},
    {"2.1.2 type_0_is_reserved", BOTH, "00 00", MALFORMED},
    {"2.1.2 type_0_needs_no_length_to_be_refused", BOTH, "00", MALFORMED},
    {"2.1.3-1 flags_of_connect", BOTH, "11 00", MALFORMED},
    {"2.1.3-1 flags_of_puback", BOTH, "42 02 00 01", MALFORMED},
    {"2.1.3-1 flags_of_pubrec", BOTH, "51 02 00 01", MALFORMED},
    {"2.1.3-1 flags_of_pubcomp", BOTH, "78 02 00 01", MALFORMED},
    {"2.1.3-1 flags_of_pingreq", BOTH, "c4 00", MALFORMED},
    {"2.1.3-1 flags_of_auth", BOTH, "f1 00", MALFORMED},
    {"3.6.1-1 flags_of_pubrel", BOTH, "60 02 00 01", MALFORMED},
    {"3.8.1-1 flags_of_subscribe", BOTH, "80 06 00 01 00 01 61 00", MALFORMED},
    {"3.10.1-1 flags_of_unsubscribe", BOTH, "a3 05 00 01 00 01 61", MALFORMED},
    {"3.14.1-1 flags_of_disconnect", BOTH, "e1 00", MALFORMED},
    {"3.12 pingreq_is_two_bytes", BOTH, "c0 00", OK},
    {"3.12 pingreq_has_no_body", BOTH, "c0 01 00", MALFORMED},

    /* CONNECT */
    {"3.1 plain_connect_3_1_1", V3, C3 "02 003c ['a'])", OK},
    {"3.1 plain_connect_5", V5, C5 "02 003c () ['a'])", OK},
    {"3.1 empty_body", BOTH, "10 00", MALFORMED},
    {"3.1 cut_after_the_level", BOTH, C3 ")", MALFORMED},
    {"3.1 cut_in_keep_alive", BOTH, C3 "02 00)", MALFORMED},
    {"3.1 cut_before_the_client_id", V3, C3 "02 003c)", MALFORMED},
    {"3.1 cut_before_the_properties", V5, C5 "02 003c)", MALFORMED},
    {"3.1 trailing_byte_3_1_1", V3, C3 "02 003c ['a'] 00)", MALFORMED},
    {"3.1 trailing_byte_5", V5, C5 "02 003c () ['a'] 00)", MALFORMED},
    {"3.1.2-1 name_of_3_1", BOTH, "10(['MQIsdp'] 03 02 003c ['a'])", VERSION},
    {"3.1.2-1 name_in_small_letters", BOTH, "10(['mqtt'] 04 02 003c ['a'])", VERSION},
    {"3.1.2-1 name_longer_than_MQTT", BOTH, "10(['MQTTX'] 04 02 003c ['a'])", VERSION},
    {"3.1.2-1 empty_name", BOTH, "10([] 04 02 003c ['a'])", VERSION},
    {"3.1.2-1 name_longer_than_the_packet", BOTH, "10(00ff 'MQTT' 04 02 003c)", MALFORMED},
    {"3.1.2-2 level_3", BOTH, "10(['MQTT'] 03 02 003c ['a'])", VERSION},
    {"3.1.2-2 level_6", BOTH, "10(['MQTT'] 06 02 003c ['a'])", VERSION},
    {"3.1.2-2 level_of_a_bridge_3_1_1", BOTH, "10(['MQTT'] 84 02 003c ['a'])", OK},
    {"3.1.2-2 level_of_a_bridge_5", BOTH, "10(['MQTT'] 85 02 003c () ['a'])", OK},
    {"3.1.2-2 level_of_a_bridge_3_1", BOTH, "10(['MQTT'] 83 02 003c ['a'])", VERSION},
    {"3.1.2-3 reserved_flag_3_1_1", V3, C3 "03 003c ['a'])", MALFORMED},
    {"3.1.2-3 reserved_flag_5", V5, C5 "03 003c () ['a'])", MALFORMED},
    {"3.1.2-9 will_with_topic_and_payload_3_1_1", V3, C3 "06 003c ['a'] ['w/t'] ['gone'])", OK},
    {"3.1.2-9 will_with_topic_and_payload_5", V5, C5 "2e 003c () ['a'] (18 00000005) ['w/t'] ['gone'])", OK},
    {"3.1.2-9 will_flag_without_will", V3, C3 "06 003c ['a'])", MALFORMED},
    {"3.1.2-9 will_without_its_flag", V3, C3 "02 003c ['a'] ['w/t'] ['gone'])", MALFORMED},
    {"3.1.2-11 will_qos_without_will", BOTH, C3 "0a 003c ['a'])", MALFORMED},
    {"3.1.2-12 will_qos_3_3_1_1", V3, C3 "1e 003c ['a'] ['w'] ['x'])", MALFORMED},
    {"3.1.2-12 will_qos_3_5", V5, C5 "1e 003c () ['a'] () ['w'] ['x'])", MALFORMED},
    {"3.1.2-13 will_retain_without_will", BOTH, C3 "22 003c ['a'])", MALFORMED},
    {"3.1.2-16 user_name_without_its_flag", V5, C5 "02 003c () ['a'] ['user'])", MALFORMED},
    {"3.1.2-17 user_name_flag_without_user_name", V5, C5 "82 003c () ['a'])", MALFORMED},
    {"3.1.2-19 password_flag_without_password", V5, C5 "c2 003c () ['a'] ['user'])", MALFORMED},
    {"3.1.2-19 user_name_and_password", V3, C3 "c2 003c ['a'] ['user'] [00ff])", OK},
    {"3.1.1-3.1.2-22 password_without_user_name_3_1_1", V3, C3 "42 003c ['a'] ['pw'])", MALFORMED},
    {"3.1.2.9 password_without_user_name_5", V5, C5 "42 003c () ['a'] ['pw'])", OK},
    {"3.1.2.11.2 session_expiry", V5, C5 "02 003c (11 0000003c) ['a'])", OK},
    {"3.1.2.11.2 session_expiry_twice", V5, C5 "02 003c (11 0000003c 11 0000003c) ['a'])", PROTOCOL},
    {"3.1.2.11.3 receive_maximum_0", V5, C5 "02 003c (21 0000) ['a'])", PROTOCOL},
    {"3.1.2.11.3 receive_maximum_twice", V5, C5 "02 003c (21 0001 21 0001) ['a'])", PROTOCOL},
    {"3.1.2.11.4 maximum_packet_size_0", V5, C5 "02 003c (27 00000000) ['a'])", PROTOCOL},
    {"3.1.2.11.4 maximum_packet_size_twice", V5, C5 "02 003c (27 00000009 27 00000009) ['a'])", PROTOCOL},
    {"3.1.2.11.5 topic_alias_maximum_twice", V5, C5 "02 003c (22 0001 22 0001) ['a'])", PROTOCOL},
    {"3.1.2.11.6 request_response_information_2", V5, C5 "02 003c (19 02) ['a'])", PROTOCOL},
    {"3.1.2.11.7 request_problem_information_2", V5, C5 "02 003c (17 02) ['a'])", PROTOCOL},
    {"3.1.2.11.7 request_problem_information_twice", V5, C5 "02 003c (17 01 17 01) ['a'])", PROTOCOL},
    {"3.1.2.11.8 user_property_many_times", V5, C5 "02 003c (26 ['a']['b'] 26 ['a']['b']) ['a'])", OK},
    {"3.1.2.11.9 authentication_method", V5, C5 "02 003c (15 ['SCRAM'] 16 [0001]) ['a'])", OK},
    {"3.1.2.11.10 authentication_data_without_method", V5, C5 "02 003c (16 [0001]) ['a'])", PROTOCOL},
    {"3.1.2.11 property_length_beyond_the_body", V5, C5 "02 003c 7f ['a'])", MALFORMED},
    {"2.2.2.2 property_of_another_packet_in_connect", V5, C5 "02 003c (23 0001) ['a'])", MALFORMED},
    {"2.2.2.2 unknown_property_in_connect", V5, C5 "02 003c (7e 01) ['a'])", MALFORMED},
    {"2.2.2.2 property_0", V5, C5 "02 003c (00) ['a'])", MALFORMED},
    {"2.2.2.2 property_id_of_two_bytes", V5, C5 "02 003c (80 01) ['a'])", MALFORMED},
    {"2.2.2.2 property_cut_by_its_section", V5, C5 "02 003c (11 0000) ['a'])", MALFORMED},
    {"3.1.3-3 client_id_missing", V5, C5 "02 003c ())", MALFORMED},
    {"3.1.3-4 client_id_not_utf8", V3, C3 "02 003c [c3 28])", MALFORMED},
    {"1.5.4-2 client_id_with_nul", V3, C3 "02 003c ['a' 00])", MALFORMED},
    {"3.1.3-6 empty_client_id", V5, C5 "02 003c () [])", OK},
    {"3.1.1-3.1.3-8 empty_client_id_without_clean_session_is_for_the_session", V3, C3 "00 003c [])", OK},
    {"3.1.3.2 will_delay_twice", V5, C5 "06 003c () ['a'] (18 00000001 18 00000001) ['w'] ['x'])", PROTOCOL},
    {"3.1.3.2 will_payload_format_2", V5, C5 "06 003c () ['a'] (01 02) ['w'] ['x'])", PROTOCOL},
    {"2.2.2.2 topic_alias_in_a_will", V5, C5 "06 003c () ['a'] (23 0001) ['w'] ['x'])", MALFORMED},
    {"2.2.2.2 will_delay_outside_of_a_will", V5, C5 "02 003c (18 00000001) ['a'])", MALFORMED},
    {"3.1.3-11 will_topic_not_utf8", V3, C3 "06 003c ['a'] [ff] ['x'])", MALFORMED},
    {"4.7.0-1 will_topic_with_wildcard", V3, C3 "06 003c ['a'] ['w/#'] ['x'])", PROTOCOL},
    {"4.7.3-1 empty_will_topic", V5, C5 "06 003c () ['a'] () [] ['x'])", PROTOCOL},
    {"3.1.3-12 user_name_not_utf8", V3, C3 "82 003c ['a'] [ed a0 80])", MALFORMED},

    /* PUBLISH */
    {"3.3 qos_0_3_1_1", V3, "30( ['a/b'] 'payload' )", OK},
    {"3.3 qos_0_5", V5, "30( ['a/b'] () 'payload' )", OK},
    {"3.3 qos_1_3_1_1", V3, "32( ['a/b'] 000a 'payload' )", OK},
    {"3.3 qos_1_5", V5, "32( ['a/b'] 000a () 'payload' )", OK},
    {"3.3 qos_2_is_for_the_session_to_refuse", V5, "34( ['a/b'] 000a () )", OK},
    {"3.3.3 empty_payload", V3, "31( ['a/b'] )", OK},
    {"3.3 empty_body", BOTH, "30 00", MALFORMED},
    {"3.3.1-2 dup_with_qos_0", BOTH, "38( ['a'] )", MALFORMED},
    {"3.3.1-2 dup_with_qos_1", V3, "3a( ['a'] 0001 )", OK},
    {"3.3.1-4 qos_3", BOTH, "36( ['a'] 0001 )", MALFORMED},
    {"2.2.1-3 packet_id_0_3_1_1", V3, "32( ['a'] 0000 )", PROTOCOL},
    {"2.2.1-3 packet_id_0_5", V5, "32( ['a'] 0000 () )", PROTOCOL},
    {"2.2.1 packet_id_cut", BOTH, "32( ['a'] 00 )", MALFORMED},
    {"2.2.2-1 property_length_missing", V5, "30( ['a'] )", MALFORMED},
    {"3.3.2 property_length_beyond_the_body", V5, "30( ['a'] 05 01 )", MALFORMED},
    {"3.3.2-1 topic_longer_than_the_body", BOTH, "30( 0009 'a' )", MALFORMED},
    {"3.3.2-2 topic_with_plus_3_1_1", V3, "30( ['a/+'] )", TOPIC},
    {"3.3.2-2 topic_with_plus_5", V5, "30( ['a/+'] () )", TOPIC},
    {"3.3.2-2 topic_with_hash", V5, "32( ['#'] 0001 () )", TOPIC},
    {"3.3.2-2 wildcard_inside_of_a_level", V3, "30( ['a+b'] )", TOPIC},
    {"4.7.3-1 empty_topic_3_1_1", V3, "30( [] )", TOPIC},
    {"3.3.2.1 empty_topic_without_alias", V5, "30( [] () )", PROTOCOL},
    {"3.3.2.3.4 empty_topic_with_alias", V5, "30( [] (23 0001) )", OK},
    {"3.3.2-8 topic_alias_0", V5, "30( ['a'] (23 0000) )", OK},
    {"3.3.2.3.4 topic_alias_twice", V5, "30( ['a'] (23 0001 23 0001) )", PROTOCOL},
    {"4.7.3-2 topic_with_nul", V3, "30( ['a' 00] )", MALFORMED},
    {"1.5.4-1 topic_with_surrogate", V3, "30( [ed a0 80] )", MALFORMED},
    {"1.5.4-1 topic_with_low_surrogate", V5, "30( [ed bf bf] () )", MALFORMED},
    {"1.5.4-1 topic_overlong_slash", V3, "30( ['a' c0 af 'b'] )", MALFORMED},
    {"1.5.4-1 topic_overlong_nul", V3, "30( [c0 80] )", MALFORMED},
    {"1.5.4-1 topic_overlong_three_bytes", V3, "30( [e0 80 af] )", MALFORMED},
    {"1.5.4-1 topic_overlong_four_bytes", V3, "30( [f0 80 80 af] )", MALFORMED},
    {"1.5.4-1 topic_above_10ffff", V3, "30( [f4 90 80 80] )", MALFORMED},
    {"1.5.4-1 topic_with_cut_character", V3, "30( ['a' e2 82] )", MALFORMED},
    {"1.5.4-1 topic_with_lone_continuation", V3, "30( [80] )", MALFORMED},
    {"1.5.4-3 byte_order_mark_is_kept", V3, "30( [ef bb bf 'a'] )", OK},
    {"1.5.4 topic_with_control_character_3_1_1", V3, "30( ['a' 01] )", TOPIC},
    {"1.5.4 topic_with_control_character_5", V5, "32( ['a' 1f] 0001 () )", TOPIC},
    {"1.5.4 topic_with_delete", V5, "30( [7f 'a'] () )", TOPIC},
    {"1.5.4 topic_with_c1_control_character", V3, "30( [c2 80] )", TOPIC},
    {"1.5.4 topic_with_non_character", V3, "30( [ef bf bf] )", TOPIC},
    {"1.5.4 topic_with_last_code_point", V3, "30( [f4 8f bf bf] )", TOPIC},
    {"1.5.4 content_type_with_control_character", V5, "30( ['a'] (03 ['a' 09 'b']) )", MALFORMED},
    {"1.5.4 content_type_with_non_character", V5, "30( ['a'] (03 [ef b7 90]) )", MALFORMED},
    {"1.5.4 response_topic_with_control_character", V5, "30( ['a'] (08 ['r' 0a]) )", MALFORMED},
    {"1.5.4 user_property_name_with_control_character", V5, "30( ['a'] (26 ['n' 1b]['v']) )", MALFORMED},
    {"1.5.4 user_property_value_with_control_character", V5, "30( ['a'] (26 ['n']['v' c2 9f]) )", MALFORMED},
    {"1.5.4 user_property_value_with_non_character", V5, "30( ['a'] (26 ['n'][f0 9f bf be]) )", MALFORMED},
    {"1.5.4 correlation_data_is_no_string", V5, "30( ['a'] (09 [00 01 ff]) )", OK},
    {"1.5.4 payload_format_1_with_control_character_is_text", V5, "30( ['a'] (01 01) 'a' 09 01 )", OK},
    {"1.5.4 client_id_with_control_character_may_pass", V3, C3 "02 003c ['a' 01])", OK},
    {"1.5.4 user_name_with_control_character_may_pass", V3, C3 "82 003c ['a'] ['u' 01])", OK},
    {"1.5.4 control_character_in_a_property_of_a_will", V5, C5 "06 003c () ['a'] (03 [01]) ['w'] ['x'])", MALFORMED},
    {"1.5.4 control_character_in_the_topic_of_a_will", BOTH, C3 "06 003c ['a'] ['w' 01] ['x'])", TOPIC},
    {"1.5.4 will_that_is_malformed_behind_its_topic", BOTH, C3 "06 003c ['a'] ['w' 01] ['x'] 00)", MALFORMED},
    {"3.1.3.2.3 will_that_is_not_the_text_it_says", V5, C5 "06 003c () ['a'] (01 01) ['w'] [ff])", FORMAT},
    {"3.1.3.2.3 will_that_is_the_text_it_says", V5, C5 "06 003c () ['a'] (01 01) ['w'] [c3bc])", OK},
    {"1.5.4 connect_property_with_control_character_may_pass", V5, C5 "02 003c (26 [01][01]) ['a'])", OK},
    {"3.3.2.3.2 payload_format_1_with_text", V5, "30( ['a'] (01 01) 'gr' c3 bc 'n' )", OK},
    {"3.3.2.3.2 payload_format_1_without_text", V5, "30( ['a'] (01 01) ff fe )", FORMAT},
    {"3.3.2.3.2 payload_format_1_with_nul_is_text", V5, "30( ['a'] (01 01) 'a' 00 'b' )", OK},
    {"3.3.2.3.2 payload_format_0_with_anything", V5, "30( ['a'] (01 00) ff fe )", OK},
    {"3.3.2.3.2 payload_format_2", V5, "30( ['a'] (01 02) 'x' )", PROTOCOL},
    {"3.3.2.3.2 payload_format_twice", V5, "30( ['a'] (01 01 01 01) 'x' )", PROTOCOL},
    {"3.3.2.3.3 message_expiry", V5, "30( ['a'] (02 0000000a) )", OK},
    {"3.3.2.3.3 message_expiry_twice", V5, "30( ['a'] (02 0000000a 02 0000000a) )", PROTOCOL},
    {"3.3.2-13 response_topic_not_utf8", V5, "30( ['a'] (08 [c3 28]) )", MALFORMED},
    {"3.3.2-14 response_topic_with_wildcard", V5, "30( ['a'] (08 ['r/+']) )", PROTOCOL},
    {"4.7.3-1 empty_response_topic", V5, "30( ['a'] (08 []) )", PROTOCOL},
    {"3.3.2.3.5 response_topic_twice", V5, "30( ['a'] (08 ['r'] 08 ['r']) )", PROTOCOL},
    {"3.3.2.3.6 correlation_data_is_binary", V5, "30( ['a'] (09 [00 ff fe]) )", OK},
    {"3.3.2.3.6 correlation_data_twice", V5, "30( ['a'] (09 [00] 09 [00]) )", PROTOCOL},
    {"1.5.7-1 user_property_name_not_utf8", V5, "30( ['a'] (26 [ff] ['v']) )", MALFORMED},
    {"1.5.7-1 user_property_value_with_nul", V5, "30( ['a'] (26 ['n'] [00]) )", MALFORMED},
    {"3.3.2.3.7 same_user_property_twice", V5, "30( ['a'] (26 ['n']['v'] 26 ['n']['v']) )", OK},
    {"3.3.2.3.7 user_property_without_value", V5, "30( ['a'] (26 ['n']) )", MALFORMED},
    {"3.3.4-6 subscription_id_from_a_client", V5, "30( ['a'] (0b 01) )", PROTOCOL},
    {"3.3.2-19 content_type_not_utf8", V5, "30( ['a'] (03 [ff]) )", MALFORMED},
    {"3.3.2.3.9 content_type_twice", V5, "30( ['a'] (03 ['x'] 03 ['x']) )", PROTOCOL},
    {"2.2.2.2 session_expiry_in_publish", V5, "30( ['a'] (11 00000001) )", MALFORMED},
    {"2.2.2.2 reason_string_in_publish", V5, "30( ['a'] (1f ['x']) )", MALFORMED},
    {"3.1.1 properties_are_payload_in_3_1_1", V3, "30( ['a'] (0b 00) )", OK},

    /* Acknowledgements of a client */
    {"3.4 puback_3_1_1", V3, "40( 000a )", OK},
    {"3.4.2.1 puback_without_code", V5, "40( 000a )", OK},
    {"3.4.2.1 puback_with_code", V5, "40( 000a 10 )", OK},
    {"3.4.2.2 puback_with_properties", V5, "40( 000a 00 (1f ['x'] 26 ['n']['v']) )", OK},
    {"3.4.2-1 puback_code_unknown", V5, "40( 000a 81 )", PROTOCOL},
    {"3.4 puback_3_1_1_with_code", V3, "40( 000a 00 )", MALFORMED},
    {"3.4 puback_cut", BOTH, "40( 00 )", MALFORMED},
    {"3.4 puback_trailing_byte", V5, "40( 000a 00 () 00 )", MALFORMED},
    {"2.2.1-5 puback_id_0", BOTH, "40( 0000 )", PROTOCOL},
    {"3.4.2.2.2 reason_string_twice", V5, "40( 000a 00 (1f ['x'] 1f ['x']) )", PROTOCOL},
    {"3.5.2-1 pubrec", BOTH, "50( 000a )", OK},
    {"3.6.2-1 pubrel_not_found", V5, "62( 000a 92 )", OK},
    {"3.6.2-1 pubrel_code_unknown", V5, "62( 000a 10 )", PROTOCOL},
    {"3.7.2-1 pubcomp_code_unknown", V5, "70( 000a 80 )", PROTOCOL},

    /* SUBSCRIBE, UNSUBSCRIBE */
    {"3.8 subscribe_3_1_1", V3, "82( 0001 ['a/#'] 01 ['+'] 02 )", OK},
    {"3.8 subscribe_5", V5, "82( 0001 (0b 05) ['a/#'] 2d )", OK},
    {"2.2.1-3 subscribe_id_0", V3, "82( 0000 ['a'] 00 )", PROTOCOL},
    {"3.8 subscribe_cut_in_its_id", BOTH, "82( 00 )", MALFORMED},
    {"3.8 subscribe_without_options", V3, "82( 0001 ['a'] )", MALFORMED},
    {"3.8.2.1.2 subscription_id_0", V5, "82( 0001 (0b 00) ['a'] 00 )", PROTOCOL},
    {"3.8.2.1.2 subscription_id_twice", V5, "82( 0001 (0b 01 0b 01) ['a'] 00 )", PROTOCOL},
    {"3.8.3-1 filter_not_utf8", V3, "82( 0001 [ff] 00 )", MALFORMED},
    {"3.8.3-2 subscribe_without_filter_3_1_1", V3, "82( 0001 )", PROTOCOL},
    {"3.8.3-2 subscribe_without_filter_5", V5, "82( 0001 () )", PROTOCOL},
    {"3.8.3-4 no_local_on_a_shared_subscription", V5, "82( 0001 () ['$share/g/a'] 04 )", PROTOCOL},
    {"3.8.3-5 reserved_options", V5, "82( 0001 () ['a'] 40 )", MALFORMED},
    {"3.8.3.1 maximum_qos_3", V5, "82( 0001 () ['a'] 03 )", PROTOCOL},
    {"3.8.3.1 retain_handling_3", V5, "82( 0001 () ['a'] 30 )", PROTOCOL},
    {"3.1.1-3-8.3-4 reserved_options_3_1_1", V3, "82( 0001 ['a'] 04 )", MALFORMED},
    {"3.1.1-3-8.3-4 qos_3_3_1_1", V3, "82( 0001 ['a'] 03 )", MALFORMED},
    {"4.7.1-1 hash_not_at_the_end", V3, "82( 0001 ['a/#/b'] 00 )", MALFORMED},
    {"4.7.1-1 hash_inside_of_a_level", V3, "82( 0001 ['a#'] 00 )", MALFORMED},
    {"4.7.1-2 plus_inside_of_a_level", V3, "82( 0001 ['a+/b'] 00 )", MALFORMED},
    {"4.7.3-1 empty_filter", V3, "82( 0001 [] 00 )", MALFORMED},
    {"4.7.3-1 second_filter_is_checked_too", V3, "82( 0001 ['a'] 00 [] 00 )", MALFORMED},
    {"3.10 unsubscribe_3_1_1", V3, "a2( 0001 ['a/#'] ['+'] )", OK},
    {"3.10 unsubscribe_5", V5, "a2( 0001 (26 ['n']['v']) ['a'] )", OK},
    {"3.10.3-1 unsubscribe_filter_not_utf8", V3, "a2( 0001 [c0 80] )", MALFORMED},
    {"3.10.3-2 unsubscribe_without_filter", V5, "a2( 0001 () )", PROTOCOL},
    {"2.2.2.2 subscription_id_in_unsubscribe", V5, "a2( 0001 (0b 01) ['a'] )", MALFORMED},
    {"2.2.1-3 unsubscribe_id_0", V3, "a2( 0000 ['a'] )", PROTOCOL},

    /* DISCONNECT */
    {"3.14 disconnect", BOTH, "e0 00", OK},
    {"3.14 disconnect_3_1_1_with_body", V3, "e0( 00 )", MALFORMED},
    {"3.14.2.1 disconnect_with_code", V5, "e0( 04 )", OK},
    {"3.14.2-1 disconnect_code_unknown", V5, "e0( 05 )", PROTOCOL},
    {"3.14.2-1 disconnect_code_of_a_server", V5, "e0( 8e )", PROTOCOL},
    {"3.14.2.2 disconnect_with_properties", V5, "e0( 00 (11 00000000 1f ['bye']) )", OK},
    {"3.14.2.2 disconnect_properties_cut", V5, "e0( 00 05 11 )", MALFORMED},
    {"3.14.2.2 disconnect_trailing_byte", V5, "e0( 00 () 00 )", MALFORMED},
    {"3.14.2.2.2 session_expiry_twice_in_disconnect", V5, "e0( 00 (11 00000000 11 00000000) )", PROTOCOL},
};
/* clang-format on */

static int decode(const struct packet_frame *frame, enum packet_version version)
{
    struct packet_connect connect;
    struct packet_publish publish;
    struct packet_subscribe subscribe;
    struct packet_reason reason;

    if (frame->type == PACKET_CONNECT)
        return packet_decode_connect(frame, &connect);
    if (frame->type == PACKET_PUBLISH)
        return packet_decode_publish(frame, version, &publish);
    if (frame->type == PACKET_SUBSCRIBE)
        return packet_decode_subscribe(frame, version, &subscribe);
    if (frame->type == PACKET_UNSUBSCRIBE)
        return packet_decode_unsubscribe(frame, version, &subscribe);
    if (frame->type == PACKET_DISCONNECT)
        return packet_decode_disconnect(frame, version, &reason);
    if (frame->type >= PACKET_PUBACK && frame->type <= PACKET_PUBCOMP)
        return packet_decode_ack(frame, version, &reason);
    return 0;
}

/* The packet alone in memory of its size, so that the address sanitizer sees a read beyond it.
 */
static int frame_and_decode(const struct wire *wire, enum packet_version version)
{
    AUTO_FREE uint8_t *memory = malloc(wire->size > 0 ? wire->size : 1);

    assert_non_null(memory);
    memcpy(memory, wire->bytes, wire->size);
    struct packet_frame frame;
    int r = packet_next(memory, wire->size, ROOM, &frame);
    if (r != 0)
        return r;
    assert_int_equal(frame.size, wire->size);
    return decode(&frame, version);
}

static void row_gives_its_condition(void **state)
{
    const struct row *row = *state;
    struct wire wire;

    wire_parse(&wire, row->wire);
    if (row->versions & V3)
        assert_int_equal(frame_and_decode(&wire, MQTT_3_1_1), row->expected);
    if (row->versions & V5)
        assert_int_equal(frame_and_decode(&wire, MQTT_5), row->expected);
}

static void good_packet_cut_anywhere_is_waited_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct wire wire;

        wire_parse(&wire, rows[i].wire);
        if (rows[i].expected != OK)
            continue;
        for (size_t size = 0; size < wire.size; size++) {
            struct packet_frame frame;

            assert_int_equal(packet_next(wire.bytes, size, ROOM, &frame), MORE);
        }
    }
}

static struct packet_frame frame_of(struct wire *wire, const char *text)
{
    struct packet_frame frame;

    wire_parse(wire, text);
    assert_int_equal(packet_next(wire->bytes, wire->size, ROOM, &frame), 0);
    return frame;
}

static void assert_view(struct view view, const void *data, size_t size)
{
    assert_int_equal(view.size, size);
    if (size > 0)
        assert_memory_equal(view.data, data, size);
}

static void assert_text(struct view view, const char *text)
{
    assert_view(view, text, strlen(text));
}

static void first_of_two_packets_is_framed(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_frame frame = frame_of(&wire, "33( ['a'] 0001 'x' ) c0 00");
    assert_int_equal(frame.type, PACKET_PUBLISH);
    assert_int_equal(frame.flags, 3);
    assert_int_equal(frame.size, 8);
    assert_ptr_equal(frame.body.data, wire.bytes + 2);
    assert_int_equal(frame.body.size, 6);
    assert_int_equal(packet_next(wire.bytes + frame.size, wire.size - frame.size, ROOM, &frame),
                     0);
    assert_int_equal(frame.type, PACKET_PINGREQ);
}

static void size_limit_is_decided_from_the_header_alone(void **state)
{
    (void)state;
    const uint8_t header[] = {0x30, 0x80, 0x01}; /* 3 + 128 bytes */
    struct packet_frame frame;
    assert_int_equal(packet_next(header, sizeof(header), 130, &frame), LARGE);
    assert_int_equal(packet_next(header, sizeof(header), 131, &frame), MORE);
    assert_int_equal(packet_next(header, 2, 130, &frame), MORE);
}

static void failed_decode_leaves_its_output_alone(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_publish publish = {.packet_id = 77};
    struct packet_frame frame = frame_of(&wire, "32( ['a'] 0005 (01 02) )");
    assert_int_equal(packet_decode_publish(&frame, MQTT_5, &publish), PROTOCOL);
    assert_int_equal(publish.packet_id, 77);
    struct packet_connect connect = {.keep_alive_s = 77};
    frame = frame_of(&wire, C3 "02 003c ['a'] 00)");
    assert_int_equal(packet_decode_connect(&frame, &connect), MALFORMED);
    assert_int_equal(connect.keep_alive_s, 77);
    assert_int_equal(connect.version, MQTT_3_1_1); /* it is said how to answer */
    frame = frame_of(&wire, C5 "02 003c 00 ['a'] 00)");
    assert_int_equal(packet_decode_connect(&frame, &connect), MALFORMED);
    assert_int_equal(connect.keep_alive_s, 77);
    assert_int_equal(connect.version, MQTT_5);
}

static void connect_tells_what_a_3_1_1_client_wants(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_connect connect;
    struct packet_frame frame = frame_of(&wire, C3 "d4 0102 ['me'] ['w'] ['x'] ['u'] ['p'])");
    assert_int_equal(packet_decode_connect(&frame, &connect), 0);
    assert_int_equal(connect.version, MQTT_3_1_1);
    assert_false(connect.clean_start);
    assert_int_equal(connect.keep_alive_s, 0x0102);
    assert_text(connect.client_id, "me");
    assert_true(connect.has_will);
    assert_int_equal(connect.will.qos, 2);
    assert_false(connect.will.retain);
    assert_text(connect.will.topic, "w");
    assert_text(connect.will.payload, "x");
    assert_int_equal(connect.will.properties.size, 0);
    assert_false(connect.will.has_expiry);
    assert_int_equal(connect.will_delay_s, 0);
    assert_false(connect.has_auth);
    assert_int_equal(connect.session_expiry_s, 0);
    assert_int_equal(connect.receive_maximum, 65535);
    assert_int_equal(connect.maximum_packet_size, UINT32_MAX);
    assert_false(connect.is_problem_info_off);
}

static void connect_tells_what_a_version_5_client_wants(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_connect connect;
    struct packet_frame frame =
        frame_of(&wire, C5 "02 0000 (11 ffffffff 21 0007 27 00010000 15 ['m'] 17 00) [])");
    assert_int_equal(packet_decode_connect(&frame, &connect), 0);
    assert_int_equal(connect.version, MQTT_5);
    assert_true(connect.clean_start);
    assert_int_equal(connect.keep_alive_s, 0);
    assert_int_equal(connect.client_id.size, 0);
    assert_false(connect.has_will);
    assert_true(connect.has_auth);
    assert_int_equal(connect.session_expiry_s, UINT32_MAX);
    assert_int_equal(connect.receive_maximum, 7);
    assert_int_equal(connect.maximum_packet_size, 65536);
    assert_true(connect.is_problem_info_off);
}

static void problem_information_is_wanted_unless_refused(void **state)
{
    (void)state;
    static const char *const wanted[] = {C5 "02 0000 () ['a'])", C5 "02 0000 (17 01) ['a'])"};
    for (size_t i = 0; i < COUNT(wanted); i++) {
        struct wire wire;
        struct packet_connect connect;
        struct packet_frame frame = frame_of(&wire, wanted[i]);

        assert_int_equal(packet_decode_connect(&frame, &connect), 0);
        assert_false(connect.is_problem_info_off);
    }
}

static void unknown_version_tells_how_to_write_the_answer(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_connect connect = {0};
    struct packet_frame frame = frame_of(&wire, "10(['MQTT'] 06 02 003c)");
    assert_int_equal(packet_decode_connect(&frame, &connect), VERSION);
    assert_int_equal(connect.version, 6);
    frame = frame_of(&wire, "10(['MQIsdp'] 03 02 003c ['a'])");
    assert_int_equal(packet_decode_connect(&frame, &connect), VERSION);
    assert_int_equal(connect.version, MQTT_3_1_1);
}

static void version_is_seen_as_soon_as_it_is_there(void **state)
{
    (void)state;
    static const uint8_t start[] = {0x10, 0x80, 0x80, 0x40, 0, 4, 'M', 'Q', 'T', 'T', 5};
    static const uint8_t odd[] = {0x10, 0x7F, 0, 4, 'M', 'Q', 'T', 'T', 6};
    static const uint8_t other[] = {0x30, 0x7F, 0, 4, 'M', 'Q', 'T', 'T', 5};
    enum packet_version version = MQTT_3_1_1;
    for (size_t size = 0; size < sizeof(start); size++)
        assert_false(packet_peek_version(start, size, &version));
    assert_true(packet_peek_version(start, sizeof(start), &version));
    assert_int_equal(version, MQTT_5);
    assert_false(packet_peek_version(odd, sizeof(odd), &version));
    assert_false(packet_peek_version(other, sizeof(other), &version));
}

static void publish_gives_views_into_the_packet(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_publish publish;
    struct packet_frame frame = frame_of(&wire, "3b( ['t/1'] 1234 'body' )");
    assert_int_equal(packet_decode_publish(&frame, MQTT_3_1_1, &publish), 0);
    assert_int_equal(publish.qos, 1);
    assert_true(publish.dup);
    assert_true(publish.retain);
    assert_int_equal(publish.packet_id, 0x1234);
    assert_text(publish.topic, "t/1");
    assert_ptr_equal(publish.topic.data, wire.bytes + 4);
    assert_text(publish.payload, "body");
    assert_int_equal(publish.properties.size, 0);
    assert_false(publish.has_expiry);
    assert_false(publish.has_topic_alias);
    assert_int_equal(publish.ref.size, 0);
}

static void publish_finds_expiry_and_the_first_spool_ref(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_publish publish;
    struct packet_frame frame =
        frame_of(&wire, "30( ['t'] (26 ['spool-re']['no'] 26 ['spool-reference']['no'] 26 "
                        "['spool-ref']['one'] 02 00000102 26 "
                        "['spool-ref']['two']) 'x' )");
    assert_int_equal(packet_decode_publish(&frame, MQTT_5, &publish), 0);
    assert_int_equal(publish.qos, 0);
    assert_int_equal(publish.packet_id, 0);
    assert_true(publish.has_expiry);
    assert_int_equal(publish.expiry_s, 0x0102);
    assert_text(publish.ref, "one");
    assert_text(publish.payload, "x");
}

static void refused_topic_and_format_can_be_answered_by_their_id(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_publish publish = {0};
    struct packet_frame frame = frame_of(&wire, "32( ['a/#'] 0007 () 'x' )");
    assert_int_equal(packet_decode_publish(&frame, MQTT_5, &publish), TOPIC);
    assert_int_equal(publish.packet_id, 7);
    assert_text(publish.topic, "a/#");
    frame = frame_of(&wire, "32( ['a'] 0008 (01 01) ff )");
    assert_int_equal(packet_decode_publish(&frame, MQTT_5, &publish), FORMAT);
    assert_int_equal(publish.packet_id, 8);
    assert_view(publish.payload, "\xff", 1);
}

static void kept_properties_leave_out_expiry_and_alias_and_keep_their_order(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_publish publish;
    struct packet_frame frame =
        frame_of(&wire, "30( ['t'] (26 ['z']['1'] 02 00000001 09 [00ff] 23 0001 01 01 26 "
                        "['a']['2'] 03 ['c'] 08 "
                        "['r']) )");
    assert_int_equal(packet_decode_publish(&frame, MQTT_5, &publish), 0);
    AUTO_FREE uint8_t *kept = malloc(publish.properties.size);
    size_t size = packet_keep_properties(&publish, kept);
    struct wire expected;
    wire_parse(&expected, "26 ['z']['1'] 09 [00ff] 01 01 26 ['a']['2'] 03 ['c'] 08 ['r']");
    assert_int_equal(size, expected.size);
    assert_memory_equal(kept, expected.bytes, size);
}

static void a_will_is_decoded_with_its_properties(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_connect connect;
    struct packet_frame frame = frame_of(
        &wire, C5 "2e 003c () ['a'] (18 00000005 02 00000007 26 ['spool-ref']['r'] 01 01) "
                  "['w/t'] ['gone'])");
    assert_int_equal(packet_decode_connect(&frame, &connect), 0);
    assert_true(connect.has_will);
    assert_int_equal(connect.will.qos, 1);
    assert_true(connect.will.retain);
    assert_text(connect.will.topic, "w/t");
    assert_text(connect.will.payload, "gone");
    assert_text(connect.will.ref, "r");
    assert_true(connect.will.has_expiry);
    assert_int_equal(connect.will.expiry_s, 7);
    assert_int_equal(connect.will_delay_s, 5);
    AUTO_FREE uint8_t *kept = malloc(connect.will.properties.size);
    size_t size = packet_keep_properties(&connect.will, kept);
    struct wire expected;
    wire_parse(&expected, "26 ['spool-ref']['r'] 01 01");
    assert_int_equal(size, expected.size);
    assert_memory_equal(kept, expected.bytes, size);
}

static void no_properties_keep_nothing(void **state)
{
    (void)state;
    const struct packet_publish publish = {0};
    assert_int_equal(packet_keep_properties(&publish, NULL), 0);
}

static void properties_are_walked_with_their_values(void **state)
{
    (void)state;
    struct wire wire;
    wire_parse(&wire, "01 01 02 00000003 0b 80 01 26 ['n']['v'] 09 [00] 23 0004");
    struct reader reader;
    reader_init(&reader, wire.bytes, wire.size);
    struct packet_property property;
    static const struct {
        enum packet_property_id id;
        uint32_t number;
    } expected[] = {{PROPERTY_PAYLOAD_FORMAT, 1},    {PROPERTY_MESSAGE_EXPIRY, 3},
                    {PROPERTY_SUBSCRIPTION_ID, 128}, {PROPERTY_USER, 0},
                    {PROPERTY_CORRELATION_DATA, 0},  {PROPERTY_TOPIC_ALIAS, 4}};
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(packet_property_next(&reader, &property));
        assert_int_equal(property.id, expected[i].id);
        assert_int_equal(property.number, expected[i].number);
        if (property.id == PROPERTY_USER) {
            assert_text(property.name, "n");
            assert_text(property.value, "v");
        }
        if (property.id == PROPERTY_CORRELATION_DATA)
            assert_view(property.value, "\0", 1);
    }
    assert_false(packet_property_next(&reader, &property));
    assert_false(reader.failed);
}

static void damaged_properties_fail_their_reader(void **state)
{
    (void)state;
    static const char *const damaged[] = {"2b 00", "04", "02 0000", "26 ['n'] 0005", "03 [ff]"};
    for (size_t i = 0; i < COUNT(damaged); i++) {
        struct wire wire;

        wire_parse(&wire, damaged[i]);
        struct reader reader;
        reader_init(&reader, wire.bytes, wire.size);
        struct packet_property property;
        assert_false(packet_property_next(&reader, &property));
        assert_true(reader.failed);
    }
}

/* Table 2-4 of the standard: all identifiers, with a value of their type. */
static const struct property_row {
    const char *wire;
    const char
        *places; /* of C connect, W will, P publish, A ack, S subscribe, U unsubscribe, D */
} property_rows[] = {
    {"01 00", "PW"},
    {"02 00000001", "PW"},
    {"03 ['t']", "PW"},
    {"08 ['r']", "PW"},
    {"09 [00]", "PW"},
    {"0b 01", "S"},
    {"11 00000001", "CD"},
    {"12 ['i']", ""},
    {"13 0001", ""},
    {"15 ['m']", "C"},
    {"17 01", "C"},
    {"18 00000001", "W"},
    {"16 [00] 15 ['m']", "C"},
    {"19 01", "C"},
    {"1a ['r']", ""},
    {"1c ['s']", "D"},
    {"1f ['r']", "AD"},
    {"21 0001", "C"},
    {"22 0001", "C"},
    {"23 0001", "P"},
    {"24 01", ""},
    {"25 01", ""},
    {"26 ['n']['v']", "CWPASUD"},
    {"27 00000001", "C"},
    {"28 01", ""},
    {"29 01", ""},
    {"2a 01", ""},
};

static const struct {
    char place;
    const char *wire;
} place_rows[] = {
    {'C', C5 "02 003c (%s) ['a'])"},
    {'W', C5 "06 003c () ['a'] (%s) ['w'] ['x'])"},
    {'P', "30( ['a'] (%s) )"},
    {'A', "40( 0001 00 (%s) )"},
    {'S', "82( 0001 (%s) ['a'] 00 )"},
    {'U', "a2( 0001 (%s) ['a'] )"},
    {'D', "e0( 00 (%s) )"},
};

static void property_is_taken_only_where_table_2_4_allows_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(property_rows) * COUNT(place_rows); i++) {
        const struct property_row *property = &property_rows[i / COUNT(place_rows)];
        size_t place = i % COUNT(place_rows);
        char text[128];
        size_t split = (size_t)(strstr(place_rows[place].wire, "%s") - place_rows[place].wire);

        assert_true(strlen(place_rows[place].wire) + strlen(property->wire) < sizeof(text));
        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)split, place_rows[place].wire,
                       property->wire, place_rows[place].wire + split + 2);
        struct wire wire;
        wire_parse(&wire, text);
        int r = frame_and_decode(&wire, MQTT_5);
        bool allowed = strchr(property->places, place_rows[place].place) != NULL;
        bool client_publish = place_rows[place].place == 'P' && property->wire[1] == 'b';
        int expected = allowed ? OK : client_publish ? PROTOCOL : MALFORMED;
        if (r != expected)
            fail_msg("%s: %d instead of %d", text, r, expected);
    }
}

static void filters_are_walked_with_their_options(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_subscribe subscribe;
    struct packet_frame frame = frame_of(&wire, "82( 0102 () ['a/#'] 01 ['$SYS/x'] 2e )");
    assert_int_equal(packet_decode_subscribe(&frame, MQTT_5, &subscribe), 0);
    assert_int_equal(subscribe.packet_id, 0x0102);
    assert_false(subscribe.has_subscription_id);
    struct view filter;
    uint8_t options;
    assert_true(packet_filter_next(&subscribe.filters, &filter, &options));
    assert_text(filter, "a/#");
    assert_int_equal(options, 1);
    assert_true(packet_filter_next(&subscribe.filters, &filter, &options));
    assert_text(filter, "$SYS/x");
    assert_int_equal(options, 0x2E);
    assert_false(packet_filter_next(&subscribe.filters, &filter, &options));
    assert_false(subscribe.filters.failed);
    frame = frame_of(&wire, "82( 0102 (0b 05) ['a'] 01 )");
    assert_int_equal(packet_decode_subscribe(&frame, MQTT_5, &subscribe), 0);
    assert_true(subscribe.has_subscription_id);

    frame = frame_of(&wire, "a2( 0003 ['a'] ['b'] )");
    assert_int_equal(packet_decode_unsubscribe(&frame, MQTT_3_1_1, &subscribe), 0);
    assert_int_equal(subscribe.packet_id, 3);
    assert_true(packet_filter_next(&subscribe.filters, &filter, NULL));
    assert_true(packet_filter_next(&subscribe.filters, &filter, NULL));
    assert_text(filter, "b");
    assert_false(packet_filter_next(&subscribe.filters, &filter, NULL));
}

static void disconnect_and_acks_tell_their_code(void **state)
{
    (void)state;
    struct wire wire;
    struct packet_reason reason;
    struct packet_frame frame = frame_of(&wire, "e0( 04 (11 0000003c) )");
    assert_int_equal(packet_decode_disconnect(&frame, MQTT_5, &reason), 0);
    assert_int_equal(reason.code, 4);
    assert_true(reason.has_session_expiry);
    assert_int_equal(reason.session_expiry_s, 60);
    frame = frame_of(&wire, "e0 00");
    assert_int_equal(packet_decode_disconnect(&frame, MQTT_5, &reason), 0);
    assert_int_equal(reason.code, 0);
    assert_false(reason.has_session_expiry);
    frame = frame_of(&wire, "62( 0102 92 )");
    assert_int_equal(packet_decode_ack(&frame, MQTT_5, &reason), 0);
    assert_int_equal(reason.packet_id, 0x0102);
    assert_int_equal(reason.code, 0x92);
}

/* What an encoder wrote, compared with a row of text, and framed again. */
static void assert_wrote(const struct writer *writer, const char *text)
{
    struct wire wire;

    wire_parse(&wire, text);
    assert_false(writer->failed);
    assert_int_equal(writer_used(writer), wire.size);
    assert_memory_equal(writer->start, wire.bytes, wire.size);
    struct packet_frame frame;
    assert_int_equal(packet_next(writer->start, wire.size, ROOM, &frame), 0);
    assert_int_equal(frame.size, wire.size);
}

static void connack_announces_what_a_producer_must_know(void **state)
{
    (void)state;
    uint8_t memory[256];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    struct packet_connack connack = {.session_present = true,
                                     .maximum_qos = 1,
                                     .receive_maximum = 100,
                                     .topic_alias_maximum = 7,
                                     .maximum_packet_size = 262144,
                                     .assigned_client_id = {(const uint8_t *)"auto-1", 6},
                                     .has_session_expiry = true,
                                     .session_expiry_s = 60};
    packet_encode_connack(&writer, MQTT_5, &connack);
    assert_wrote(&writer,
                 "20( 01 00 (11 0000003c 21 0064 22 0007 24 01 27 00040000 29 00 2a 00 12 "
                 "['auto-1']) )");
    assert_true(writer_used(&writer) <= PACKET_CONNACK_MAX(6));
}

static void connack_leaves_out_what_is_not_limited(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_connack(&writer, MQTT_5, &(struct packet_connack){.maximum_qos = 2});
    assert_wrote(&writer, "20( 00 00 (29 00 2a 00) )");
}

static void connack_with_a_client_id_of_any_length_fits_its_maximum(void **state)
{
    (void)state;
    static uint8_t memory[PACKET_CONNACK_MAX(65535)];
    static uint8_t id[65535];
    memset(id, 'x', sizeof(id));
    static const size_t sizes[] = {1, 90, 127, 128, 16383, 16384, 65535};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct writer writer;

        writer_init(&writer, memory, PACKET_CONNACK_MAX(sizes[i]));
        packet_encode_connack(&writer, MQTT_5,
                              &(struct packet_connack){.receive_maximum = 1,
                                                       .maximum_qos = 1,
                                                       .maximum_packet_size = 1,
                                                       .has_session_expiry = true,
                                                       .assigned_client_id = {id, sizes[i]}});
        assert_false(writer.failed);
        struct packet_frame frame;
        assert_int_equal(packet_next(memory, writer_used(&writer), ROOM, &frame), 0);
        assert_int_equal(frame.size, writer_used(&writer));
    }
}

static void refusing_connack_has_no_session_and_no_properties(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct writer writer;
    const struct packet_connack connack = {
        .session_present = true, .code = MQTT_CLIENT_ID_NOT_VALID, .receive_maximum = 5};
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_connack(&writer, MQTT_5, &connack);
    assert_wrote(&writer, "20( 00 85 () )");
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_connack(&writer, MQTT_3_1_1, &connack);
    assert_wrote(&writer, "20( 00 02 )");
}

static void connack_3_1_1_has_the_return_code_that_fits(void **state)
{
    (void)state;
    static const uint8_t codes[][2] = {{MQTT_SUCCESS, 0},
                                       {MQTT_UNSUPPORTED_VERSION, 1},
                                       {MQTT_CLIENT_ID_NOT_VALID, 2},
                                       {MQTT_SERVER_UNAVAILABLE, 3},
                                       {MQTT_SERVER_BUSY, 3},
                                       {MQTT_QUOTA_EXCEEDED, 3},
                                       {MQTT_BAD_AUTHENTICATION_METHOD, 4},
                                       {MQTT_NOT_AUTHORIZED, 5}};
    for (size_t i = 0; i < COUNT(codes); i++) {
        uint8_t memory[8];
        struct writer writer;

        writer_init(&writer, memory, sizeof(memory));
        packet_encode_connack(&writer, MQTT_3_1_1,
                              &(struct packet_connack){.code = codes[i][0]});
        assert_int_equal(writer_used(&writer), 4);
        assert_int_equal(memory[3], codes[i][1]);
    }
}

static void acks_are_as_short_as_their_content_allows(void **state)
{
    (void)state;
    static const struct {
        enum packet_version version;
        enum packet_type type;
        uint8_t code;
        uint64_t spool_id;
        const char *wire;
    } acks[] = {
        {MQTT_3_1_1, PACKET_PUBACK, 0, 0, "40( 0102 )"},
        {MQTT_3_1_1, PACKET_PUBACK, 0, 12, "40( 0102 )"},
        {MQTT_3_1_1, PACKET_PUBREL, 0, 0, "62( 0102 )"},
        {MQTT_5, PACKET_PUBACK, 0, 0, "40( 0102 )"},
        {MQTT_5, PACKET_PUBACK, 0x97, 0, "40( 0102 97 )"},
        {MQTT_5, PACKET_PUBREC, 0, 12, "50( 0102 00 (26 ['spool-id']['12']) )"},
        {MQTT_5, PACKET_PUBACK, 0x10, 1, "40( 0102 10 (26 ['spool-id']['1']) )"},
        {MQTT_5, PACKET_PUBACK, 0, UINT64_MAX,
         "40( 0102 00 (26 ['spool-id']['18446744073709551615']) )"},
        {MQTT_5, PACKET_PUBREL, 0x92, 0, "62( 0102 92 )"},
        {MQTT_5, PACKET_PUBCOMP, 0, 0, "70( 0102 )"},
    };
    for (size_t i = 0; i < COUNT(acks); i++) {
        uint8_t memory[PACKET_ACK_MAX];
        struct writer writer;

        writer_init(&writer, memory, sizeof(memory));
        packet_encode_ack(&writer, acks[i].version, acks[i].type, 0x0102, acks[i].code,
                          acks[i].spool_id);
        assert_wrote(&writer, acks[i].wire);
        struct wire wire;
        wire_parse(&wire, acks[i].wire);
        assert_int_equal(frame_and_decode(&wire, acks[i].version), 0);
    }
}

static void acks_say_only_what_their_tables_have(void **state)
{
    (void)state;
    /* Tables 3-4 and 3-5, 3-6 and 3-7 of MQTT 5. */
    static const uint8_t received[] = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t released[] = {0x00, 0x92};
    for (unsigned code = 0; code <= 0xFF; code++) {
        bool has_received = memchr(received, (int)code, sizeof(received)) != NULL;
        bool has_released = memchr(released, (int)code, sizeof(released)) != NULL;

        assert_int_equal(packet_ack_allows_code(PACKET_PUBACK, (uint8_t)code), has_received);
        assert_int_equal(packet_ack_allows_code(PACKET_PUBREC, (uint8_t)code), has_received);
        assert_int_equal(packet_ack_allows_code(PACKET_PUBREL, (uint8_t)code), has_released);
        assert_int_equal(packet_ack_allows_code(PACKET_PUBCOMP, (uint8_t)code), has_released);
    }
}

#ifndef NDEBUG
/* In a child, because the process ends. */
static bool encoding_aborts(enum packet_type type, uint8_t code)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        uint8_t memory[PACKET_ACK_MAX];
        struct writer writer;

        (void)setrlimit(RLIMIT_CORE, &none);
        if (!freopen("/dev/null", "w", stderr))
            child_exit(1);
        (void)signal(SIGABRT, SIG_DFL);
        writer_init(&writer, memory, sizeof(memory));
        packet_encode_ack(&writer, MQTT_5, type, 1, code, 0);
        child_exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
#endif

static void acks_with_any_other_code_are_not_encoded(void **state)
{
    (void)state;
#ifdef NDEBUG
    skip();
#else
    assert_false(encoding_aborts(PACKET_PUBACK, MQTT_QUOTA_EXCEEDED));
    assert_true(encoding_aborts(PACKET_PUBACK, MQTT_SERVER_BUSY));
    assert_true(encoding_aborts(PACKET_PUBACK, MQTT_SERVER_SHUTTING_DOWN));
    assert_true(encoding_aborts(PACKET_PUBCOMP, MQTT_QUOTA_EXCEEDED));
#endif
}

static void suback_answers_every_filter(void **state)
{
    (void)state;
    static const struct {
        enum packet_version version;
        enum packet_type type;
        uint8_t codes[3];
        size_t count;
        const char *wire;
    } answers[] = {
        {MQTT_5, PACKET_SUBACK, {0x87, 0x01}, 2, "90( 0009 () 87 01 )"},
        {MQTT_3_1_1, PACKET_SUBACK, {0x01, 0x87, 0x80}, 3, "90( 0009 01 80 80 )"},
        {MQTT_3_1_1, PACKET_SUBACK, {1}, 1, "90( 0009 01 )"},
        {MQTT_5, PACKET_UNSUBACK, {0x11, 0}, 2, "b0( 0009 () 11 00 )"},
        {MQTT_3_1_1, PACKET_UNSUBACK, {0x11, 0, 0x11}, 3, "b0( 0009 )"},
    };
    for (size_t i = 0; i < COUNT(answers); i++) {
        uint8_t memory[32];
        struct writer writer;

        writer_init(&writer, memory, sizeof(memory));
        packet_encode_suback(&writer, answers[i].version, answers[i].type, 9, answers[i].codes,
                             answers[i].count);
        assert_wrote(&writer, answers[i].wire);
    }
}

static void delivery_has_what_its_version_knows(void **state)
{
    (void)state;
    static const struct {
        enum packet_version version;
        struct packet_delivery delivery;
        const char *wire;
    } sent[] = {
        {MQTT_3_1_1, {.qos = 0}, "30( ['a/b'] 7b 7d )"},
        {MQTT_5, {.qos = 0}, "30( ['a/b'] () 7b 7d )"},
        {MQTT_3_1_1, {.qos = 1, .packet_id = 0x0102}, "32( ['a/b'] 0102 7b 7d )"},
        {MQTT_5,
         {.qos = 1, .packet_id = 0x0102, .is_repeated = true},
         "3a( ['a/b'] 0102 () 7b 7d )"},
        {MQTT_5,
         {.qos = 1, .packet_id = 3, .has_correlation = true},
         "32( ['a/b'] 0003 (09 ['xy']) 7b 7d )"},
        {MQTT_3_1_1, {.qos = 0, .has_correlation = true}, "30( ['a/b'] 7b 7d )"},
    };
    for (size_t i = 0; i < COUNT(sent); i++) {
        struct packet_delivery delivery = sent[i].delivery;
        uint8_t memory[32];
        struct writer writer;

        delivery.topic = view_of("a/b", 3);
        delivery.payload = view_of("{}", 2);
        delivery.correlation = view_of("xy", 2);
        writer_init(&writer, memory, sizeof(memory));
        packet_encode_delivery(&writer, sent[i].version, &delivery);
        assert_wrote(&writer, sent[i].wire);
        assert_int_equal(packet_delivery_size(sent[i].version, &delivery),
                         writer_used(&writer));
    }
}

static void delivery_that_mqtt_cannot_express_has_no_size(void **state)
{
    (void)state;
    struct packet_delivery delivery = {.topic = {(const uint8_t *)"a", 1},
                                       .payload = {NULL, MQTT_VARINT_MAX - 4}};

    assert_int_equal(packet_delivery_size(MQTT_3_1_1, &delivery), 0xFFFFFFF + 4);
    delivery.payload.size++;
    assert_int_equal(packet_delivery_size(MQTT_3_1_1, &delivery), 0xFFFFFFF + 5);
    assert_int_equal(packet_delivery_size(MQTT_5, &delivery), 0);
    delivery.payload.size = SIZE_MAX;
    assert_int_equal(packet_delivery_size(MQTT_3_1_1, &delivery), 0);
    delivery.payload.size = 0;
    delivery.topic.size = MQTT_TEXT_MAX + 1;
    assert_int_equal(packet_delivery_size(MQTT_3_1_1, &delivery), 0);
}

static void shared_filters_are_known(void **state)
{
    (void)state;
    assert_true(packet_filter_is_shared(view_of("$share/g/a", 10)));
    assert_false(packet_filter_is_shared(view_of("$share", 6)));
    assert_false(packet_filter_is_shared(view_of("a/$share/", 9)));
}

static void encoders_fail_in_memory_that_is_too_small(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct writer writer;
    writer_init(&writer, memory, 3);
    packet_encode_ack(&writer, MQTT_3_1_1, PACKET_PUBACK, 1, 0, 0);
    assert_true(writer.failed);
    writer_init(&writer, memory, 10);
    packet_encode_connack(&writer, MQTT_5, &(struct packet_connack){0});
    assert_true(writer.failed);
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_suback(&writer, MQTT_5, PACKET_SUBACK, 1, memory, SIZE_MAX);
    assert_true(writer.failed);
    writer_init(&writer, memory, 1);
    packet_encode_pingresp(&writer);
    assert_true(writer.failed);
}

static void pingresp_is_two_bytes(void **state)
{
    (void)state;
    uint8_t memory[2];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_pingresp(&writer);
    assert_wrote(&writer, "d0 00");
}

static void disconnect_tells_the_reason_in_words(void **state)
{
    (void)state;
    uint8_t memory[PACKET_DISCONNECT_MAX];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_disconnect(&writer, MQTT_PROTOCOL_ERROR, "topic alias 0");
    assert_wrote(&writer, "e0( 82 (1f ['topic alias 0']) )");
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_disconnect(&writer, MQTT_SERVER_SHUTTING_DOWN, NULL);
    assert_wrote(&writer, "e0( 8b )");
}

static void long_disconnect_reason_is_cut_between_characters(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        char reason[1024] = {0};

        memset(reason, 'x', shift);
        while (strlen(reason) < 1000)
            strcat(reason, "\xF0\x9F\x98\x80");
        uint8_t memory[PACKET_DISCONNECT_MAX];
        struct writer writer;
        writer_init(&writer, memory, sizeof(memory));
        packet_encode_disconnect(&writer, MQTT_UNSPECIFIED_ERROR, reason);
        assert_false(writer.failed);
        struct packet_frame frame;
        struct packet_reason decoded;
        assert_int_equal(packet_next(memory, writer_used(&writer), ROOM, &frame), 0);
        assert_int_equal(packet_decode_disconnect(&frame, MQTT_5, &decoded), 0);
        assert_true(frame.size > 200);
    }
}

static void conditions_and_codes_have_their_answers_and_words(void **state)
{
    (void)state;
    assert_int_equal(packet_condition_code(PACKET_E_TOO_LARGE), 0x95);
    assert_int_equal(packet_condition_code(PACKET_E_MALFORMED), 0x81);
    assert_int_equal(packet_condition_code(PACKET_E_PROTOCOL), 0x82);
    assert_int_equal(packet_condition_code(PACKET_E_VERSION), 0x84);
    assert_int_equal(packet_condition_code(PACKET_E_TOPIC), 0x90);
    assert_int_equal(packet_condition_code(PACKET_E_FORMAT), 0x99);
    assert_string_equal(packet_reason_text(MQTT_QUOTA_EXCEEDED), "quota exceeded");
    assert_string_equal(packet_reason_text(0), "success");
    assert_string_equal(packet_reason_text(0xA2), "wildcard subscriptions not supported");
    assert_string_equal(packet_reason_text(0xFF), "unknown");
    assert_string_equal(packet_reason_text(-1), "unknown");
}

static void filters_match_as_section_4_7_tells(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        const char *topic;
        bool matches;
    } pairs[] = {
        {"a/b", "a/b", true},
        {"a/b", "a/B", false},
        {"a/b", "a", false},
        {"a", "a/b", false},
        {"a/b", "a/bc", false},
        {"a/bc", "a/b", false},
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"sport/#", "sports", false},
        {"#", "a/b/c", true},
        {"#", "/", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+/tennis/#", "sport/tennis", true},
        {"+/alarm/#", "boiler/alarm/high", true},
        {"a/+/c", "a//c", true},
        {"a/+/c", "a/b/d", false},
        {"a/+", "a/b/", false},
        {"+/", "a/", true},
        {"+/", "a", false},
        {"/", "/", true},
        {"//", "/", false},
        {"#", "$SYS/x", false},
        {"+/x", "$SYS/x", false},
        {"$SYS/#", "$SYS/x", true},
        {"$SYS/+", "$SYS/x", true},
        {"a/#", "a/$x", true},
        {"+/$x", "a/$x", true},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        assert_true(packet_filter_is_valid(view_of_text(pairs[i].filter)));
        assert_true(packet_topic_is_valid(view_of_text(pairs[i].topic)));
        if (packet_topic_matches(pairs[i].filter, view_of_text(pairs[i].topic)) !=
            pairs[i].matches)
            fail_msg("%s and %s", pairs[i].filter, pairs[i].topic);
    }
}

static void text_has_its_limits(void **state)
{
    (void)state;
    static uint8_t memory[65536];
    memset(memory, 'x', sizeof(memory));
    assert_true(packet_topic_is_valid(view_of(memory, 65535)));
    assert_false(packet_topic_is_valid(view_of(memory, 65536)));
    assert_true(packet_filter_is_valid(view_of(memory, 65535)));
    assert_false(packet_filter_is_valid(view_of(memory, 65536)));
    assert_false(packet_topic_is_valid((struct view){0}));
    assert_false(packet_filter_is_valid((struct view){0}));
    assert_true(packet_utf8_is_valid((struct view){0}));
    assert_false(packet_utf8_is_valid(view_of("a\0b", 3)));
    assert_false(packet_topic_is_valid(view_of("a\0b", 3)));
    assert_false(packet_filter_is_valid(view_of("a\0b", 3)));
    assert_false(packet_topic_is_valid(view_of_text("a\xC3")));
    assert_false(packet_filter_is_valid(view_of_text("a\xC3")));
}

/* Where words of eight bytes are checked at once, and behind the last one. */
static void a_bad_byte_is_found_at_each_place(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80", "\xff", "\xc3", "\x1f", "\x7f"};
    for (size_t size = 1; size <= 20; size++) {
        for (size_t at = 0; at < size; at++) {
            for (size_t i = 0; i < COUNT(bad); i++) {
                char text[20];
                memset(text, 'x', sizeof(text));
                text[at] = bad[i][0];
                bool is_ascii = (unsigned char)text[at] < 0x80;
                assert_false(packet_topic_is_valid(view_of(text, size)));
                assert_int_equal(packet_utf8_is_valid(view_of(text, size)), is_ascii);
            }
        }
    }
}

/* The code points of 1.5.4, and their neighbours. */
static const struct {
    uint32_t first;
    uint32_t last;
} disallowed[] = {
    {0x0001, 0x001F},
    {0x007F, 0x009F},
    {0xFDD0, 0xFDEF},
    {0xFFFE, 0xFFFF},
};

static bool is_disallowed(uint32_t point)
{
    for (size_t i = 0; i < COUNT(disallowed); i++)
        if (point >= disallowed[i].first && point <= disallowed[i].last)
            return true;
    return point > 0xFFFF && (point & 0xFFFF) >= 0xFFFE;
}

static size_t write_character(uint8_t *memory, uint32_t point)
{
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    for (size_t i = size; i > 1; i--, point >>= 6)
        memory[i - 1] = (uint8_t)(0x80 | (point & 0x3F));
    memory[0] = (uint8_t)(leads[size] | point);
    return size;
}

static void every_character_of_a_topic_is_taken_or_refused_as_1_5_4_tells(void **state)
{
    (void)state;
    uint8_t topic[8] = {'t'};
    unsigned refused = 0;
    for (uint32_t point = 1; point <= 0x10FFFF; point++) {
        if ((point >= 0xD800 && point <= 0xDFFF) || point == '+' || point == '#')
            continue;
        size_t size = 1 + write_character(topic + 1, point);
        topic[size++] = 't';
        if (packet_topic_is_valid(view_of(topic, size)) == is_disallowed(point))
            fail_msg("U+%04X", point);
        refused += is_disallowed(point);
    }
    assert_int_equal(refused, 31 + 33 + 32 + 34);
}

static const struct CMUnitTest plain_tests[] = {
    cmocka_unit_test(good_packet_cut_anywhere_is_waited_for),
    cmocka_unit_test(first_of_two_packets_is_framed),
    cmocka_unit_test(size_limit_is_decided_from_the_header_alone),
    cmocka_unit_test(failed_decode_leaves_its_output_alone),
    cmocka_unit_test(connect_tells_what_a_3_1_1_client_wants),
    cmocka_unit_test(connect_tells_what_a_version_5_client_wants),
    cmocka_unit_test(problem_information_is_wanted_unless_refused),
    cmocka_unit_test(unknown_version_tells_how_to_write_the_answer),
    cmocka_unit_test(version_is_seen_as_soon_as_it_is_there),
    cmocka_unit_test(publish_gives_views_into_the_packet),
    cmocka_unit_test(publish_finds_expiry_and_the_first_spool_ref),
    cmocka_unit_test(refused_topic_and_format_can_be_answered_by_their_id),
    cmocka_unit_test(kept_properties_leave_out_expiry_and_alias_and_keep_their_order),
    cmocka_unit_test(a_will_is_decoded_with_its_properties),
    cmocka_unit_test(no_properties_keep_nothing),
    cmocka_unit_test(properties_are_walked_with_their_values),
    cmocka_unit_test(damaged_properties_fail_their_reader),
    cmocka_unit_test(property_is_taken_only_where_table_2_4_allows_it),
    cmocka_unit_test(filters_are_walked_with_their_options),
    cmocka_unit_test(disconnect_and_acks_tell_their_code),
    cmocka_unit_test(connack_announces_what_a_producer_must_know),
    cmocka_unit_test(connack_leaves_out_what_is_not_limited),
    cmocka_unit_test(connack_with_a_client_id_of_any_length_fits_its_maximum),
    cmocka_unit_test(refusing_connack_has_no_session_and_no_properties),
    cmocka_unit_test(connack_3_1_1_has_the_return_code_that_fits),
    cmocka_unit_test(acks_are_as_short_as_their_content_allows),
    cmocka_unit_test(acks_say_only_what_their_tables_have),
    cmocka_unit_test(acks_with_any_other_code_are_not_encoded),
    cmocka_unit_test(suback_answers_every_filter),
    cmocka_unit_test(delivery_has_what_its_version_knows),
    cmocka_unit_test(delivery_that_mqtt_cannot_express_has_no_size),
    cmocka_unit_test(shared_filters_are_known),
    cmocka_unit_test(encoders_fail_in_memory_that_is_too_small),
    cmocka_unit_test(pingresp_is_two_bytes),
    cmocka_unit_test(disconnect_tells_the_reason_in_words),
    cmocka_unit_test(long_disconnect_reason_is_cut_between_characters),
    cmocka_unit_test(conditions_and_codes_have_their_answers_and_words),
    cmocka_unit_test(filters_match_as_section_4_7_tells),
    cmocka_unit_test(text_has_its_limits),
    cmocka_unit_test(a_bad_byte_is_found_at_each_place),
    cmocka_unit_test(every_character_of_a_topic_is_taken_or_refused_as_1_5_4_tells),
};

int main(void)
{
    static struct row states[COUNT(rows)]; /* cmocka wants to be able to write to a state */
    struct CMUnitTest tests[COUNT(rows) + COUNT(plain_tests)];

    memcpy(states, rows, sizeof(rows));
    for (size_t i = 0; i < COUNT(rows); i++)
        tests[i] =
            (struct CMUnitTest){rows[i].name, row_gives_its_condition, NULL, NULL, &states[i]};
    memcpy(tests + COUNT(rows), plain_tests, sizeof(plain_tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
