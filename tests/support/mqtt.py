# SPDX-License-Identifier: MIT
"""A small raw MQTT 3.1.1 and 5 client over Unix or TCP sockets.

It hides nothing: a test sees each packet with its flags, reason code and properties, may send bytes
that are not MQTT, and decides itself when it reads. Blocking, with a deadline on each read.
"""

import contextlib
import socket
import struct
import threading
import time

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK = range(1, 10)
UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(10, 16)
NAMES = dict(enumerate(
    "- CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE "
    "UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH".split()))

# Property ids by name, with how each is encoded.
PROPERTIES = {
    "payload_format": (0x01, "byte"), "message_expiry": (0x02, "four"),
    "content_type": (0x03, "text"), "response_topic": (0x08, "text"),
    "correlation_data": (0x09, "data"), "subscription_id": (0x0B, "varint"),
    "session_expiry": (0x11, "four"), "assigned_client_id": (0x12, "text"),
    "server_keep_alive": (0x13, "two"), "auth_method": (0x15, "text"),
    "auth_data": (0x16, "data"), "request_problem": (0x17, "byte"),
    "will_delay": (0x18, "four"), "request_response": (0x19, "byte"),
    "response_information": (0x1A, "text"), "server_reference": (0x1C, "text"),
    "reason_string": (0x1F, "text"), "receive_maximum": (0x21, "two"),
    "topic_alias_maximum": (0x22, "two"), "topic_alias": (0x23, "two"),
    "maximum_qos": (0x24, "byte"), "retain_available": (0x25, "byte"),
    "user": (0x26, "pair"), "maximum_packet_size": (0x27, "four"),
    "wildcard_available": (0x28, "byte"), "subscription_id_available": (0x29, "byte"),
    "shared_available": (0x2A, "byte"),
}
_BY_ID = {number: (name, form) for name, (number, form) in PROPERTIES.items()}


class Closed(Exception):
    """The other side closed; .packet is the DISCONNECT it sent before, if any."""

    def __init__(self, packet=None):
        super().__init__("closed" + (" after %s" % packet if packet else ""))
        self.packet = packet


def varint(number):
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def data(value):
    value = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack(">H", len(value)) + value


def encode_properties(properties):
    """{"content_type": "text/plain", "user": [("a", "b")]} with its length in front."""
    out = b""
    for name, value in (properties or {}).items():
        number, form = PROPERTIES[name]
        if form == "pair":
            for key, text in value:
                out += bytes([number]) + data(key) + data(text)
        elif form in ("text", "data"):
            out += bytes([number]) + data(value)
        elif form == "varint":
            out += bytes([number]) + varint(value)
        else:
            out += bytes([number]) + struct.pack({"byte": ">B", "two": ">H", "four": ">I"}[form],
                                                 value)
    return varint(len(out)) + out


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect_packet(version=5, client_id="", clean=True, keepalive=60, username=None,
                   password=None, properties=None, will=None):
    """will: topic and payload; qos, retain and properties if they are not the least."""
    flags = (2 if clean else 0) | (0x80 if username is not None else 0) \
        | (0x40 if password is not None else 0)
    if will:
        flags |= 4 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
    body = data("MQTT") + bytes([version, flags]) + struct.pack(">H", keepalive)
    if version == 5:
        body += encode_properties(properties)
    body += data(client_id)
    if will:
        body += encode_properties(will.get("properties")) if version == 5 else b""
        body += data(will["topic"]) + data(will["payload"])
    body += data(username) if username is not None else b""
    body += data(password) if password is not None else b""
    return packet(CONNECT, body)


def publish_packet(version, topic, payload, qos=0, packet_id=0, retain=False, dup=False,
                   properties=None):
    body = data(topic)
    if qos:
        body += struct.pack(">H", packet_id)
    if version == 5:
        body += encode_properties(properties)
    payload = payload.encode() if isinstance(payload, str) else bytes(payload)
    return packet(PUBLISH, body + payload, qos << 1 | (1 if retain else 0) | (8 if dup else 0))


