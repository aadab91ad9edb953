#!/bin/sh
# SPDX-License-Identifier: MIT
# Publish one message from the shell, and try again while that makes sense:
#
#     publish.sh SOCKET CLIENT_ID TOPIC PAYLOAD
#
# Exit status: 0 the message is on disk; 65 or 77 no other try will succeed; else that of the last
# try. `mqtt-spool failures` and the audit file name the message by the id that is printed.
set -u
socket=$1 client=$2 topic=$3 payload=$4
tool=${MQTT_SPOOL:-mqtt-spool}

tries=0
while :; do
    "$tool" publish --socket "$socket" -i "$client" -t "$topic" -m "$payload" -v
    status=$?
    tries=$((tries + 1))
    # 75: the spool is full or the daemon restarts; 69: no daemon listens.
    [ "$status" = 75 ] || [ "$status" = 69 ] || exit "$status"
    [ "$tries" -lt 10 ] || exit "$status"
    sleep 1
done
