# SPDX-License-Identifier: MIT
"""Each file includes the headers that it uses, and no header that it does not use.

    tests/includes.py --write    corrects the include lines

A name (function, variable, macro, constant, struct, enum or type) is looked up in a table of what
each header declares. It must come from a header that the file includes itself, or from one that the
file's own header or the private header of its folder includes. A struct that is only pointed at may
be declared forward. The headers are read by a light parser, which expects the form that
clang-format gives them. For the common headers of libc the table is SYSTEM.
"""

import collections
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from layers import ARROWS, allows  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
FOLDERS = ("base", "store", "daemon", "cli", "tests", "bench")
INCLUDE = re.compile(r'^#include "([^"]+)"[^\n]*\n', re.MULTILINE)
NO_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
# What may stand before or after a declaration and looks like a function.
ATTRIBUTE = re.compile(r"\b(?:PRINTF_LIKE|CLEANUP|__attribute__|_Static_assert|_Alignas)\b\s*"
                       r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")

# Header of libc, or of a library that many files use -> the names for which it is included. A name
# that several headers declare is listed with each.
SYSTEM = {
    "assert.h":
        r"assert",
    "ctype.h":
        r"is(alnum|alpha|digit|space|upper|lower|xdigit|print) to(upper|lower)",
    "dirent.h":
        r"DIR opendir fdopendir readdir closedir scandir",
    "errno.h":
        r"errno E(?!OF$|POLL)[A-Z]{2,}[A-Z0-9]*",
    "fcntl.h":
        r"O_[A-Z]+ AT_[A-Z_]+ F_[A-Z_]{4,} open openat fcntl posix_fallocate fallocate creat",
    "getopt.h":
        r"getopt_long",
    "inttypes.h":
        r"(PRI|SCN)[diuxX](8|16|32|64|MAX|PTR) strto[iu]max",
    "libgen.h":
        r"dirname",
    "limits.h":
        r"(PATH|NAME|INT|UINT|LONG|ULONG|SHRT|USHRT|UCHAR|SCHAR|CHAR|LLONG|ULLONG|IOV|SSIZE)_MAX "
        r"CHAR_BIT PIPE_BUF",
    "poll.h":
        r"poll ppoll POLL(IN|OUT|ERR|HUP)",
    "pthread.h":
        r"pthread_\w+",
    "signal.h":
        r"SIG(TERM|KILL|INT|PIPE|HUP|CHLD|ABRT|STOP|CONT) raise kill "
        r"sig(action|nal|emptyset|addset|procmask)",
    "sqlite3.h":
        r"sqlite3\w* SQLITE_\w+",
    "stdarg.h":
        r"va_(list|start|end|arg|copy)",
    "stdbool.h":
        r"bool true false",
    "stddef.h":
        r"size_t NULL offsetof ptrdiff_t max_align_t",
    "stdint.h":
        r"u?int(8|16|32|64|max|ptr)_t (U?INT(8|16|32|64|MAX|PTR)|SIZE)_(MAX|MIN|C) "
        r"U?INT(8|16|32|64)_C",
    "stdio.h":
        r"v?[fs]?n?printf v?(as|d)printf FILE std(in|out|err) f?puts f?putc putchar getc "
        r"f(open|close|gets|read|write|flush|error|eof|scanf|seek|seeko|tello|dopen|ileno) "
        r"getline perror rename renameat remove EOF sscanf size_t NULL BUFSIZ setvbuf",
    "stdlib.h":
        r"malloc calloc realloc reallocarray free exit abort _Exit getenv setenv unsetenv "
        r"strto(l|ul|ll|ull|d) qsort(_r)? bsearch mk(stemp|ostemp|dtemp) s?rand "
        r"EXIT_(SUCCESS|FAILURE) realpath l?labs abs atoi size_t NULL",
    "string.h":
        r"mem(cpy|move|set|cmp|chr|rchr|mem|pcpy) "
        r"str(len|nlen|cmp|ncmp|chr|rchr|str|dup|ndup|cpy|ncpy|cat|error|error_r|spn|cspn|pbrk) "
        r"str(tok|tok_r|sep|signal|chrnul) "
        r"stpcpy explicit_bzero basename size_t NULL",
    "strings.h":
        r"strn?casecmp",
    "sys/queue.h":
        r"(TAILQ|SLIST|LIST|STAILQ)_\w+",
    "sys/socket.h":
        r"socket bind listen accept4? connect (send|recv)(msg|to|from)? [gs]etsockopt "
        r"socketpair shutdown getsockname AF_(UNIX|INET6?|UNSPEC) SOCK_\w+ SOL_SOCKET SO_\w+ "
        r"MSG_\w+ sockaddr(_storage)? msghdr cmsghdr ucred SCM_RIGHTS",
    "sys/stat.h":
        r"(f|l|fstata?t?)?stat fstatat f?chmod fchmodat mkdir mkdirat umask futimens S_I[A-Z]+ "
        r"mkfifo statx",
    "sys/statvfs.h":
        r"f?statvfs",
    "sys/types.h":
        r"(size|ssize|off|pid|uid|gid|mode|dev|ino)_t",
    "sys/uio.h":
        r"iovec readv writev preadv pwritev",
    "sys/un.h":
        r"sockaddr_un",
    "sys/wait.h":
        r"waitpid wait W(IFEXITED|EXITSTATUS|IFSIGNALED|TERMSIG|NOHANG)",
    "sysexits.h":
        r"EX_[A-Z]+",
    "systemd/sd-event.h":
        r"sd_event\w* SD_EVENT\w*",
    "time.h":
        r"clock_(gettime|nanosleep) time time_t timespec tm nanosleep (local|gm)time(_r)? "
        r"strftime mktime timegm CLOCK_\w+ clockid_t",
    "unistd.h":
        r"read write pread pwrite close fsync fdatasync unlink unlinkat link linkat access "
        r"faccessat dup[23]? pipe2? fork exec\w+ _exit getpid getppid get[eu]?[ug]id set[ug]id "
        r"isatty lseek f?truncate sysconf _SC_\w+ readlink(at)? STD(IN|OUT|ERR)_FILENO R_OK "
        r"W_OK X_OK F_OK SEEK_(SET|CUR|END) usleep gethostname alarm rmdir chdir syscall "
        r"getcwd (size|ssize|off|pid|uid|gid)_t NULL sync fchown opt(arg|ind|err)",
}
SYSTEM = {header: re.compile("|".join(names.split())) for header, names in SYSTEM.items()}

# The ordinary names, the structs and enums that are defined, the structs that are declared forward.
Header = collections.namedtuple("Header", "names tags forward")


def blank(text, pattern):
    """@text without what @pattern finds; each line keeps its number."""
    return pattern.sub(lambda found: "\n" * found.group().count("\n") or " ", text)


def outermost(text):
    """@text with the content of all braces replaced by one pair."""
    parts, depth = [], 0
    for piece in re.split(r"([{}])", text):
        if piece == "}":
            depth -= 1
        if depth == 0:
            parts.append(piece)
        if piece == "{":
            depth += 1
    return "".join(parts)


def enum_constants(text):
    for body in re.findall(r"\benum\b[^;{}()]*\{([^{}]*)\}", text):
        for entry in re.sub(r"\([^()]*\)", "", body).split(","):
            name = re.match(r"\s*(\w+)", entry)
            if name:
                yield name.group(1)


def declared(statement):
    """The ordinary name that a declaration introduces, or None. Its braces are empty."""
    statement = re.sub(r"\b(?:struct|enum|union)\s+\w+\s*(?:(?=\{\})|$)|\{\}", "", statement)
    pointer = re.match(r"\s*typedef\b.*?\(\s*\*\s*(\w+)\s*\)", statement, re.DOTALL)
    function = re.match(r"[^(=]*?\b(\w+)\s*\(", statement)
    variable = re.match(r"[^=\[]*?\b(\w+)\s*(?:\[.*\]\s*)?(?:=.*)?$", statement.strip(), re.DOTALL)
    found = pointer or function or variable
    return found.group(1) if found else None


def read_header(text):
    """What a header declares."""
    text = blank(text, NO_CODE)
    names = {name for name in MACRO.findall(text) if not name.endswith("_H")}
    text = blank(blank(text, DIRECTIVE), ATTRIBUTE)
    tags, forward = set(re.findall(r"\b(?:struct|enum|union)\s+(\w+)\s*\{", text)), set()
    tags.update(re.findall(r"\b[ST]\w*Q?_HEAD\((\w+),", text))
    names.update(enum_constants(text))
    # The body of an inline function ends a statement; that of a struct does not.
    text = re.sub(r"\)\s*\{\}", ");", outermost(text))
    for statement in text.split(";"):
        statement = statement.strip()
        opaque = re.fullmatch(r"(?:struct|union)\s+(\w+)", statement)
        if opaque:
            forward.add(opaque.group(1))
        elif statement and not re.match(r"\w*_(?:HEAD|ENTRY)\(", statement):
            names.add(declared(statement))
    names -= {None, "enum", "struct", "union"}
    return Header(names, tags, forward)


def own_names(text):
    """What a file defines for itself: macros, enum constants, types, static functions, variables."""
    text = blank(text, NO_CODE)
    return set(MACRO.findall(text)) | set(enum_constants(text)) | set(
        re.findall(r"^(?:__attribute__\(\(\w+\)\) )?static\b[^;={}()]*?\b(\w+)\s*[(\[=;]", text,
                   re.MULTILINE)) | set(re.findall(r"^typedef\b[^;()]*?\b(\w+)\s*[(;]", text,
                                                   re.MULTILINE))


class Uses:
    """What a file names, each with its line: @names, of them those @called; @tags whose content is
    needed, and those @pointed at only. @locals are the names of local variables and arguments."""

    TOKEN = re.compile(r"\b(struct|enum|union)\s+(\w+)(\s*[*;]|\s+\w+\s*;)?"
                       r"|(?:->|(?<!\.)\.)\s*\w+|\b[A-Za-z_]\w*")
    LOCAL = re.compile(r"(?:\*|\b(?!return\b|else\b|goto\b)[A-Za-z_]\w*[ \n]+)(?:const )?(\w+)\s*"
                       r"(?=[=;,)\[])")

    def __init__(self, text):
        self.names, self.called, self.tags, self.pointed = {}, {}, {}, {}
        self.system = set(re.findall(r"^#\s*include <([^>]+)>", text, re.MULTILINE))
        text = blank(re.sub(r"^#\s*include[^\n]*", "", text, flags=re.MULTILINE), NO_CODE)
        self.locals, own = set(self.LOCAL.findall(text)), own_names(text)
        self.defined = set(re.findall(r"^\w[^;={}()]*?\b(\w+)\([^;{}]*\)\s*[;{]", text, re.MULTILINE))
        self.own_tags = set(re.findall(r"\b(?:struct|enum|union)\s+(\w+)\s*\{", text))
        self.pointers = set(re.findall(r"\bstruct (\w+) \*(?:const )?(\w+)", text))
        # NAME->: what NAME points to is looked into.
        self.dereferenced = {found.group(1): text.count("\n", 0, found.start()) + 1
                             for found in re.finditer(r"\b(\w+)(?:\[\w*\])?->", text)}
        for found in self.TOKEN.finditer(text):
            self.take(found, text, own)

    def take(self, found, text, own):
        line = text.count("\n", 0, found.start()) + 1
        kind, tag, after = found.group(1), found.group(2), (found.group(3) or "").strip()
        if tag:
            if after != ";" and tag not in self.own_tags:
                is_pointed = after == "*" and kind != "enum"
                (self.pointed if is_pointed else self.tags).setdefault(tag, line)
        elif re.match(r"\w", found.group()) and found.group() not in own:
            self.names.setdefault(found.group(), line)
            if re.match(r"\s*\(", text[found.end():found.end() + 9]):
                self.called.setdefault(found.group(), line)

    def is_dereferenced(self, tag):
        return any(name in self.dereferenced for of, name in self.pointers if of == tag)

    def needed(self):
        """The names that are no local variable of the same spelling."""
        return {name: line for name, line in self.names.items()
                if name not in self.locals or name in self.called}

    def system_needed(self):
        """{name: line} of what may be from libc: functions that are called, types and constants."""
        plain = re.compile(r"[A-Z]\w+|\w+_t|bool|true|false|errno|va_list|std(?:in|out|err)"
                           r"|opt(?:arg|ind)|sd_event\w*|sqlite3\w*")
        return {**{name: line for name, line in self.needed().items()
                   if (name in self.called or plain.fullmatch(name))
                   and name not in self.defined}, **self.tags}


class Tree:
    def __init__(self, texts):
        self.texts, self.uses = texts, {path: Uses(text) for path, text in texts.items()}
        self.headers = {path: read_header(text) for path, text in texts.items()
                        if path.endswith(".h")}
        self.of_name, self.of_tag, self.of_forward = (collections.defaultdict(set)
                                                      for _ in range(3))
        for path, header in self.headers.items():
            for table, entries in ((self.of_name, header.names), (self.of_tag, header.tags),
                                   (self.of_forward, header.forward)):
                for entry in entries:
                    table[entry].add(path)
        members = collections.defaultdict(set)
        for used in self.uses.values():
            for tag, name in used.pointers:
                members[name].add(tag)
        # A member whose name stands for several types says nothing.
        self.of_member = {name: tags for name, tags in members.items() if len(tags) == 1}

    def includes(self, path):
        return [name for name in INCLUDE.findall(self.texts[path]) if name in self.headers]

    def is_of(self, header, path):
        """Is @header the own one of @path, or the private one of its folder?"""
        stem = os.path.splitext(path)[0]
        return header == stem + ".h" or (os.path.dirname(header) == os.path.dirname(path)
                                         and header.endswith("-private.h"))

    def given(self, path):
        """The headers whose names the file may use."""
        direct = self.includes(path)
        return set(direct) | {path} | {further for header in direct if self.is_of(header, path)
                                       for further in self.includes(header)}

    def is_open(self, header, path):
        """May @path see it? What may not be included is another thing of the same name."""
        folder = os.path.dirname(path)
        if folder not in ARROWS:
            return True  # tests and benches see all
        if header.endswith("-private.h") and not folder.startswith(os.path.dirname(header)):
            return False
        return allows(folder, header)

    def providers(self, path):
        """[(name, line, headers of which one is needed)]"""
        used, found = self.uses[path], []
        for entries, table in ((used.needed(), self.of_name), (used.tags, self.of_tag)):
            found += [(name, line, table[name]) for name, line in entries.items() if name in table]
        # Fixtures have functions of common names, which are something else where they are not called.
        found = [row for row in found if row[0] in used.called or not row[0].islower()
                 or row[0] in used.tags or any(not header.startswith("tests/") for header in row[2])]
        pointed = {**used.pointed, **{tag: line for member, line in used.dereferenced.items()
                                      for tag in self.of_member.get(member, set()) - used.own_tags}}
        for tag, line in pointed.items():
            content = tag not in used.pointed or used.is_dereferenced(tag)
            found.append((tag, line, self.of_tag.get(tag, set())
                          | (set() if content else self.of_forward.get(tag, set()))))
        visible = ((name, line, {header for header in headers if self.is_open(header, path)})
                   for name, line, headers in found)
        return [row for row in visible if row[2]]

    def best(self, path, choices):
        """The one to include: of the same folder, else one that is public and defines the name."""
        return min(choices, key=lambda name: (os.path.dirname(name) != os.path.dirname(path),
                                              name.endswith("-private.h"), name.count("/"), name))

    def missing(self, path):
        """{header: (name, line)} of what is used and not included."""
        found, given = {}, self.given(path)
        for name, line, headers in sorted(self.providers(path), key=lambda row: row[1]):
            if not headers & (given | set(found)):
                found[self.best(path, headers)] = (name, line)
        system = set().union(*(self.uses[header].system for header in given))
        for name, line in sorted(self.uses[path].system_needed().items(), key=lambda row: row[1]):
            headers = [header for header, names in SYSTEM.items() if names.fullmatch(name)]
            if headers and name not in self.of_name and not (system | set(found)) & set(headers):
                found["<%s>" % headers[0]] = (name, line)
        return found

    def unused(self, path):
        """What is included and gives the file no name. A file's own header is always included."""
        used = self.uses[path]
        tags = set(used.tags) | set(used.pointed)
        own = os.path.splitext(path)[0] + ".h"
        needed = set().union(*(headers for _, _, headers in self.providers(path)))
        found = [header for header in self.includes(path) if header != own and header not in needed
                 and not (self.headers[header].names & set(used.names)
                          or (self.headers[header].tags | self.headers[header].forward) & tags)]
        if "cmocka.h" in used.system:
            used.system -= {"stdarg.h", "stddef.h", "stdint.h"}  # it wants them before itself
        return found + ["<%s>" % header for header in sorted(used.system & set(SYSTEM))
                        if not any(map(SYSTEM[header].fullmatch, set(used.names) | tags))]


def sources():
    texts = {}
    for top in FOLDERS:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path) as source:
                        texts[os.path.relpath(path, ROOT)] = source.read()
    return texts


