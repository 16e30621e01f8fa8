"""Try a tenant's rules before they are taken: their kinds, their own examples, harmless texts, the worst texts.

One bad rule refuses the pack; the refusal names the rule and its place.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import count, islice
from typing import Annotated, Any, Final, Literal

import msgspec

from guardhouse.analysis.injection.normalise import normalise
from guardhouse.analysis.injection.rules import BadRuleError, Pack, Rule, compile_pack, match, read_rule
from guardhouse.foundation.errors import Problem

MAX_RULES: Final = 2_000
MAX_WORDS: Final = 200  # of one rule
KINDS: Final = ("sequence", "literal")
BROADEST: Final = 0.20  # of the harmless sample
WORST_CHARACTERS: Final = 4_000
SLOWEST_SECONDS: Final = 0.020  # of processor time for those: half a second for the longest text there is
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
_Channels = Annotated[list[Literal["user", "external"]], msgspec.Meta(min_length=1)]
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz"


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    """The members of a rule that tenants bring, and what is in them."""

    id: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    category: str
    kind: str
    version: int
    examples: Annotated[list[_Text], msgspec.Meta(min_length=1, max_length=20)]
    counterexamples: Annotated[list[_Text], msgspec.Meta(max_length=20)] = []
    severity: Annotated[int, msgspec.Meta(ge=1, le=4)] = 2
    channels: _Channels | msgspec.UnsetType = msgspec.UNSET
    languages: list[str] = []
    points_milli: int = 2_000
    steps: Annotated[list[list[str]], msgspec.Meta(max_length=8)] = []
    gaps: list[int] = []
    words: list[str] = []
    characters: bool = False


class _PackRefused(Problem):
    remediation = "Correct the rule that `errors` names; the pack was not taken."

    def __init__(self, detail: str, pointer: str = "/rules", rule: str | None = None) -> None:
        error = {"pointer": pointer, "code": self.code, "detail": detail, "rule": rule}
        super().__init__(detail, errors=[error])


class RuleKindUnknown(_PackRefused):
    """A rule is of a kind that tenants cannot bring; regular expressions are none."""

    status, code, title = 422, "rule_kind_unknown", "Kind of rule unknown"


class PackTooLarge(_PackRefused):
    """The pack has too many rules."""

    status, code, title = 422, "pack_too_large", "Rule pack too large"
    remediation = "Split the pack; a policy takes several."


class RuleMalformed(_PackRefused):
    """A rule cannot be read."""

    status, code, title = 422, "rule_malformed", "Rule malformed"


class RuleExampleFailed(_PackRefused):
    """A rule misses one of its examples, or matches one of its counterexamples."""

    status, code, title = 422, "rule_example_failed", "A rule does not do what its examples say"


class RuleTooBroad(_PackRefused):
    """A rule matches more than a fifth of a sample of harmless texts."""

    status, code, title = 422, "rule_too_broad", "Rule too broad"


class PackTooSlow(_PackRefused):
    """The pack takes too long on texts that are made to be hard for it."""

    status, code, title = 422, "pack_too_slow", "Rule pack too slow"
    remediation = "Let fewer rules share their words and stems."


def check_pack(said: Sequence[Mapping[str, Any]], version: int) -> list[dict[str, Any]]:
    """Return rules as they are kept: with the pack's version. Takes processor time: run it in a thread.

    Raises:
        Problem: one of those above.
    """
    if len(said) > MAX_RULES:
        raise PackTooLarge(f"A pack has at most {MAX_RULES:,} rules, this one {len(said):,}.")
    kept = [{**rule, "version": version} for rule in said]
    rules = [_read(rule, number) for number, rule in enumerate(kept)]
    for number, (rule, source) in enumerate(zip(rules, kept, strict=True)):
        _try_examples(rule, source, number)
    try:
        pack = compile_pack(kept)
    except BadRuleError as error:
        raise RuleMalformed(f"{str(error).capitalize()}.") from None
    _check_breadth(pack)
    _check_pace(pack)
    return kept


def _read(source: Mapping[str, Any], number: int) -> Rule:
    where, name = f"/rules/{number}", str(source.get("id", ""))[:64]
    if source.get("kind") not in KINDS:
        detail = f"Rule {name}: the kind is one of {', '.join(KINDS)}."
        raise RuleKindUnknown(detail, f"{where}/kind", name)
    try:
        msgspec.convert(source, _Source)
        rule = read_rule(source)
    except (msgspec.ValidationError, BadRuleError) as error:
        raise RuleMalformed(f"Rule {name}: {str(error)[:300]}.", where, name) from None
    if len(rule.words) + sum(map(len, rule.steps)) > MAX_WORDS:
        raise RuleMalformed(f"Rule {name}: at most {MAX_WORDS} words.", where, name)
    return rule


def _try_examples(rule: Rule, source: Mapping[str, Any], number: int) -> None:
    alone = compile_pack([source])
    for member, expected in (("examples", True), ("counterexamples", False)):
        for place, text in enumerate(getattr(rule, member)):
            hit = any(_matches(alone, text, channel) for channel in rule.channels)
            if hit is not expected:
                detail = f"Rule {rule.id} {'misses an example' if expected else 'matches a counterexample'}."
                raise RuleExampleFailed(detail, f"/rules/{number}/{member}/{place}", rule.id)


def _matches(pack: Pack, text: str, channel: str) -> set[str]:
    views = normalise(text, external=channel == "external").views
    return {hit.rule.id for view in views for hit in match(pack, view.reading.text, channel)}


def _check_breadth(pack: Pack) -> None:
    texts = harmless()
    hits: Counter[str] = Counter()
    for text in texts:
        hits.update(_matches(pack, text, "user") | _matches(pack, text, "external"))
    for number, rule in enumerate(pack.rules):
        share = hits[rule.id] / len(texts)
        if share > BROADEST:
            detail = f"Rule {rule.id} matches {share:.0%} of a sample of harmless texts, at most {BROADEST:.0%} may."
            raise RuleTooBroad(detail, f"/rules/{number}", rule.id)


def _check_pace(pack: Pack) -> None:
    for text in _worst(pack):
        begun = time.thread_time()
        match(pack, text, "user")
        if time.thread_time() - begun > SLOWEST_SECONDS:
            raise PackTooSlow("The pack takes too long on texts that are made of its own words.")


def _worst(pack: Pack) -> Iterator[str]:
    """Yield texts that a pack is slowest at: all its words in turn, its commonest one, ever new words of one stem."""
    words = [word.rstrip("*") for rule in pack.rules for step in rule.steps for word in sorted(step)]
    words += [word for rule in pack.rules for word in rule.words]
    yield _filled(words)
    yield _filled([word for word, _ in Counter(words).most_common(1)])
    stem = max(pack.index, key=lambda first: len(pack.index[first].stems), default="")
    yield _filled([stem + _spelt(number) for number in islice(count(), WORST_CHARACTERS // 4)])


def _filled(words: Sequence[str]) -> str:
    once = " ".join(words)
    return (f"{once} " * (WORST_CHARACTERS // (len(once) + 1) + 1))[:WORST_CHARACTERS]


def _spelt(number: int) -> str:
    letters = ""
    while True:
        number, digit = divmod(number, len(_DIGITS))
        letters += _DIGITS[digit]
        if number == 0:
            return letters


@cache
def harmless() -> tuple[str, ...]:
    """Return the sample of harmless texts: made by the project's own generator."""
    data = files("guardhouse.detections.packs") / "harmless.json"
    return tuple(json.loads(data.read_text(encoding="utf-8")))
