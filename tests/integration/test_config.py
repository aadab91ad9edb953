# SPDX-License-Identifier: MIT
"""The configuration of a running daemon: conf.d, --print-config, and what a HUP refuses to apply."""

import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, equal, run_all, wait_for  # noqa: E402

SECONDS = 30


def drop_in(gateway, name, text):
    """The new content is there at once, as an operator's editor or a package manager does it."""
    folder = os.path.join(gateway.folder, "conf.d")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as out:
        out.write(text)
    os.rename(path + ".new", path)
    return path


def hup(gateway, wanted):
    """A HUP, and then @wanted is in the log once more."""
    before = gateway.log().count(wanted)
    gateway.hup()
    wait_for(lambda: gateway.log().count(wanted) > before, SECONDS, "%r in the log" % wanted)


def daemon(gateway, *arguments, **options):
    done = processes.run([processes.daemon_path(), "-c", gateway.config, *arguments], **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def takes(gateway, wanted):
    """How many messages the spool holds of more shows which limit is in force."""
    client = gateway.client(5)
    for number in range(wanted + 3):
        equal(client.publish_wait("a/b", b"%d" % number).reason, 0, "reason of a PUBACK")
    wait_for(lambda: gateway.fresh_status()["spool"]["messages"] == wanted, SECONDS,
             "%d messages of %d" % (wanted, wanted + 3))


@case
def files_of_conf_d_apply_at_the_start_and_at_a_hup():
    gateway = Gateway(retention={"max_messages": 50})
    drop_in(gateway, "10-site.conf", "retention: { max_messages = 7; };\n")
    gateway.start()
    takes(gateway, 7)
    drop_in(gateway, "20-more.conf", "retention: { max_messages = 9; };\n")
    hup(gateway, "reloaded applied=all")
    takes(gateway, 9)
    os.unlink(os.path.join(gateway.folder, "conf.d", "20-more.conf"))
    os.unlink(os.path.join(gateway.folder, "conf.d", "10-site.conf"))
    hup(gateway, "reloaded applied=all")
    takes(gateway, 50)
    gateway.stop()


@case
def a_file_of_conf_d_with_another_ending_is_named_as_one_that_is_not_read():
    gateway = Gateway()
    drop_in(gateway, "10.conf", "log_level = \"info\";\n")
    path = drop_in(gateway, "50-site", "log_level = \"debug\";\n")
    drop_in(gateway, ".hidden", "x\n")
    code, _, error = daemon(gateway, "--test-config")
    equal((code, error),
          (0, "%s: not read, because its name does not end in .conf\n" % path))
    code, out, error = daemon(gateway, "--print-config")
    equal((code, error), (0, ""))
    check("# Not read, because the names do not end in .conf:\n#     %s\n" % path in out,
          "the file", out)
    check(".hidden" not in out, "a hidden file", out)
    for number in range(9):
        drop_in(gateway, "50-site-%d" % number, "")
    error = daemon(gateway, "--test-config")[2]
    check(error.endswith("not read, because its name does not end in .conf; 2 more are not, "
                         "either\n"), "the others", error)
    out = daemon(gateway, "--print-config")[1]
    check("#     and 2 more\n" in out, "the others in print", out)


@case
def a_bad_file_of_conf_d_keeps_the_daemon_from_starting_and_names_the_line():
    gateway = Gateway()
    path = drop_in(gateway, "10.conf", "\nretention: { max_mesages = 7; };\n")
    for arguments in (["--test-config"], ["--print-config"], []):
        code, out, error = daemon(gateway, *arguments)
        equal((code, out), (78, ""), arguments)
        check(path + ":2: retention.max_mesages: unknown key" in error, "the error", error)


@case
def a_hup_with_a_bad_file_of_conf_d_leaves_the_old_in_force():
    gateway = Gateway(retention={"max_messages": 8}).start()
    path = drop_in(gateway, "10.conf", "retention: { max_messages = 5;")  # half of it
    hup(gateway, "reload_refused")
    check("config_invalid error=\"%s:1: " % path in gateway.log(), "file and line", gateway.log())
    takes(gateway, 8)
    drop_in(gateway, "10.conf", "retention: { max_messages = 5; };\n")
    hup(gateway, "reloaded applied=all")
    takes(gateway, 5)
    os.unlink(path)
    os.mkfifo(path)  # without a writer: opening it must not wait
    hup(gateway, "reload_refused")
    check("is no regular file" in gateway.log(), "what it is", gateway.log())
    takes(gateway, 5)
    gateway.stop()


@case
def a_hup_warns_of_what_conf_d_sets_and_only_a_restart_applies():
    gateway = Gateway().start()
    drop_in(gateway, "10.conf", "uplink: { window = 9; };\nlog_level = \"debug\";\n")
    hup(gateway, "reloaded applied=part")
    equal(re.findall("reload_partial (.*)", gateway.log()),
          ['keys=uplink.window remedy="to apply them: systemctl restart mqtt-spoold"'])
    gateway.stop()


@case
def a_hup_that_names_a_file_of_the_link_that_cannot_be_used_is_refused():
    gateway = Gateway(retention={"max_messages": 8}).start()
    path = os.path.join(gateway.folder, "password")
    site = drop_in(gateway, "10.conf", "uplink: { username = \"u\"; password_file = \"%s\"; };\n"
                   "retention: { max_messages = 5; };\n" % path)
    wanted = "%s:1: uplink.password_file: %s cannot be read: No such file" % (site, path)
    code, _, error = daemon(gateway, "--test-config")
    equal(code, 78)
    check("%s:1: uplink.password_file: warning: the password is sent" % site in error and
          wanted in error, "file and line", error)
    hup(gateway, "reload_refused")
    check("config_invalid error=\"" + wanted in gateway.log(), "file and line", gateway.log())
    takes(gateway, 8)
    with open(path, "w") as out:
        out.write("secret\n")
    hup(gateway, "reloaded applied=part")
    takes(gateway, 5)
    gateway.stop()


@case
def a_file_that_is_in_use_already_is_no_reason_to_refuse_a_hup():
    path = os.path.join(processes.folder(), "password")
    gateway = Gateway(uplink={"username": "u", "password_file": path},
                      retention={"max_messages": 8}).start()
    gateway.configure(retention={"max_messages": 5})
    hup(gateway, "reloaded applied=all")
    takes(gateway, 5)
    gateway.stop()


@case
def certificates_are_checked_before_a_hup_applies():
    gateway = Gateway("ssl://127.0.0.1:9").start()
    ca = os.path.join(gateway.folder, "ca.pem")
    with open(ca, "w") as out:
        out.write("no certificate\n")
    gateway.configure(uplink={"tls": {"ca_file": ca}})
    hup(gateway, "reload_refused")
    check(re.search("config_invalid error=.*uplink.tls.ca_file: %s " % re.escape(ca),
                    gateway.log()), "the file", gateway.log())
    gateway.stop()


@case
def each_finding_about_a_file_names_where_its_key_was_set():
    gateway = Gateway("ssl://127.0.0.1:9")
    paths = {key: drop_in(gateway, "%d.conf" % number, "\nuplink: { tls: {\n  %s = \"%s\"; }; };\n"
                          % (key, os.path.join(gateway.folder, key)))
             for number, key in enumerate(("ca_file", "cert_file", "key_file", "key_password_file"))}
    insecure = drop_in(gateway, "9.conf", "uplink: { tls: { verify = false; }; };\n")
    code, _, error = daemon(gateway, "--test-config")
    equal(code, 78)
    for key, path in paths.items():
        check("%s:3: uplink.tls.%s: " % (path, key) in error, key, error)
    check("%s:1: uplink.tls.verify: warning: " % insecure in error, "verify", error)


UNUSED = """
lanes: ( { name = "all"; topics = ( "plant/#" ); },
         { name = "alarms";
           topics = ( "plant/+/alarm" ); } );
"""


@case
def a_lane_that_never_takes_a_message_is_warned_of_at_the_test_at_the_start_and_at_a_hup():
    gateway = Gateway()
    path = drop_in(gateway, "10-lanes.conf", UNUSED)
    code, out, error = daemon(gateway, "--test-config")
    equal(code, 0, error)
    check("the configuration is good" in out, "that it is good", out)
    wanted = "lane alarms never takes a message: the lanes before it, up to all, match all of " \
             "its topics"
    check("%s:4: lanes.topics: warning: %s; the first lane" % (path, wanted) in error,
          "the warning", error)
    gateway.start()
    line = 'config_entry_unused place="%s:4" key=lanes.topics reason="%s" remedy="the first lane' \
        % (path, wanted)
    equal(gateway.log().count(line), 1, "lines of the start")
    hup(gateway, "reloaded applied=all")
    equal(gateway.log().count(line), 2, "and of the HUP")
    drop_in(gateway, "10-lanes.conf", UNUSED.replace("plant/#", "plant/x/#"))
    hup(gateway, "reloaded applied=all")
    equal(gateway.log().count("config_entry_unused"), 2, "once they are used")
    gateway.stop()


def bare(text):
    """Without comments and empty lines."""
    lines = [re.sub(r"\s*# .*", "", line) for line in text.splitlines()]
    return [line for line in lines if line]


@case
def what_is_printed_is_a_configuration_with_the_same_meaning():
    gateway = Gateway(lanes=[{"name": "a", "topics": ["a/#"], "max_age": "1h"}],
                      access=[{"user": "*", "publish": ["#"]}])
    path = drop_in(gateway, "10.conf", "uplink: { keepalive = \"7s\"; };\n")
    code, out, error = daemon(gateway, "--print-config")
    equal((code, error), (0, ""))
    check("    keepalive = \"7s\"; # %s:1, default: \"30s\"\n" % path in out, "keepalive", out)
    check("    stamp = false; # default\n" in out, "a default", out)
    other = Gateway()
    with open(other.config, "w") as copy:
        copy.write(out)
    equal(daemon(other, "--test-config")[0], 0)
    equal(bare(daemon(other, "--print-config")[1]), bare(out))


@case
def no_secret_is_printed():
    path = os.path.join(processes.folder(), "password")
    with open(path, "w") as out:
        out.write("hunter2\n")
    gateway = Gateway(uplink={"username": "u", "password_file": path})
    code, out, error = daemon(gateway, "--print-config")
    equal((code, error), (0, ""))
    check(path in out and "hunter2" not in out, "the name alone", out)


@case
def an_output_that_cannot_be_written_is_reported_and_exits_1():
    gateway = Gateway()
    for redirection in (">/dev/full", ">&-", "<&- >&-"):
        for option in ("--print-config", "--test-config", "--help", "--version"):
            done = processes.run(["sh", "-c", 'exec "$@" ' + redirection, "sh",
                                  processes.daemon_path(), "-c", gateway.config, option])
            equal(done.returncode, 1, "%s %s" % (option, redirection))
            check(done.stderr.startswith(b"mqtt-spoold: cannot write the output: ") and
                  b"Success" not in done.stderr, option, done.stderr)


run_all()