def inserted(lines, header, own):
    """@lines with @header in its place in the last block of its kind, or in a block of its own."""
    line = "#include %s" % (header if header.startswith("<") else '"%s"' % header)
    kind = line[:10]
    present = [at for at, text in enumerate(lines) if text.startswith("#include ")]
    alike = [at for at in present if lines[at].startswith(kind) and own not in lines[at]
             and "cmocka.h" not in lines[at] and "setjmp.h" not in lines[at]]
    if alike:
        block = [at for at in alike if set(range(at, alike[-1])) <= set(present)]
        at = next((at for at in block if lines[at] > line), block[-1] + 1)
        return lines[:at] + [line] + lines[at:]
    if kind == "#include <":  # before the project's
        at = next((at for at in present if own not in lines[at]), None)
        at = at if at is not None else present[-1] + 1 if present else None
    else:
        at = present[-1] + 1 if present else None
    if at is None:
        at = next((i + 1 for i, text in enumerate(lines) if text.startswith("#define MQTT_SPOOL")),
                  next(i + 1 for i, text in enumerate(lines) if text == " */"))
    return lines[:at] + ["", line, ""] + lines[at:]


def corrected(path, text, missing, unused):
    """@text with other include lines."""
    own = '"%s.h"' % os.path.splitext(path)[0]
    wrong = {header if header.startswith("<") else '"%s"' % header for header in unused}
    lines = [line for line in text.split("\n")
             if not (line.startswith("#include ") and line.split()[1] in wrong)]
    for header in sorted(missing):
        lines = inserted(lines, header, own)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) if missing or unused else text


