"""What the JSON reader says: habits that it bears, mistakes that it names, guesses at the cause."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EMS_REFUSES = "EMS itself would refuse this file"


@dataclass(frozen=True)
class Habit:
    """Something that a file has once or a hundred times, and that is told once."""

    message: str
    hint: str
    fatal: bool = False


BOM = Habit("begins with a byte order mark", f"{_EMS_REFUSES}: save it as UTF-8 without BOM")
COMMENT = Habit("comment", f"{_EMS_REFUSES}; here comments are fine")
TRAILING_COMMA = Habit(
    "a comma after the last element",
    f"{_EMS_REFUSES}; it is the usual cause of edits being ignored",
)
LONE_BACKSLASH = Habit(
    "a single backslash in a string: kept as it stands",
    "EMS drops it; write two backslashes, or forward slashes",
)
LINE_BREAK = Habit(
    "a line break inside a string: kept, as EMS does",
    "if it is not meant to be there, close the string on its line",
)
LEADING_ZERO = Habit("a number with a leading zero: read as decimal", "remove the zero")

HASH_COMMENT = Habit("a comment that begins with #", "write // instead", fatal=True)
BARE_KEY = Habit("a key without quotes", 'write it in plain quotes, as in "port"', fatal=True)
EQUALS = Habit("= between key and value", "write a colon, or name the file .toml", fatal=True)
SEMICOLON = Habit("a semicolon between elements", "write a comma", fatal=True)
SINGLE_QUOTES = Habit("single quotes", 'write plain double quotes: "', fatal=True)
SMART_QUOTES = Habit(
    "typographic quotes",
    'probably copied from a PDF or a word processor: write plain quotes, "',
    fatal=True,
)
UNCLOSED = Habit("a string without its closing quote", 'add " at the end of the value', fatal=True)

NO_COLON = ("no colon between key and value", "write a colon here")
EXTRA_COMMA = ("an extra comma", "remove it")

_PLACEHOLDER = re.compile(r"true/false|true\|false", re.IGNORECASE)


def not_json(text: str, at: int) -> tuple[str, str] | None:
    """What a file is that cannot be JSON at all, judged by its first character."""
    first = text[at : at + 1]
    if not first:
        return "the file is empty", "write at least { } with ws_servers and appKey"
    if "\x00" in text[:64]:
        return "this is not text", "it is a binary file, or one saved as UTF-16: save it as UTF-8"
    if first == "<":
        return "this looks like XML or HTML", "a configuration is JSON or TOML"
    if first in "\"'“":
        return "the file does not begin with {", "wrap everything in { and }"
    if re.match(r"[\w.-]+\s*=|\[\s*\w[\w.]*\s*\]", text[at : at + 200]):
        return "this looks like TOML", "name the file .toml"
    return None


def after_the_end(text: str, at: int) -> tuple[str, str]:
    """Something follows the end of the root value."""
    what = f"text after the end of the configuration (line {text.count(chr(10), 0, at) + 1})"
    if text[at] == "}":
        return f"{what}: ignored, as EMS does", "one } too many"
    hint = "if settings stand there, a } before them closes the configuration too early"
    return f"{what}: ignored, as EMS does", hint


def no_key(text: str, at: int) -> tuple[str, str]:
    what = text[at : at + 1]
    return f"expected a key, found {what!r}", 'an object holds "key": value, separated by commas'


def no_value() -> tuple[str, str]:
    return "a key without a value", 'write "key": value'


def no_value_here(text: str, at: int) -> tuple[str, str]:
    what = text[at : at + 1]
    if not what:
        return "the file ends where a value should stand", "is it cut off? restore a full copy"
    return f"expected a value, found {what!r}", "write a value, or remove the key"


def odd_word(word: str) -> tuple[str, str]:
    """A bare word that is no value."""
    if _PLACEHOLDER.fullmatch(word):
        return "true/false is a placeholder of the documented sample", "write true or false"
    if word.lower() in ("true", "false", "null"):
        return "this word must be in lower case", f"write {word.lower()}"
    if word.lower() in ("yes", "no", "on", "off"):
        return "not a JSON value", "write true or false"
    if word[:1] in "+.0123456789-":
        return "not a number as JSON writes them", "write digits only: no +, no unit, no NaN"
    return "text without quotes", "write it in plain double quotes"


def no_comma(text: str, before: int, at: int) -> tuple[str, str]:
    """Two elements with nothing between them. `before` is where the first one ends."""
    if text.find("\n", before, at) >= 0:
        return "no comma at the end of this line", "add one"
    return "no comma between two elements", "add one here; or is a quote inside the string?"


def no_comment(text: str, at: int) -> tuple[str, str]:
    if text.startswith("/*", at):
        return "a comment that never ends", "close it with */"
    return "a single slash", "a comment begins with //"


def truncated(text: str, start: int, closing: str) -> tuple[str, str]:
    line = text.count("\n", 0, start) + 1
    return (
        f"the file ends before the {closing} that closes line {line}",
        f"add {closing}, or restore a full copy if the file was cut off",
    )


def wrong_bracket(text: str, start: int, closing: str, at: int) -> tuple[str, str]:
    line = text.count("\n", 0, start) + 1
    if text[at] == ":":
        return "a colon where none can stand", 'a list holds values, an object "key": value'
    return f"{text[at]} closes what line {line} opened, which needs {closing}", f"write {closing}"
