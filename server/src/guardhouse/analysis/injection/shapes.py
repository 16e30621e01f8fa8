"""Built-in matchers for what is not a sequence of words: marks of chat formats, exfiltrating links, notes to machines.

The expressions are the project's own: bounded repeats, no back-references, no repeat inside a repeat.
"""

import re
from collections.abc import Callable
from typing import Final

_CHAT: Final = re.compile(
    r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id)\|>"
    r"|\[/?inst\]|<</?sys>>|<start_of_turn>|<end_of_turn>|</?(?:system|instructions?|system_prompt|sys|admin)>"
)
_TURN: Final = (
    r"[ \t#*=\-<\[]{0,8}(?:system|developer|assistant)[ \t]{0,2}"
    r"(?:prompt|message|instructions?|override|update)?[ \t\]>*]{0,6}:[ \t*]{0,4}(?=\S)"
)
_BORDER: Final = re.compile(
    r"[-=#*][-=#*][-=#*]{1,10}[ \t]{0,3}(?:end|begin|start|new)[ \t](?:of[ \t])?(?:the[ \t])?"
    r"(?:system|user|prompt|instructions?|document|context|text|input|data)"
)
_ROLE: Final = re.compile(
    r"[\"']role[\"'][ \t]{0,4}:[ \t]{0,4}[\"'](?:system|developer|assistant|tool)[\"'][ \t]{0,4},"
    r"[ \t\n]{0,8}[\"']content[\"']"
)
_EXFIL: Final = re.compile(
    r"!\[[^\]\n]{0,200}\]\([ \t]{0,4}https?://[^\s){<\[$]{1,400}(?:\{|%7b|<|\[|\$)"
    r"|<img[^>\n]{1,200}src[ \t]{0,4}=[ \t]{0,4}[\"']?https?://[^\s\"'>{$]{1,400}(?:\{|%7b|\$)"
)
_NOTE: Final = (
    r"[ \t]{0,8}(?:important[ \t,:]{1,3}|urgent[ \t,:]{1,3})?"
    r"(?:note|message|instructions?|reminder|memo|attention|dear|hey|hello|hi|notice|directive)[ \t,:]{1,3}"
    r"(?:to|for)?[ \t]{0,3}(?:the[ \t]|all[ \t]|any[ \t]|you[ \t])?"
    r"(?:ai\b|llms?\b|language models?|chatbots?|bots?\b|assistants?\b|automated (?:readers?|agents?|systems?)"
    r"|gpt\b|chatgpt\b|claude\b|gemini\b|copilot\b)"
)

Matcher = Callable[[str], tuple[int, int] | None]
Expressions = tuple[re.Pattern[str], ...]
EXPRESSIONS: Final[dict[str, Expressions]] = {
    "chat_delimiter": (_CHAT, re.compile(rf"\A{_TURN}"), re.compile(rf"\n{_TURN}"), _BORDER),
    "role_json": (_ROLE,),
    "md_exfil": (_EXFIL,),
    "comment_to_ai": (re.compile(rf"\A{_NOTE}"), re.compile(rf"[\n.>#*(\[\"'/\-]{_NOTE}")),
}
"""By name, in parts that each begin with few characters or at the text's start, so that a search skips to them."""


def _first(expressions: Expressions) -> Matcher:
    """Return the earliest match of any, of the first of them where several begin at one place."""
    anchored = [one.pattern.startswith("\\A") for one in expressions]

    def find(text: str) -> tuple[int, int] | None:
        matches = [
            one.match(text) if at_start else one.search(text)
            for one, at_start in zip(expressions, anchored, strict=True)
        ]
        return min((m.span() for m in matches if m), key=lambda span: span[0], default=None)

    return find


SHAPES: Final[dict[str, Matcher]] = {name: _first(parts) for name, parts in EXPRESSIONS.items()}
"""By name; each takes a lower-case reading and returns the stretch of its first match."""