def write():
    for _ in range(9):  # a header that no longer includes another one takes it from its users
        tree, changed = Tree(sources()), 0
        for path, text in tree.texts.items():
            better = corrected(path, text, tree.missing(path), tree.unused(path))
            if better != text:
                changed += 1
                with open(os.path.join(ROOT, path), "w") as out:
                    out.write(better)
        print("%d files changed" % changed)
        if changed == 0:
            return


if "--write" in sys.argv:
    write()
    sys.exit(0)


@case
def each_file_includes_what_it_uses():
    tree = Tree(sources())
    check(len(tree.headers) > 40 and len(tree.of_name) > 500, "headers and names read",
          len(tree.headers), len(tree.of_name))
    found = ["%s:%d uses %s of %s" % (path, line, name, header) for path in sorted(tree.texts)
             for header, (name, line) in tree.missing(path).items()]
    check(not found, "%d includes are missing; tests/includes.py --write adds them:\n%s"
          % (len(found), "\n".join(found)))


@case
def each_file_uses_what_it_includes():
    tree = Tree(sources())
    found = ["%s includes %s" % (path, header) for path in sorted(tree.texts)
             for header in tree.unused(path)]
    check(not found, "%d includes are superfluous; tests/includes.py --write takes them out:\n%s"
          % (len(found), "\n".join(found)))


