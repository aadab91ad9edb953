#!/bin/sh
# SPDX-License-Identifier: MIT
# Publish one message with mosquitto_rr (package mosquitto-clients), and print its outcome:
#
#     outcome.sh SOCKET CLIENT_ID TOPIC PAYLOAD
#
# mosquitto_rr subscribes to one topic (-e), publishes, prints the first message that comes, and
# ends. Here that topic has the deliveries of this client: a message that ends otherwise is waited
# for until the timeout (-W, in seconds), with exit status 27. A message that is refused is not
# reported. mosquitto_rr adds a Response Topic to the message.
set -eu
socket=$1 client=$2 topic=$3 payload=$4

exec mosquitto_rr --unix "$socket" -V 5 -i "$client" -q 1 -W "${TIMEOUT:-60}" \
    -e "\$SYS/spool/delivered/$client" -t "$topic" -m "$payload"
