# SPDX-License-Identifier: MIT
"""Units, man pages and installation: what a Debian machine gets, and whether systemd likes it."""

import os
import re
import shutil
import stat
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from machine import install  # noqa: E402
from processes import daemon_path, find, folder, run  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
UNITS = "usr/lib/systemd/system"
UNIT_NAMES = ("mqtt-spoold.service", "mqtt-spoold.socket", "mqtt-spoold-retry.timer",
              "mqtt-spool-metrics.service", "mqtt-spool-metrics.timer")

WANTED = {
    "usr/sbin/mqtt-spoold": 0o755,
    "usr/bin/mqtt-spool": 0o755,
    UNITS + "/mqtt-spoold.service": 0o644,
    UNITS + "/mqtt-spoold.socket": 0o644,
    UNITS + "/mqtt-spoold-retry.timer": 0o644,
    UNITS + "/mqtt-spool-metrics.service": 0o644,
    UNITS + "/mqtt-spool-metrics.timer": 0o644,
    "usr/lib/sysusers.d/mqtt-spoold.conf": 0o644,
    "usr/lib/systemd/catalog/mqtt-spoold.catalog": 0o644,
    "usr/share/bash-completion/completions/mqtt-spool": 0o644,
    "usr/share/man/man1/mqtt-spool.1": 0o644,
    "usr/share/man/man5/mqtt-spoold.conf.5": 0o644,
    "usr/share/man/man5/mqtt-spool-format.5": 0o644,
    "usr/share/man/man7/mqtt-spool-protocol.7": 0o644,
    "usr/share/man/man8/mqtt-spoold.8": 0o644,
    "usr/share/mqtt-spoold/sbom.cdx.json": 0o644,
    "usr/share/doc/mqtt-spoold/README.md": 0o644,
    "usr/share/doc/mqtt-spoold/CHANGELOG.md": 0o644,
    "usr/share/doc/mqtt-spoold/SECURITY.md": 0o644,
    "usr/share/doc/mqtt-spoold/LICENSE": 0o644,
    "usr/share/mqtt-spoold/mqtt-spoold.conf": 0o644,
    "etc/mqtt-spoold/mqtt-spoold.conf": 0o644,
    "etc/logrotate.d/mqtt-spoold": 0o644,
}
# README.md and the man pages refer to these.
WANTED["usr/share/doc/mqtt-spoold/examples/mosquitto-to-spoold"] = 0o755
WANTED.update({os.path.join("usr/share/doc/mqtt-spoold", os.path.relpath(path, SOURCE), name): 0o644
               for path, _folders, names in os.walk(os.path.join(SOURCE, "docs"))
               for name in names})


