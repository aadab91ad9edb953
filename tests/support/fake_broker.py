# SPDX-License-Identifier: MIT
"""A scripted MQTT 3.1.1 and 5 broker, publish side only, that misbehaves on purpose.

From Python: FakeBroker(reset_after=300).start(), then .url, .ledger, .change(...), .stop().
From elsewhere: fake_broker.py --reset-after 300 --ledger FILE; it prints its port when it listens
on 127.0.0.1, and ends when its standard input does. Each line there is an object of options in
JSON, to be changed from now on.

Options, alone or together; all but those of CONNACK also change while it runs:
  noack            take messages, never acknowledge
  noack_at TEXT    the same of those whose topic contains it
  late MS          acknowledge this much later
  half             the first two bytes of an acknowledgement, then nothing more on that connection
  twice            each acknowledgement two times
  wrong_id         acknowledge under a packet id that is not in flight
  garbage HEX      these bytes instead of each acknowledgement; ID stands for its packet id
  reason HH        answer with this reason code (MQTT 5), each Nth message only with `each N`,
                   only topics that contain `reason_at TEXT` with that
  close_at TEXT    close the connection at a PUBLISH whose topic contains it, without an answer
  close_percent N  the same at so many of the PUBLISHes, by chance
  connack HH       refuse connections with this code
  silent           accept connections, never answer
  reset_after N    RST instead of the Nth acknowledgement of each connection
  close_after N    close after the Nth acknowledgement of each connection
  dismiss HH       the same with a DISCONNECT of this code after the first one (MQTT 5), and with
                   `dismiss_properties HEX`
  connack_raw HEX  these bytes instead of a CONNACK, then close; `connack_raw_versions` are the
                   protocol versions that get them: both, or "5"
  receive_maximum N, maximum_packet N, maximum_qos N   announce it (MQTT 5)
  close_connect V  close at a CONNECT of these protocol versions ("5", "45"), without an answer, by
                   RST with `reset_connect`
  announce HEX     these properties in the CONNACK, besides those above (MQTT 5)
  session_present  set it in CONNACK, and remember QoS 2 packet ids over connections
  slow N           take N bytes a second, through a small receive buffer
  deaf             read nothing; what was sent meanwhile is read when it is unset
  mute             read all, answer nothing, not even PINGREQ
  after_connack HEX  these bytes right behind each CONNACK of success
  skip N           never acknowledge the Nth PUBLISH with a packet id of each connection
  keep_at TEXT     the ledger has the whole payload, as text, if the topic contains it

The ledger has one record a PUBLISH: conn, version, qos, dup, retain, pid, topic, bytes, sha256,
head (how the payload begins), user (its user properties as pairs), seq and intact; a QoS 2 message is recorded once, however often it
comes. `seq` is the number the payload begins with. A payload "SEQ;...;CRC" ends in the CRC-32 of
all before its last semicolon, as eight hex digits: `intact` is true if that holds and the topic
ends in "/SEQ"; it is null for other payloads unless `check` is set, which makes all of them
damaged. A "connect" has the will: topic, payload, qos, retain and delay (null: none), or null; and
the session expiry; a "disconnect" has its code. Also: {"event": "connect" | "disconnect" | "end" | "violation", ...}; a violation is a
PUBLISH beyond what was announced, or a malformed packet.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import socket
import struct
import sys
import threading
import zlib

from mqtt import varint

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
OPTIONS = {
    "noack": False, "noack_at": "", "late": 0, "half": False, "twice": False, "wrong_id": False,
    "garbage": "", "reason": 0, "each": 1, "reason_at": "", "close_at": "", "close_percent": 0,
    "connack": 0, "silent": False, "reset_after": 0,
    "receive_maximum": 0, "maximum_packet": 0, "maximum_qos": None, "session_present": False,
    "check": False, "close_after": 0, "dismiss": 0, "dismiss_properties": "",
    "connack_raw": "", "connack_raw_versions": "45", "announce": "",
    "close_connect": "", "reset_connect": False,
    "slow": 0, "deaf": False, "mute": False, "skip": 0,
    "after_connack": "", "keep_at": "",
}
SLOW_BUFFER = 8192
HEAD = 32
CHECKED = re.compile(rb"(\d+);.*;([0-9a-f]{8})", re.DOTALL)


def read_varint(data, at):
    """The number and where it ends; None while it is incomplete."""
    number = 0
    for i in range(4):
        if at + i >= len(data):
            return None
        number |= (data[at + i] & 0x7F) << (7 * i)
        if not data[at + i] & 0x80:
            return number, at + i + 1
    raise ValueError("length of five bytes")


def numbers(body, at):
    """The properties of a CONNECT or a will, which are all numbers, by id; and where they end."""
    sizes = {0x01: 1, 0x02: 4, 0x11: 4, 0x18: 4, 0x21: 2, 0x22: 2, 0x27: 4}
    length, at = read_varint(body, at)
    end, found = at + length, {}
    while at < end:
        kind, size = body[at], sizes[body[at]]
        found[kind] = int.from_bytes(body[at + 1:at + 1 + size], "big")
        at += 1 + size
    return found, end


def publish_properties(encoded):
    """Of a PUBLISH: the pairs, and the topic alias (None: there is none)."""
    sizes = {0x01: 1, 0x02: 4}  # the others are a text each; 0x26 is two
    pairs, alias, at = [], None, 0

    def text():
        nonlocal at
        size = struct.unpack(">H", encoded[at:at + 2])[0]
        at += 2 + size
        return encoded[at - size:at].decode()
    while at < len(encoded):
        kind = encoded[at]
        at += 1
        if kind == 0x26:
            name = text()
            pairs.append((name, text()))
        elif kind == 0x23:
            alias = struct.unpack(">H", encoded[at:at + 2])[0]
            at += 2
        elif kind in sizes:
            at += sizes[kind]
        else:  # it may be binary
            at += 2 + struct.unpack(">H", encoded[at:at + 2])[0]
    return pairs, alias


def is_intact(topic, payload, check):
    match = CHECKED.fullmatch(payload)
    if not match:
        return False if check else None
    same = "%08x" % zlib.crc32(payload[:-9]) == match.group(2).decode()
    return same and topic.endswith("/" + match.group(1).decode())


class Connection(asyncio.Protocol):
    def __init__(self, broker):
        self.broker = broker
        self.input = bytearray()
        self.version = 4
        self.client = ""
        self.answered = 0
        self.acknowledged = 0
        self.unanswered = set()
        self.aliases = {}
        self.is_over = False

    def connection_made(self, transport):
        self.transport = transport
        self.broker.connections += 1
        self.number = self.broker.connections
        self.broker.open.add(self)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pace(self, size):
        """Reads on when so many bytes may have come."""
        options = self.broker.options
        if self.is_over or not (options["slow"] or options["deaf"]):
            return
        self.transport.pause_reading()
        if options["slow"] and not options["deaf"]:
            self.broker.loop.call_later(size / options["slow"], self.resume)

    def resume(self):
        if not self.transport.is_closing() and not self.broker.options["deaf"]:
            self.transport.resume_reading()

    def connection_lost(self, error):
        self.is_over = True
        self.broker.open.discard(self)
        self.broker.record({"event": "end", "conn": self.number})

    def reset(self):
        """RST: what is in transit to either side is lost."""
        self.is_over = True
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def data_received(self, data):
        self.pace(len(data))
        self.input += data
        self.broker.received += len(data)
        at = 0
        while not self.is_over and at + 1 < len(self.input):
            length = read_varint(self.input, at + 1)
            if length is None or length[1] + length[0] > len(self.input):
                break
            end = length[1] + length[0]
            try:
                self.take(self.input[at], bytes(self.input[length[1]:end]), end - at)
            except (struct.error, IndexError, TypeError, ValueError):
                self.broker.record({"event": "violation", "conn": self.number, "of": "form"})
                self.reset()
            at = end
        del self.input[:at]

    def send(self, kind, body):
        if self.broker.options["mute"]:
            return
        if not self.is_over and not self.transport.is_closing():
            self.transport.write(bytes([kind]) + varint(len(body)) + body)

    def take(self, first, body, size):
        kind = first >> 4
        if kind == CONNECT:
            self.on_connect(body)
        elif kind == PUBLISH:
            self.on_publish(first, body, size)
        elif kind == PUBREL:
            pid = struct.unpack(">H", body[:2])[0]
            self.broker.open_pids(self.client).discard(pid)
            self.unanswered.discard(pid)
            self.send(PUBCOMP << 4, body[:2])
        elif kind == PINGREQ and not self.broker.options["silent"]:
            self.send(PINGRESP << 4, b"")
        elif kind == DISCONNECT:
            self.broker.record({"event": "disconnect", "conn": self.number,
                                "code": body[0] if body else 0})
            self.transport.close()

    def on_connect(self, body):
        options = self.broker.options
        name = struct.unpack(">H", body[:2])[0]
        self.version, flags = body[2 + name], body[3 + name]
        at = 6 + name
        properties = {}
        if self.version == 5:
            properties, at = numbers(body, at)
        keepalive = struct.unpack(">H", body[4 + name:6 + name])[0]
        size = struct.unpack(">H", body[at:at + 2])[0]
        self.client = body[at + 2:at + 2 + size].decode()
        self.broker.record({"event": "connect", "conn": self.number, "version": self.version,
                            "client": self.client, "clean": bool(flags & 2),
                            "keepalive": keepalive,
                            "session_expiry": properties.get(0x11, 0),
                            "will": self.read_will(flags, body, at + 2 + size)})
        if options["silent"]:
            return
        if str(self.version) in options["close_connect"]:
            if options["reset_connect"]:
                self.reset()
            else:
                self.transport.close()
            return
        if options["connack_raw"] and str(self.version) in options["connack_raw_versions"]:
            self.transport.write(bytes.fromhex(options["connack_raw"]))
            self.transport.close()
            return
        present = options["session_present"] and not flags & 2
        if not present:
            self.broker.open_pids(self.client).clear()
        code = options["connack"]
        answer = bytes([1 if present and not code else 0, code])
        if self.version == 5:
            properties = self.announced()
            answer += varint(len(properties)) + properties
        self.send(CONNACK << 4, answer)
        if code:
            self.transport.close()
        elif options["after_connack"]:
            self.transport.write(bytes.fromhex(options["after_connack"]))

    def read_will(self, flags, body, at):
        if not flags & 4:
            return None
        properties = {}
        if self.version == 5:
            properties, at = numbers(body, at)
        texts = []
        for _ in range(2):
            size = struct.unpack(">H", body[at:at + 2])[0]
            at += 2 + size
            texts.append(body[at - size:at].decode())
        return {"topic": texts[0], "payload": texts[1], "qos": flags >> 3 & 3,
                "retain": bool(flags & 0x20), "delay": properties.get(0x18)}

    def announced(self):
        options = self.broker.options
        out = b""
        if options["receive_maximum"]:
            out += b"\x21" + struct.pack(">H", options["receive_maximum"])
        if options["maximum_packet"]:
            out += b"\x27" + struct.pack(">I", options["maximum_packet"])
        if options["maximum_qos"] is not None:
            out += bytes([0x24, options["maximum_qos"]])
        return out + bytes.fromhex(options["announce"])

    def on_publish(self, first, body, size):
        qos = first >> 1 & 3
        length = struct.unpack(">H", body[:2])[0]
        topic = body[2:2 + length].decode("utf-8", "backslashreplace")
        at = 2 + length
        pid = 0
        if qos:
            pid = struct.unpack(">H", body[at:at + 2])[0]
            at += 2
        user = []
        if self.version == 5:
            length, at = read_varint(body, at)
            user, alias = publish_properties(body[at:at + length])
            at += length
            topic = self.resolve_alias(topic, alias)
        self.check_limits(qos, pid, size)
        pids = self.broker.open_pids(self.client)
        if qos < 2 or pid not in pids:
            self.broker.record_publish(self, first, pid, topic, body[at:], user)
        if qos == 2:
            pids.add(pid)
        options = self.broker.options
        if self.broker.on_publish:
            self.broker.on_publish(topic)
        if self.broker.is_at("close_at", topic) or \
                self.broker.random.randrange(100) < options["close_percent"]:
            self.is_over = True
            self.transport.close()
        elif qos:
            self.answer(PUBACK if qos == 1 else PUBREC, pid, topic)

    def resolve_alias(self, topic, alias):
        """The topic that is meant."""
        if alias is None:
            return topic
        if topic:
            self.aliases[alias] = topic
        elif alias not in self.aliases:
            self.broker.record({"event": "violation", "conn": self.number, "of": "alias"})
        else:
            self.broker.aliased += 1
        return topic or self.aliases.get(alias, "")

    def check_limits(self, qos, pid, size):
        options = self.broker.options
        if qos:
            self.unanswered.add(pid)
        broken = ""
        if options["receive_maximum"] and len(self.unanswered) > options["receive_maximum"]:
            broken = "receive_maximum"
        elif options["maximum_packet"] and size > options["maximum_packet"]:
            broken = "maximum_packet"
        elif options["maximum_qos"] is not None and qos > options["maximum_qos"]:
            broken = "maximum_qos"
        if broken and self.version == 5:
            self.broker.record({"event": "violation", "conn": self.number, "of": broken})

    def answer(self, kind, pid, topic):
        options = self.broker.options
        if self.broker.is_at("noack_at", topic):
            return
        self.answered += 1
        if options["reset_after"] and self.answered >= options["reset_after"]:
            self.reset()
            return
        if options["noack"] or self.answered == options["skip"]:
            return
        body = struct.pack(">H", pid)
        refused = (options["reason"] and self.answered % options["each"] == 0 and
                   options["reason_at"] in topic)
        if refused and self.version == 5:
            body += bytes([options["reason"]])
        if kind == PUBACK or refused:
            self.broker.open_pids(self.client).discard(pid)
        if options["late"]:
            self.broker.loop.call_later(options["late"] / 1000, self.acknowledge, kind, pid, body)
        else:
            self.acknowledge(kind, pid, body)

    def acknowledge(self, kind, pid, body):
        if kind == PUBACK or len(body) > 2:
            self.unanswered.discard(pid)
        options = self.broker.options
        if self.is_over or self.transport.is_closing():
            return
        if options["half"]:
            self.transport.write(bytes([kind << 4, len(body)]))
            self.is_over = True  # open, and mute
        elif options["garbage"]:
            text = options["garbage"].replace("ID", body[:2].hex())
            self.transport.write(bytes.fromhex(text))
        else:
            if options["wrong_id"]:
                body = struct.pack(">H", pid ^ 0x4000) + body[2:]
            for _ in range(2 if options["twice"] else 1):
                self.send(kind << 4, body)
            self.acknowledged += 1
            self.end_politely()

    def end_politely(self):
        options = self.broker.options
        if options["dismiss"] and self.version == 5:
            properties = bytes.fromhex(options["dismiss_properties"])
            self.send(DISCONNECT << 4,
                      bytes([options["dismiss"]]) + varint(len(properties)) + properties)
        elif not options["close_after"] or self.acknowledged < options["close_after"]:
            return
        self.transport.close()
        self.is_over = True


class FakeBroker:
    def __init__(self, ledger_file=None, tls=None, host=None, **options):
        """@tls: an ssl.SSLContext; without a @host the URL is then for the name localhost."""
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise TypeError("no such option: %s" % ", ".join(sorted(unknown)))
        self.options = dict(OPTIONS, **options)
        self.tls = tls
        self.ledger = []
        self.host = host
        self.connections = 0
        self.aliased = 0  # PUBLISHes with an alias instead of a topic
        self.received = 0  # bytes
        self.random = random.Random(1)
        self.on_publish = None  # called with the topic before a PUBLISH is answered
        self.open = set()
        self.port = 0
        self._pids = {}
        self._file = open(ledger_file, "w", 1) if ledger_file else None  # it may be killed
        self._thread = None

    @property
    def url(self):
        host = self.host or ("localhost" if self.tls else "127.0.0.1")
        host = "[%s]" % host if ":" in host else host
        return "%s://%s:%d" % ("ssl" if self.tls else "tcp", host, self.port)

    def open_pids(self, client):
        """Packet ids of QoS 2 between PUBLISH and PUBREL."""
        return self._pids.setdefault(client, set())

    def record(self, entry):
        if self._file:
            self._file.write(json.dumps(entry) + "\n")
        else:
            self.ledger.append(entry)

    def record_publish(self, connection, first, pid, topic, payload, user):
        seq = re.match(rb"\d+", payload)
        self.record({
            "conn": connection.number, "version": connection.version, "qos": first >> 1 & 3,
            "dup": bool(first & 8), "retain": bool(first & 1), "pid": pid, "topic": topic,
            "bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest(),
            "head": payload[:HEAD].decode("latin-1"),
            "seq": int(seq.group()) if seq else None,
            "intact": is_intact(topic, payload, self.options["check"]),
            "user": user,
            **({"payload": payload.decode()} if self.is_at("keep_at", topic) else {}),
        })

    def is_at(self, option, topic):
        """Is the option set, and its text in the topic?"""
        return self.options[option] != "" and self.options[option] in topic

    def events(self, name):
        return [entry for entry in list(self.ledger) if entry.get("event") == name]

    def publishes(self):
        return [entry for entry in list(self.ledger) if "event" not in entry]

    def change(self, **options):
        was_deaf = self.options["deaf"]
        self.options.update(options)
        if was_deaf and not self.options["deaf"]:
            self.loop.call_soon_threadsafe(lambda: [c.resume() for c in list(self.open)])

    def send_all(self, raw):
        """These bytes to every connected client."""
        self.loop.call_soon_threadsafe(
            lambda: [c.transport.write(raw) for c in list(self.open)])

    def reset_all(self):
        """RST to every connected client."""
        self.loop.call_soon_threadsafe(lambda: [c.reset() for c in list(self.open)])

    def acknowledge_all(self):
        """What has come by QoS 1 and is unanswered on the connections that are open."""
        def run():
            for connection in list(self.open):
                for pid in sorted(connection.unanswered):
                    connection.acknowledge(PUBACK, pid, struct.pack(">H", pid))
        self.loop.call_soon_threadsafe(run)

    async def listen(self):
        self.loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        host = self.host or "127.0.0.1"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family)
        if self.options["slow"] or self.options["deaf"]:  # before a connection has its window
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        server = await self.loop.create_server(lambda: Connection(self), sock=listener,
                                               ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def serve(self, on_ready):
        server = await self.listen()
        on_ready()
        await self._end.wait()
        server.close()
        for connection in list(self.open):
            connection.transport.abort()
        await asyncio.sleep(0)  # their ends are recorded
        if self._file:
            self._file.close()

    def end(self):
        self.loop.call_soon_threadsafe(self._end.set)

    def start(self):
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(ready.set)), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake broker does not listen")
        return self

    def stop(self):
        if self._thread and self._thread.is_alive():
            self.end()
            self._thread.join(10)
        self._thread = None


def main():
    parser = argparse.ArgumentParser(description="a broker that misbehaves on purpose")
    parser.add_argument("--ledger", metavar="FILE", help="JSON lines; without it none is kept")
    for name, value in OPTIONS.items():
        flag = "--" + name.replace("_", "-")
        if value is False:
            parser.add_argument(flag, action="store_true")
        elif value == "":
            parser.add_argument(flag, default=value, metavar="TEXT" if name.endswith("_at") else "HEX")
        else:
            base = 16 if name in ("reason", "connack", "dismiss") else 10
            parser.add_argument(flag, default=value, metavar="HH" if base == 16 else "N",
                                type=lambda text, base=base: int(text, base))
    arguments = vars(parser.parse_args())
    broker = FakeBroker(arguments.pop("ledger") or "/dev/null", **arguments)

    def wait_for_end():
        for line in sys.stdin:
            broker.change(**json.loads(line))
        broker.end()

    def on_ready():
        print(broker.port, flush=True)
        threading.Thread(target=wait_for_end, daemon=True).start()

    asyncio.run(broker.serve(on_ready))


if __name__ == "__main__":
    main()
