"""The ways people write one and the same sentence: case, typing errors, quotes, mail, JSON, code.

Attacks and harmless texts go through the same ways with the same odds, so none of them tells anything.
"""

import json
from random import Random
from typing import Final

from train.generator.grammar import sentence_case

_PLAIN, _LONGEST_IN_QUOTES = 0.55, 400
_KEYBOARD: Final = {
    "a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o", "k": "l", "l": "k",
    "m": "n", "n": "m", "o": "p", "p": "o", "r": "t", "s": "d", "t": "z", "u": "i", "v": "b", "w": "e", "y": "u",
}  # fmt: skip
_THANKS: Final = (
    "Thanks!",
    "thank you",
    "Thx",
    "Please be quick.",
    "Cheers",
    "Many thanks in advance.",
    "ok?",
)
_GREETINGS: Final = (
    "Hi",
    "Hello",
    "Dear team",
    "Good morning",
    "Hey all",
    "Hi there",
    "Dear all",
    "To whom it may concern",
)
_NAMES: Final = ("Ines", "Jamal", "Greta", "Oskar", "Mei", "Rosa", "Samir", "Vera", "Tilda", "Luca")
_KEYS: Final = (
    "text",
    "message",
    "content",
    "query",
    "question",
    "input",
    "body",
    "prompt",
    "description",
    "comment",
)
_HEADS: Final = (
    "Note", "Instruction", "Instructions", "Important", "Task", "Reminder", "Question", "System", "Request", "Update",
    "Attention", "Prompt", "Message", "User", "Input", "Context", "Re", "Fwd", "Urgent", "Hint",
)  # fmt: skip
_FENCES: Final = ("", "text", "md", "txt", "python")


def dress(chance: Random, text: str) -> str:
    """Return the text as one of many people might have typed or sent it; about half the time in plain sentences."""
    if chance.random() < _PLAIN:
        return sentence_case(text)
    return chance.choice(_WAYS)(chance, text)


def typos(chance: Random, text: str) -> str:
    """Make one typing error per 30 letters or so: swapped, doubled, lost or neighbouring letters."""
    letters = list(text)
    places = [place for place, letter in enumerate(letters[:-1]) if letter.isalpha()]
    for place in chance.sample(places, min(len(places), 1 + len(places) // 30)):
        kind = chance.randrange(4)
        if kind == 0 and letters[place + 1].isalpha():
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        elif kind == 1:
            letters[place] *= 2
        elif kind == 2:
            letters[place] = ""
        else:
            letters[place] = _KEYBOARD.get(letters[place], letters[place])
    return "".join(letters)


def _lower(_: Random, text: str) -> str:
    return text


def _bare(_: Random, text: str) -> str:
    return text.lower().rstrip(".!?")


def _upper(_: Random, text: str) -> str:
    return text.upper()


def _title(_: Random, text: str) -> str:
    return text.title()


def _with_typos(chance: Random, text: str) -> str:
    return sentence_case(typos(chance, text)) if chance.random() < 0.5 else typos(chance, text)


def _quoted(chance: Random, text: str) -> str:
    if len(text) > _LONGEST_IN_QUOTES:
        return sentence_case(text)
    opening, closing = chance.choice((('"', '"'), ("'", "'"), ("“", "”"), ("«", "»"), ("„", "“"), ("`", "`")))
    return f"{opening}{sentence_case(text)}{closing}"


def _fenced(chance: Random, text: str) -> str:
    return f"```{chance.choice(_FENCES)}\n{text}\n```"


def _mail(chance: Random, text: str) -> str:
    greeting, name = chance.choice(_GREETINGS), chance.choice(_NAMES)
    farewell = chance.choice(("Best", "Regards", "Kind regards", "Yours"))
    return f"{greeting},\n\n{sentence_case(text)}\n\n{farewell},\n{name}"


def _json(chance: Random, text: str) -> str:
    said = {chance.choice(_KEYS): sentence_case(text)}
    if chance.random() < 0.5:
        said = {"id": str(chance.randrange(10_000))} | said
    return json.dumps(said, ensure_ascii=False)


def _listed(chance: Random, text: str) -> str:
    return chance.choice(("- ", "* ", "1. ", "> ", "# ", "## ", "• ", "-> ", "Q: ")) + sentence_case(text)


def _headed(chance: Random, text: str) -> str:
    return f"{chance.choice(_HEADS)}{chance.choice((':', ':', ' -', ']'))} {sentence_case(text)}"


def _thankful(chance: Random, text: str) -> str:
    end = "" if text.endswith((".", "!", "?", "。")) else "."
    return f"{sentence_case(text)}{end} {chance.choice(_THANKS)}"


def _loud(chance: Random, text: str) -> str:
    return sentence_case(text).rstrip(".!?") + chance.choice(("!", "!!", "!!!", "?!", "...", "??"))


def _spread(chance: Random, text: str) -> str:
    return sentence_case(text).replace(". ", chance.choice((".\n", ".\n\n", ".  ")))


_WAYS: Final = (
    _lower, _lower, _lower, _bare, _bare, _bare, _upper, _title, _with_typos, _with_typos, _with_typos, _quoted,
    _fenced, _mail, _json, _listed, _listed, _headed, _headed,
    _headed, _thankful, _thankful, _loud, _loud, _spread, _spread,
)  # fmt: skip
