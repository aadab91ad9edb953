# SPDX-License-Identifier: MIT
"""One run from end to end: producer, gateway, far end; and the check that everything arrived."""

from measure.counters import CpuMeter
from measure.processes import SIZE, Broker, RemoteBroker, Sink

PRODUCER_WINDOW = 100


def check_arrivals(arrivals, count):
    """Each run has to deliver all; what was repeated is reported."""
    if arrivals["distinct"] != count or arrivals["foreign"]:
        raise SystemExit(f"bench: of {count} messages {arrivals['distinct']} arrived, "
                         f"and {arrivals['foreign']} that were not sent")


class Flow:
    """@gateway is "daemon", "bridge" or "paho"; @far is "sink" or "mosquitto"."""

    def __init__(self, scope, gateway, far, count, size=SIZE, tls=None, paho_window=0,
                 is_unix=False, **settings):
        self._scope, self.count, self.size = scope, count, size
        if far == "sink":
            self.far = scope.start(Sink(scope, count, tls=tls))
        else:
            self.far = RemoteBroker(scope, count)
        self.gateway, self.paho_window, self._pids = None, paho_window, dict(self.far.pids)
        if gateway == "daemon":
            self.gateway = scope.daemon(self.far.port, tls=tls, **settings)
            self.gateway.wait_online()
            self.address = self.gateway.socket
        elif gateway == "bridge":
            self.gateway = scope.start(Broker(scope, remote=self.far.port, tls=tls))
            self.address = self.gateway.socket if is_unix else self.gateway.port
        if self.gateway:
            self.far.wait_client()
            self._pids["gateway"] = self.gateway.pid

    def is_daemon(self):
        return hasattr(self.gateway, "status")

    def publish(self, *arguments):
        """Runs the producer, with a window unless @arguments of mqtt_load say otherwise."""
        if not self.gateway:
            return self._scope.run("paho_load", self.far.port, self.count, self.size,
                                   self.paho_window)
        verb, last = arguments or ("publish", PRODUCER_WINDOW)
        return self._scope.run("mqtt_load", verb, self.address, self.count, self.size, last)

    def run(self, *arguments):
        """Rate, CPU time a message by process, latencies of PUBACK and of arrival."""
        meter = CpuMeter(**self._pids)
        load = self.publish(*arguments)
        arrivals = self.far.arrivals()
        check_arrivals(arrivals, self.count)
        if self.is_daemon():
            self.gateway.wait_idle(self.count)
        values = meter.per_message(self.count)
        producer = "producer" if self.gateway else "gateway"
        values[f"cpu_{producer}"] = load["cpu_ns"] / 1e3 / self.count
        if "cpu_subscriber" in arrivals:
            values["cpu_subscriber"] = arrivals["cpu_subscriber"]
        values["rate"] = self.count * 1e9 / (arrivals["last_ns"] - load["start_ns"])
        for name, latencies in (("puback", load), ("arrival", arrivals)):
            values.update({f"{name}_{key}": value for key, value in latencies.items()
                           if key.endswith("_us")})
        if self.is_daemon():
            values["window"] = self.gateway.status()["link"]["window"]
        values["repeated"] = {**arrivals, **self.far.final_arrivals()}["repeated"]
        return values
