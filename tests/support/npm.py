# SPDX-License-Identifier: MIT
"""MQTT.js, where npm can install it."""

import os

import processes
from tap import skip


def mqttjs_modules():
    """The folder for NODE_PATH; the package is installed once, into the build folder."""
    if not processes.find("node") or not processes.find("npm"):
        skip("node and npm are not installed (Debian packages nodejs and npm)")
    folder = os.path.join(os.environ.get("SPOOLD_BUILD") or processes.folder(), "mqttjs")
    modules = os.path.join(folder, "node_modules")
    if os.path.isdir(os.path.join(modules, "mqtt")):
        return modules
    os.makedirs(folder, exist_ok=True)
    try:
        done = processes.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund",
                              "--fetch-retries", "0", "mqtt@5"], 90)
    except Exception:
        skip("npm could not install the package mqtt in 90 s")
    if done.returncode:
        skip("npm could not install the package mqtt (no network?)")
    return modules
