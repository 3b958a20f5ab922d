#!/usr/bin/env python3
"""Makes the screens in this folder: runs lyrox at a terminal of 80 columns, on servers of its own, and keeps
what the terminal shows as text and as SVG. Needs nothing but Python and the binary.

    python3 docs/screens/make.py target/release/lyrox
"""

import fcntl
import html
import os
import pathlib
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios

COLUMNS, ROWS = 80, 50
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PARTS = ["lyrox.toml", ".env.example", "migrations", "seeds", "smoke"]
COLOURS = {31: "red", 32: "green", 33: "yellow", 36: "cyan"}
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """A terminal as far as lyrox uses one: it writes, moves up and back, and clears lines."""

    def __init__(self):
        self.lines, self.row, self.column, self.style = [[]], 0, 0, ""

    def put(self, character):
        if self.column == COLUMNS:
            self.row, self.column = self.row + 1, 0
        while len(self.lines) <= self.row:
            self.lines.append([])
        line = self.lines[self.row]
        line.extend([(" ", "")] * (self.column + 1 - len(line)))
        line[self.column] = (character, self.style)
        self.column += 1

    def escape(self, numbers, letter):
        first = int(numbers.split(";")[0]) if numbers[:1].isdigit() else 0
        if letter == "m":
            for number in numbers.split(";") if numbers else ["0"]:
                self.paint(int(number or 0))
        elif letter == "K":
            line = self.lines[self.row]
            del line[0 if first == 2 else self.column:]
        elif letter == "A":
            self.row = max(0, self.row - max(first, 1))
        elif letter == "B":
            self.row += max(first, 1)
        elif letter == "G":
            self.column = max(first, 1) - 1
        elif letter == "J":
            del self.lines[self.row + 1:]

    def paint(self, number):
        words = set(self.style.split())
        if number == 0:
            words = set()
        elif number in (1, 2):
            words.add({1: "bold", 2: "dim"}[number])
        elif number in COLOURS:
            words = (words - set(COLOURS.values())) | {COLOURS[number]}
        elif number == 39:
            words -= set(COLOURS.values())
        self.style = " ".join(sorted(words))

    def feed(self, text):
        at = 0
        while at < len(text):
            found = ESCAPE.match(text, at)
            if found:
                self.escape(found.group(1), found.group(2))
                at = found.end()
                continue
            character, at = text[at], at + 1
            if character == "\n":
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append([])
            elif character == "\r":
                self.column = 0
            elif character >= " ":
                self.put(character)

    def shown(self):
        lines = [list(line) for line in self.lines]
        for line in lines:
            while line and line[-1][0] == " ":
                line.pop()
        while lines and not lines[-1]:
            lines.pop()
        return lines


def run(binary, folder, words, variables=None):
    """Runs a command at a terminal; answers its screen and its exit code."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LYROX_CACHE_DIR") if name in os.environ}
    environment |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | (variables or {})
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(binary, ["lyrox", *words], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen, rest = Screen(), b""
    while True:
        select.select([terminal], [], [])
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        text = (rest + piece).decode("utf-8", "ignore")
        # An escape may be cut in two by the reading.
        cut = text.rfind("\x1b", max(0, len(text) - 12))
        keep = cut if cut >= 0 and not ESCAPE.match(text, cut) else len(text)
        rest = text[keep:].encode()
        screen.feed(text[:keep])
    return screen.shown(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Plain rules: a viewer that knows no variables and no media queries shows the light ones.
LIGHT = {"rect": "#fff", "text": "#1f2328", ".red": "#b3261e", ".green": "#176d2d", ".yellow": "#7d5300",
         ".cyan": "#0b6a78", ".dim": "#636c76"}
DARK = {"rect": "#0d1117", "text": "#e6edf3", ".red": "#ff7b72", ".green": "#56d364", ".yellow": "#e3b341",
        ".cyan": "#56d4dd", ".dim": "#9198a1"}


def rules(colours):
    return "".join(f"{what}{{fill:{colour}}}" for what, colour in colours.items())


STYLE = f"""text{{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre}}.bold{{font-weight:700}}
{rules(LIGHT)}
@media(prefers-color-scheme:dark){{{rules(DARK)}}}"""


def svg(title, lines):
    """The screen as a picture for light and dark pages."""
    wide, high = 8.43, 18
    width, height = round(COLUMNS * wide + 24), len(lines) * high + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" xml:space="preserve" role="img">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="6"/>',
    ]
    for row, line in enumerate(lines):
        at = 0
        while at < len(line):
            style, end = line[at][1], at
            while end < len(line) and line[end][1] == style:
                end += 1
            text = "".join(character for character, _ in line[at:end])
            if text.strip():
                place = f'x="{12 + at * wide:.1f}" y="{12 + (row + 0.75) * high:.1f}" textLength="{len(text) * wide:.1f}"'
                name = f' class="{style}"' if style else ""
                out.append(f"<text {place}{name}>{html.escape(text)}</text>")
            at = end
    out.append("</svg>\n")
    return "\n".join(out)


def keep(name, command, lines):
    prompt = [[(character, "bold") for character in f"$ {command}"]]
    lines = prompt + lines
    text = "\n".join("".join(character for character, _ in line) for line in lines)
    (HERE / f"{name}.txt").write_text(text + "\n")
    (HERE / f"{name}.svg").write_text(svg(command, lines))
    print(f"{name:16} {len(lines):4} lines   {command}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-screens-")) / "lyrox-os"
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)

    def quiet(*words):
        subprocess.run([binary, "-q", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def screen(name, command, code=0, variables=None):
        lines, ended = run(binary, folder, command.split()[1:], variables)
        if ended != code:
            print("\n".join("".join(character for character, _ in line) for line in lines), file=sys.stderr)
            sys.exit(f"{command} ended with {ended}, not {code}")
        keep(name, command, lines)

    try:
        screen("setup", "lyrox setup")
        screen("check", "lyrox check")
        # The same with the password of somebody else in the URL of Redis.
        given = subprocess.run([binary, "env", "--format", "dotenv"], cwd=folder, check=True, capture_output=True, text=True)
        url = re.search(r"^REDIS_URL='(.*)'$", given.stdout, re.M).group(1)
        wrong = re.sub(r"(://[^:]*:)[^@]*@", r"\1not-the-password@", url)
        screen("check-failing", "lyrox check", 4, {"REDIS_URL": wrong})
        quiet("db", "rollback", "--to", "20251101090000", "--yes")
        screen("migrate", "lyrox db migrate")
        quiet("db", "seed")
        screen("status", "lyrox db status")
        screen("smoke-test", "lyrox db smoke-test")
        quiet("tenant", "adopt", "--all", "--no-credentials")
        screen("tenant-verify", "lyrox tenant verify")
    finally:
        quiet("down", "--purge", "--confirm", "lyrox-os")
        shutil.rmtree(folder.parent)


main()
