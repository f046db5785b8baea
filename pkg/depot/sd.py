"""The grammar of software definition files (POSIX 1387.2, section 5): PSF, INDEX and INFO are made of the same lines.

A line is a keyword, or a keyword and a value. Object keywords open an object and stand alone. A value is the rest of the
line; in double quotes it may hold anything, with '"', '#' and a backslash escaped by a backslash. '#' begins a comment.
"""

import zlib

OBJECTS = {
    "distribution": 0,
    "vendor": 1,
    "product": 1,
    "fileset": 2,
    "control_file": 3,
    "file": 3,
}


class Fault(Exception):
    """What is wrong, with its place."""


class Thing:
    """An object: its kind, its attributes in order, and the objects below it."""

    def __init__(self, kind, place=""):
        self.kind = kind
        self.place = place
        self.attributes = []
        self.below = []

    def get(self, name, default=None):
        for key, value in self.attributes:
            if key == name:
                return value
        return default

    def need(self, name):
        value = self.get(name)
        if value is None:
            raise Fault(f"{self.place}: {self.kind} has no '{name}'")
        return value

    def set(self, name, value):
        self.attributes.append((name, str(value)))
        return self

    def each(self, kind):
        return [thing for thing in self.below if thing.kind == kind]


def quoted(value):
    """A value as it stands in a file: in quotes where a plain word would not come back the same."""
    plain = value and not any(c in value for c in ' \t"#\\\n')
    if plain:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("#", "\\#") + '"'


def written(thing):
    """An object and all below it, as text."""
    lines = [thing.kind]
    lines += [f"{key} {quoted(value)}" for key, value in thing.attributes]
    text = "\n".join(lines) + "\n"
    return text + "".join(written(below) for below in thing.below)


def value_of(rest, place):
    rest = rest.strip()
    if not rest.startswith('"'):
        return rest.split(" #", 1)[0].split("\t#", 1)[0].strip()
    out, escaped = [], False
    for at, c in enumerate(rest[1:], 1):
        if escaped:
            out.append(c)
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == '"':
            after = rest[at + 1 :].strip()
            if after and not after.startswith("#"):
                raise Fault(f"{place}: text after the closing quote")
            return "".join(out)
        else:
            out.append(c)
    raise Fault(f"{place}: the quote is never closed")


def lines_of(text, name):
    """(place, keyword, value or None) of every line that says something."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        place = f"{name}:{number}"
        keyword, _, rest = line.partition(" ")
        yield place, keyword, value_of(rest, place) if rest.strip() else None


def read(text, name):
    """INDEX and INFO: the objects of a file, nested by rank."""
    top = Thing("top", name)
    open_things = [(-1, top)]
    for place, keyword, value in lines_of(text, name):
        if value is None and keyword in OBJECTS:
            rank = OBJECTS[keyword]
            while open_things[-1][0] >= rank:
                open_things.pop()
            thing = Thing(keyword, place)
            open_things[-1][1].below.append(thing)
            open_things.append((rank, thing))
        else:
            open_things[-1][1].set(keyword, value or "")
    return top


REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def cksum(data):
    """The CRC of cksum(1). zlib has the same polynomial with all bits mirrored and other ends."""
    length, size = b"", len(data)
    while size:
        length += bytes([size & 255])
        size >>= 8
    register = zlib.crc32((data + length).translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{register:032b}"[::-1], 2) ^ 0xFFFFFFFF