def text_of(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def analyze(stage, *arguments):
    """systemd-analyze sees the man pages that come with the units."""
    if not find("systemd-analyze"):
        skip("systemd-analyze is not installed")
    environment = dict(os.environ, MANPATH=os.path.join(stage, "usr/share/man") + ":",
                       SYSTEMD_COLORS="0", SYSTEMD_PAGER="cat")
    return subprocess.run(["systemd-analyze"] + list(arguments), env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def units_for_analysis(stage):
    """The installed units; only the path of the program is that of the staged one."""
    place = os.path.join(stage, "units")
    os.makedirs(place)
    for name in UNIT_NAMES:
        text = text_of(stage, UNITS, name)
        with open(os.path.join(place, name), "w", encoding="utf-8") as out:
            out.write(text.replace("/usr/sbin/mqtt-spoold",
                                   os.path.join(stage, "usr/sbin/mqtt-spoold"))
                      .replace("/usr/bin/mqtt-spool", os.path.join(stage, "usr/bin/mqtt-spool")))
    return [os.path.join(place, name) for name in UNIT_NAMES]


def setting(text, key):
    return re.findall(r"^%s=(.*)$" % key, text, re.MULTILINE)


@case
def install_puts_each_file_where_debian_expects_it():
    stage = folder()
    install(stage)
    found = {}
    for place, _folders, files in os.walk(stage):
        for name in files:
            path = os.path.join(place, name)
            found[os.path.relpath(path, stage)] = stat.S_IMODE(os.stat(path).st_mode)
    equal(found, WANTED, "installed files and their modes")


@case
def install_again_keeps_what_the_administrator_edited():
    stage = folder()
    install(stage)
    edited = os.path.join(stage, "etc/mqtt-spoold/mqtt-spoold.conf")
    with open(edited, "w", encoding="utf-8") as out:
        out.write("# mine\n")
    check("Keeping" in install(stage), "the second installation says what it keeps")
    equal(text_of(edited), "# mine\n", "edited configuration")


@case
def verify_of_the_units_prints_nothing():
    stage = folder()
    install(stage)
    # Without man(1) it could not find a page of any unit.
    pages = [] if find("man") else ["--man=no"]
    result = analyze(stage, "verify", *pages, *units_for_analysis(stage))
    equal((result.returncode, result.stdout.decode()), (0, ""), "systemd-analyze verify")


@case
def verify_would_notice_a_misspelt_key():
    stage = folder()
    install(stage)
    units = units_for_analysis(stage)
    with open(units[0], "a", encoding="utf-8") as out:
        out.write("\n[Service]\nProtectHom=yes\n")
    check(b"ProtectHom" in analyze(stage, "verify", *units).stdout, "a complaint")


@case
def exposure_of_the_service_is_at_most_1_5():
    stage = folder()
    install(stage)
    result = analyze(stage, "security", "--offline=true", "--no-pager", "--threshold=15",
                     units_for_analysis(stage)[0])
    equal(result.returncode, 0, result.stdout.decode(errors="replace")[-200:])


def calls_of(sets):
    """The system calls of sets of systemd, which name further sets."""
    found = set()
    for name in sets:
        listed = run(["systemd-analyze", "--no-pager", "syscall-filter", name])
        equal(listed.returncode, 0, name)
        lines = [line.strip() for line in listed.stdout.decode().splitlines()[1:]]
        found |= {line for line in lines if line and line[0] not in "#@"}
        found |= calls_of(line for line in lines if line.startswith("@"))
    return found


def allowed_calls(service):
    allowed = set()
    for value in setting(service, "SystemCallFilter"):
        names = value.lstrip("~").split()
        calls = {name for name in names if name[0] != "@"}
        calls |= calls_of(name for name in names if name[0] == "@")
        allowed = allowed - calls if value[0] == "~" else allowed | calls
    return allowed


@case
def what_the_filter_allows_it_allows_for_times_of_64_bits():
    """A processor of 32 bits has a second call of each that takes a time or an offset."""
    if not find("systemd-analyze"):
        skip("systemd-analyze is not installed")
    allowed = allowed_calls(text_of(SOURCE, "systemd/mqtt-spoold.service"))
    check({"adjtimex", "clock_gettime64", "futex_time64", "ppoll_time64"} <= allowed, "some calls")
    check(not {"clock_settime", "clock_settime64"} & allowed, "the clock is not to be set")
    twins = {name: re.sub("(_time)?64$", "", name) for name in calls_of(["@known"])
             if name.endswith("64")}
    equal([name for name, other in sorted(twins.items())
           if other in allowed and name not in allowed], [], "forbidden in one form only")


@case
def paths_of_units_and_sample_agree():
    service = text_of(SOURCE, "systemd/mqtt-spoold.service")
    socket = text_of(SOURCE, "systemd/mqtt-spoold.socket")
    sample = text_of(SOURCE, "etc/mqtt-spoold.conf")
    listen = re.search(r'^\s*socket = "(.*)";', sample, re.MULTILINE).group(1)
    equal(setting(socket, "ListenStream"), [listen], "socket")
    equal("/run/%s" % setting(service, "RuntimeDirectory")[0], os.path.dirname(listen))
    check('directory = "/var/lib/%s"' % setting(service, "StateDirectory")[0] in sample,
          "spool.directory is the state directory")
    check('file = "/var/log/%s/' % setting(service, "LogsDirectory")[0] in sample,
          "audit.file is in the logs directory")
    equal(setting(service, "User"), setting(socket, "SocketUser"), "user")
    equal(setting(service, "Group"), setting(socket, "SocketGroup"), "group")
    sysusers = text_of(SOURCE, "systemd/mqtt-spoold.sysusers")
    check(re.search("^u %s " % setting(service, "User")[0], sysusers, re.MULTILINE), "sysusers")


@case
def what_no_restart_corrects_is_tried_again_by_a_timer():
    service = text_of(SOURCE, "systemd/mqtt-spoold.service")
    timer = text_of(SOURCE, "systemd/mqtt-spoold-retry.timer")
    equal(setting(service, "OnFailure"), ["mqtt-spoold-retry.timer"])
    equal(setting(service, "RestartPreventExitStatus"), ["2 78"])
    equal(setting(timer, "Unit"), ["mqtt-spoold.service"])
    equal(setting(timer, "PartOf"), ["mqtt-spoold.service"], "a stop of the service stops it")
    equal(setting(timer, "RemainAfterElapse"), ["no"], "each failure starts it")


@case
def what_may_pass_by_itself_is_tried_again_for_ever_at_a_bounded_rate():
    service = text_of(SOURCE, "systemd/mqtt-spoold.service")
    equal(setting(service, "Restart"), ["on-failure"])
    equal(setting(service, "RestartSec"), ["5s"])
    equal(setting(service, "StartLimitIntervalSec"), ["0"], "it never gives up")


@case
def sysusers_file_makes_user_and_group():
    if not find("systemd-sysusers"):
        skip("systemd-sysusers is not installed")
    root = folder()
    os.makedirs(os.path.join(root, "etc"))
    result = run(["systemd-sysusers", "--root=" + root,
                  os.path.join(SOURCE, "systemd/mqtt-spoold.sysusers")])
    equal(result.returncode, 0, "systemd-sysusers")
    check("\nmqtt-spoold:" in "\n" + text_of(root, "etc/passwd"), "user")
    check("\nmqtt-spoold:" in "\n" + text_of(root, "etc/group"), "group")


@case
def man_pages_are_clean_roff():
    if not find("groff"):
        skip("groff is not installed")
    for page in sorted(os.listdir(os.path.join(SOURCE, "man"))):
        result = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z",
                                 os.path.join(SOURCE, "man", page)],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        equal((result.returncode, result.stdout.decode()), (0, ""), page)


@case
def the_version_is_the_same_everywhere():
    version = re.search(r"mqtt-spoold VERSION ([0-9.]+)", text_of(SOURCE, "CMakeLists.txt")).group(1)
    equal(run([daemon_path(), "--version"]).stdout.decode().split()[-1], version, "--version")
    for page in sorted(os.listdir(os.path.join(SOURCE, "man"))):
        title = re.search(r"^\.TH .*", text_of(SOURCE, "man", page), re.MULTILINE).group(0)
        check('"mqtt-spoold %s"' % version in title, page)
    check("\nVersion %s. " % version in text_of(SOURCE, "README.md"), "README.md")
    newest = re.search(r"^## (\S+)", text_of(SOURCE, "CHANGELOG.md"), re.MULTILINE).group(1)
    equal(newest, version, "CHANGELOG.md")


@case
def sample_configuration_passes_test_config():
    result = run([daemon_path(), "-c", os.path.join(SOURCE, "etc/mqtt-spoold.conf"),
                  "--test-config"])
    equal(result.returncode, 0, "--test-config: %s" % result.stderr)


@case
def wrong_configuration_ends_with_78_and_names_the_place():
    path = os.path.join(folder(), "bad.conf")
    shutil.copy(os.path.join(SOURCE, "etc/mqtt-spoold.conf"), path)
    with open(path, "a", encoding="utf-8") as out:
        out.write("log_levl = \"info\";\n")
    line = text_of(path).count("\n")
    result = run([daemon_path(), "-c", path, "--test-config"])
    equal(result.returncode, 78, "exit status")
    said = result.stderr if isinstance(result.stderr, str) else result.stderr.decode()
    check('%s:%d: log_levl: unknown key; did you mean "log_level"?' % (path, line) in said,
          "the place and a suggestion", said)


if __name__ == "__main__":
    run_all()