class Reader:
    """Parses a packet; short input raises IndexError or struct.error."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, count):
        if self.at + count > len(self.body):
            raise IndexError("packet too short")
        self.at += count
        return self.body[self.at - count:self.at]

    def two(self):
        return struct.unpack(">H", self.take(2))[0]

    def data(self):
        return self.take(self.two())

    def varint(self):
        value = shift = 0
        while True:
            digit = self.take(1)[0]
            value |= (digit & 0x7F) << shift
            if not digit & 0x80:
                return value
            shift += 7

    def rest(self):
        return self.take(len(self.body) - self.at)

    def properties(self):
        found = {}
        end = self.varint() + self.at
        while self.at < end:
            name, form = _BY_ID[self.take(1)[0]]
            if form == "pair":
                found.setdefault(name, []).append((self.data().decode(), self.data().decode()))
            elif form == "text":
                found[name] = self.data().decode()
            elif form == "data":
                found[name] = self.data()
            elif form == "varint":
                found[name] = self.varint()
            else:
                size = {"byte": 1, "two": 2, "four": 4}[form]
                found[name] = int.from_bytes(self.take(size), "big")
        return found


class Packet:
    """One packet that came in, its fields as attributes."""

    def __init__(self, kind, flags, body, version):
        self.kind, self.flags, self.body = kind, flags, body
        self.packet_id = None
        self.reason = None
        self.properties = {}
        self._parse(Reader(body), version)

    def _parse(self, reader, version):
        if self.kind == CONNACK:
            self.session_present = reader.take(1)[0]
            self.reason = reader.take(1)[0]
            self.properties = reader.properties() if len(self.body) > 2 else {}
        elif self.kind == PUBLISH:
            self.qos = self.flags >> 1 & 3
            self.retain, self.dup = bool(self.flags & 1), bool(self.flags & 8)
            self.topic = reader.data().decode()
            self.packet_id = reader.two() if self.qos else None
            self.properties = reader.properties() if version == 5 else {}
            self.payload = reader.rest()
        elif self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.packet_id = reader.two()
            rest = len(reader.body) - reader.at
            self.reason = reader.take(1)[0] if rest else 0
            self.properties = reader.properties() if rest > 1 else {}
        elif self.kind in (SUBACK, UNSUBACK):
            self.packet_id = reader.two()
            self.properties = reader.properties() if version == 5 else {}
            self.reasons = list(reader.rest())
        elif self.kind in (DISCONNECT, AUTH):
            rest = len(reader.body)
            self.reason = reader.take(1)[0] if rest else 0
            self.properties = reader.properties() if rest > 1 else {}

    def __repr__(self):
        shown = NAMES.get(self.kind, "?")
        if self.reason is not None:
            shown += " reason=0x%02x" % self.reason
        if self.packet_id is not None:
            shown += " id=%d" % self.packet_id
        return "<%s>" % shown


def dial(address, timeout=10):
    """@address: a path of a Unix socket, or (host, port)."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Client:
    def __init__(self, address, version=5, client_id="", timeout=10, **connect_options):
        self.version, self.client_id, self.timeout = version, client_id, timeout
        self.connect_options = connect_options
        self.sock = dial(address, timeout)
        self.buffer = bytearray()
        self.at = 0
        self.last_id = 0
        self.connack = None

    def __enter__(self):
        if self.connack is None:
            self.connect()
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, raw):
        self.sock.sendall(raw)

    def _frame(self):
        """One complete packet from the buffer, or None."""
        size, shift, index = 0, 0, self.at + 1
        while True:
            if index >= len(self.buffer):
                return None
            digit = self.buffer[index]
            size |= (digit & 0x7F) << shift
            index, shift = index + 1, shift + 7
            if not digit & 0x80:
                break
        if len(self.buffer) < index + size:
            return None
        first, body = self.buffer[self.at], bytes(self.buffer[index:index + size])
        self.at = index + size
        if self.at > 65536:
            del self.buffer[:self.at]
            self.at = 0
        return Packet(first >> 4, first & 15, body, self.version)

    def receive(self, timeout=None):
        """The next packet; raises Closed at the end, socket.timeout when nothing comes."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            found = self._frame()
            if found:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout("nothing came")
            self.sock.settimeout(left)
            try:
                more = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                more = b""
            finally:
                with contextlib.suppress(OSError):
                    self.sock.settimeout(self.timeout)
            if not more:
                raise Closed()
            self.buffer += more

    def expect(self, kind, timeout=None):
        found = self.receive(timeout)
        if found.kind != kind:
            raise AssertionError("%s came, wanted %s" % (found, NAMES[kind]))
        return found

    def expect_closed(self, timeout=None):
        """Reads to the end; returns the last packet before it, or None."""
        last = None
        while True:
            try:
                last = self.receive(timeout)
            except Closed:
                return last

    def connect(self):
        self.send(connect_packet(self.version, self.client_id, **self.connect_options))
        self.connack = self.expect(CONNACK)
        if self.connack.reason:
            raise AssertionError("refused: %s" % self.connack)
        return self.connack

    def next_id(self):
        self.last_id = self.last_id % 65535 + 1
        return self.last_id

    def publish(self, topic, payload, qos=1, retain=False, properties=None, dup=False):
        """Sends only; returns the packet id (0 for QoS 0)."""
        packet_id = self.next_id() if qos else 0
        self.send(publish_packet(self.version, topic, payload, qos, packet_id, retain, dup,
                                 properties))
        return packet_id

    def publish_wait(self, topic, payload, **options):
        """Publishes at QoS 1 and returns its PUBACK."""
        packet_id = self.publish(topic, payload, qos=1, **options)
        ack = self.expect(PUBACK)
        if ack.packet_id != packet_id:
            raise AssertionError("PUBACK for %d, wanted %d" % (ack.packet_id, packet_id))
        return ack

    def publish_many(self, messages, window=100):
        """Pipelines (topic, payload) pairs at QoS 1; yields (index, PUBACK) as they come."""
        open_ids, index = {}, 0
        messages = iter(messages)
        more = True
        while more or open_ids:
            out = bytearray()
            while more and len(open_ids) < window:
                try:
                    topic, payload = next(messages)
                except StopIteration:
                    more = False
                    break
                packet_id = self.next_id()
                open_ids[packet_id] = index
                index += 1
                out += publish_packet(self.version, topic, payload, 1, packet_id)
            if out:
                self.send(out)
            if open_ids:
                ack = self.expect(PUBACK)
                yield open_ids.pop(ack.packet_id), ack

    def subscribe(self, topic_filter, options=1):
        packet_id = self.next_id()
        body = struct.pack(">H", packet_id)
        body += encode_properties(None) if self.version == 5 else b""
        self.send(packet(SUBSCRIBE, body + data(topic_filter) + bytes([options]), 2))
        return self.expect(SUBACK)

    def unsubscribe(self, topic_filter):
        packet_id = self.next_id()
        body = struct.pack(">H", packet_id)
        body += encode_properties(None) if self.version == 5 else b""
        self.send(packet(UNSUBSCRIBE, body + data(topic_filter), 2))
        return self.expect(UNSUBACK)

    def ping(self):
        self.send(packet(PINGREQ))
        return self.expect(PINGRESP)

    def disconnect(self):
        with contextlib.suppress(OSError):
            self.send(packet(DISCONNECT))
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()


def spool_id(ack):
    """The spool-id of a v5 acknowledgement as a number."""
    for key, value in ack.properties.get("user", []):
        if key == "spool-id":
            return int(value)
    raise AssertionError("no spool-id in %s %r" % (ack, ack.properties))


class Subscriber:
    """The remote side: subscribes to everything at a broker, in a separate thread.

    Retain as published, so that the flag is seen as it came. With @session the broker keeps
    what comes while the subscriber is away; it reconnects by itself.
    """

    def __init__(self, address, topic_filter="#", qos=2, client_id="far-side", session=False,
                 username=None, password=None):
        self.address, self.filter, self.qos = address, topic_filter, qos
        self.options = dict(client_id=client_id, clean=not session, username=username,
                            password=password, keepalive=0)
        if session:
            self.options["properties"] = {"session_expiry": 0xFFFFFFFF}
        self.messages = []
        self.connections = 0
        self.subscribed = threading.Event()
        self._half = set()  # QoS 2 ids between PUBLISH and PUBREL, kept over reconnects
        self._ending = False
        self._client = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, seconds=10):
        self._thread.start()
        if not self.subscribed.wait(seconds):
            raise AssertionError("the subscriber could not subscribe at %r" % (self.address,))
        return self

    def stop(self):
        self._ending = True
        if self._client:
            with contextlib.suppress(OSError):
                self._client.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def payloads(self):
        return [message.payload for message in list(self.messages)]

    def _run(self):
        while not self._ending:
            try:
                with Client(self.address, 5, timeout=3600, **self.options) as client:
                    self._client = client
                    self.connections += 1
                    client.send(packet(SUBSCRIBE, b"\x00\x01\x00" + data(self.filter)
                                       + bytes([self.qos | 8]), 2))
                    self._take(client)
            except (OSError, Closed, AssertionError):
                time.sleep(0.05)
            finally:
                self.subscribed.clear()

    def _take(self, client):
        while not self._ending:
            came = client.receive(3600)
            if came.kind == SUBACK:
                self.subscribed.set()
            elif came.kind == PUBLISH:
                if came.qos != 2 or came.packet_id not in self._half:
                    self.messages.append(came)
                if came.qos == 2:
                    self._half.add(came.packet_id)
                if came.qos:
                    kind = PUBACK if came.qos == 1 else PUBREC
                    client.send(packet(kind, struct.pack(">H", came.packet_id)))
            elif came.kind == PUBREL:
                self._half.discard(came.packet_id)
                client.send(packet(PUBCOMP, struct.pack(">H", came.packet_id)))
