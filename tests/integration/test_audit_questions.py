#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mqtt-spool audit: was everything delivered or explained, and what became of one message?"""

import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from seals import audit, evicting, publish  # noqa: E402
from tap import case, check, equal, run_all, wait_for  # noqa: E402


def ask(gateway, *options, code=0):
    done = gateway.tool("audit", "--json", *options)
    equal(done.returncode, code, "exit code of %r: %s%s" % (options, done.stdout, done.stderr))
    return json.loads(done.stdout)["answer"]


@case
def whether_all_was_delivered_or_explained_is_answered_in_one_sentence():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url, retention={"max_messages": 3}).start()
    gateway.wait_link()
    publish(gateway, 2, "plant/7/t")
    gateway.wait_drained()
    gateway.wait_audit(2)
    between = gateway.audit_lines()[-1]["time"]
    wait_for(lambda: gateway.fresh_status()["time"] > between, 30, "the next instant")
    broker.stop()
    wait_for(lambda: gateway.status()["link"]["state"] != "online", 30, "the link down")
    publish(gateway, 5, "plant/8/t")
    gateway.wait_audit(4)
    answer = ask(gateway, "--until", between)
    equal((answer["verdict"], answer["delivered"], answer["spooled"]), ("all", 2, 0), "at first")
    answer = ask(gateway, "--since", between, code=75)
    equal((answer["verdict"], answer["evicted"], answer["spooled"]), ("spooled", 2, 3), "then")
    check("explained: not yet; of 5 accepted, 3 are still spooled" in answer["text"], "sentence",
          answer["text"])
    equal(ask(gateway, "--topic", "plant/+/t", code=75)["delivered"], 2, "of a filter")
    equal(ask(gateway, "--topic", "plant/7/#")["spooled"], 0, "of another one")
    equal(ask(gateway, "--client", "another")["delivered"], 0, "of another client")
    page = gateway.tool("audit", "--topic", "plant/7/#").stdout.decode()
    check("\nanswer    each is delivered or explained: yes; of 2 accepted, 2 were delivered\n" in page, "on the page", page)
    equal(gateway.tool("audit", "--since", "yesterday").returncode, 64, "no time")
    equal(gateway.tool("audit", "--topic", "a/#/b").returncode, 64, "no filter")
    gateway.stop()
    # Files alone say what they cannot know.
    done = gateway.tool("audit", "--topic", "plant/8/#", "--directory", gateway.spool)
    equal(done.returncode, 75, "of a stopped gateway")
    code, found = audit([gateway.audit], "--topic", "plant/8/#")
    equal((code, found["answer"]["spooled"], found["answer"]["evicted"]), (0, None, 2), "files")
    check("not known without the database" in found["answer"]["text"], "sentence", found["answer"])


@case
def the_life_of_one_message_is_shown():
    gateway = evicting().start()
    with gateway.client(5, client_id="press") as client:
        properties = {"user": [("spool-ref", "order/1")]}
        equal(client.publish_wait("plant/1", b"one", properties=properties).reason, 0, "PUBACK")
        equal(client.publish_wait("plant/1", b"two").reason, 0, "PUBACK")
    gateway.wait_audit(1)
    record, = gateway.audit_lines()
    answer = ask(gateway, "--id", str(record["id"]))
    equal((answer["verdict"], answer["messages"][0]["record"]), ("all", record), "its record")
    equal(answer["messages"][0]["line"], 2, "behind the seal with which the chain starts")
    equal(ask(gateway, "--ref", "order/1")["messages"][0]["record"]["id"], record["id"], "by ref")
    page = gateway.tool("audit", "--id", str(record["id"])).stdout.decode()
    for words in ("from press (user %d), topic plant/1" % os.getuid(), "evicted: max_messages",
                  "seq 1, %s:2" % gateway.audit):
        check(words in page, words, page)
    equal(ask(gateway, "--id", str(record["id"] + 1), code=75)["spooled"], 1, "the other one")
    equal(ask(gateway, "--id", "999999", code=65)["verdict"], "not_found", "none")
    gateway.stop()


if __name__ == "__main__":
    run_all()