@case
def a_missing_and_a_superfluous_include_are_found():
    texts = {
        "base/view.h": "struct view {\n    int size;\n};\nint view_size(struct view view);\n",
        "base/other.h": "#define OTHER 1\nstruct other;\nenum { OTHER_MAX = 2 };\n",
        "base/a.h": '#include "base/view.h"\nvoid a(struct view view);\n',
        "base/a.c": '#include "base/a.h"\n\n#include <stdlib.h>\n\n#include "base/other.h"\n\n'
                    "void a(struct view view)\n{\n    exit(view_size(view));\n}\n",
        "base/b.c": "static int view_size(char *own)\n{\n"
                    "    return own ? OTHER_MAX : (int)strlen(own);\n}\n"
                    "int b(struct other *other, struct view *view)\n{\n    return view->size;\n}\n",
    }
    tree = Tree(texts)
    equal((tree.missing("base/a.c"), tree.unused("base/a.c")), ({}, ["base/other.h"]))
    equal(tree.missing("base/b.c"), {"base/other.h": ("OTHER_MAX", 3), "<string.h>": ("strlen", 3),
                                     "base/view.h": ("view", 7)})
    equal(corrected("base/a.c", texts["base/a.c"], {"<errno.h>": None}, ["base/other.h"])
          .split("void")[0], '#include "base/a.h"\n\n#include <errno.h>\n#include <stdlib.h>\n\n')


run_all()
