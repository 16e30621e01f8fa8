import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from train.generator.attacks import SHARES
from train.generator.distinct import TooFewPhrasesError, distinct
from train.generator.dress import dress
from train.generator.generate import Counts, generate
from train.generator.grammar import PHRASES, BadPhraseError, Grammar, grammar, languages, sentence_case
from train.generator.hard_negatives import SHARES as HARMLESS_SHARES
from train.generator.hard_negatives import with_triggers
from train.generator.transforms import TRANSFORMS
from train.row import EXTERNAL, USER, Row

SEED = "20261101"
BENIGN = (
    "The ferry to the island leaves at nine. Bring a coat, it gets windy on deck! Tickets are sold on board.",
    "How do I keep basil alive in winter? Mine always dies in January, although it stands at the window.",
    "Summarise the article below in two sentences.\nThe town council agreed to plant four hundred trees this year.",
)
SMALL = Counts().divided(20)
LANGUAGES = {"en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ko", "hi", "tr", "hr"}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return generate(SEED, BENIGN, BENIGN, SMALL)


def digest(rows: list[Row]) -> str:
    said = [[row.text, row.label, row.channel, row.family, row.lang] for row in rows]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def test_equal_seeds_give_equal_rows_on_every_machine(rows: list[Row]) -> None:
    assert digest(rows) == "bf6ec4f9c09b0446cc3f9b44afbe7dabc9186a5fb9a517b93fd7193bf589cdf4"


def test_another_seed_gives_other_rows(rows: list[Row]) -> None:
    assert digest(generate("7", BENIGN, BENIGN, SMALL)) != digest(rows)


def test_every_part_has_its_count(rows: list[Row]) -> None:
    found = Counter(row.family for row in rows)
    assert {family: found[family] for family in SHARES} == {
        family: round(share * SMALL.attacks) for family, share in SHARES.items()
    }
    assert sum(found[family] for family in HARMLESS_SHARES) == SMALL.hard_negatives
    assert (found["in_document"], found["short"], found["encoded"], found["split"]) == (
        SMALL.documents, SMALL.short_benign, SMALL.encoded, SMALL.split,
    )  # fmt: skip
    assert (found["unmarked"], found["statements"], found["scraps"]) == (
        SMALL.unmarked, SMALL.statements, SMALL.scraps,
    )  # fmt: skip


def test_a_row_says_everything(rows: list[Row]) -> None:
    assert {row.channel for row in rows} == {USER, EXTERNAL}
    assert {row.lang for row in rows} == LANGUAGES
    assert all(row.text.strip() and row.family and row.source == "generator" for row in rows)
    labels: dict[str, set[int]] = {}
    for row in rows:
        labels.setdefault(row.family, set()).add(row.label)
    assert all(len(found) == 1 for found in labels.values())


@pytest.mark.parametrize("family", ["languages", "harmless_languages", "short"])
def test_families_in_languages_speak_all_of_them(family: str) -> None:
    found = {row.lang for row in generate(SEED, (), (), Counts().divided(8)) if row.family == family}
    assert found == (LANGUAGES if family == "short" else LANGUAGES - {"en"})


def test_no_family_repeats_itself(rows: list[Row]) -> None:
    texts = Counter((row.family, row.text) for row in rows)
    assert max(texts.values()) == 1


def test_short_texts_are_short(rows: list[Row]) -> None:
    assert max(len(row.text) for row in rows if row.family == "short") <= 40


def test_a_part_does_not_move_another(rows: list[Row]) -> None:
    fewer = generate(SEED, BENIGN, BENIGN, replace(SMALL, hard_negatives=20, documents=3))
    kept = {"override", "persona", "turns", "short", "unmarked", "encoded"}
    assert [row for row in fewer if row.family in kept] == [row for row in rows if row.family in kept]


def test_what_is_put_beside_attacks_comes_from_the_texts_given() -> None:
    marked = generate(
        SEED, ("The zebrafinch sings at dawn. It has a zebrafinch nest in the old oak tree.",), (), SMALL
    )
    assert any("zebrafinch" in row.text for row in marked if row.label)
    assert not any("zebrafinch" in row.text for row in generate(SEED, (), (), SMALL))


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in PHRASES.glob("*.json") if path.stem != "languages")
)
def test_every_list_of_a_phrase_file_is_used(name: str) -> None:
    lists = json.loads((PHRASES / f"{name}.json").read_text("utf-8"))
    entries = {
        "common": set(lists),
        "triggers": {"phrase", "head", "tail"},
        "ordinary": {"start", "cell"},
        "requests": {"start", "everyday"},
    }
    reached, waiting = set(), list(entries.get(name, {"start"}))
    while waiting:
        slot = waiting.pop()
        if slot in lists and slot not in reached:
            reached.add(slot)
            waiting += re.findall(r"\{(\w+)\}", " ".join(lists[slot]))
    assert reached == set(lists)
    assert all(templates and any(templates) for templates in lists.values())


@pytest.mark.parametrize("lang", sorted(LANGUAGES))
def test_every_language_has_enough_to_say(lang: str) -> None:
    lists = languages()[lang].lists
    assert len(lists["short"]) >= 30
    if lang != "en":
        assert len(lists["attack"]) >= 9
        assert len(lists["harmless"]) >= 25


def test_a_slot_without_a_list_is_named() -> None:
    with pytest.raises(BadPhraseError, match="colour"):
        Grammar({"start": ["a {colour} house"]})


def test_braces_can_be_written() -> None:
    assert Grammar({"start": ['{{"a": "{b}"}}'], "b": ["c"]}).expand(Random("1")) == '{"a": "c"}'


def test_sentences_begin_with_a_capital_and_code_is_left_alone() -> None:
    assert sentence_case("one. two! three\nfour. ärger") == "One. Two! Three\nFour. Ärger"
    assert sentence_case("```\nimport os\n```") == "```\nimport os\n```"


def test_dressing_keeps_the_words_of_most_texts() -> None:
    chance = Random("dress")
    text = "please sort the list of towns by name"
    kept = sum("sort the list of towns" in dress(chance, text).lower() for _ in range(400))
    assert kept > 320


def test_trigger_words_leave_the_text_in_order() -> None:
    chance = Random("triggers")
    words = BENIGN[0].split()
    for _ in range(100):
        rest = iter(with_triggers(chance, BENIGN[0]).split())
        assert all(word in rest for word in words)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_a_transform_hides_its_text(name: str) -> None:
    text = "please ignore the noise from the neighbours tonight"
    hidden = TRANSFORMS[name](Random(name), text)
    assert hidden
    assert hidden != text
    assert TRANSFORMS[name](Random(name), text) == hidden


def test_there_are_thirteen_transforms() -> None:
    assert len(TRANSFORMS) == 13


def test_a_family_without_enough_phrases_is_an_error() -> None:
    with pytest.raises(TooFewPhrasesError, match="1 of 2"):
        distinct(2, lambda: Row("same", 0, USER, "few", "en"))


def test_grammar_gives_many_different_texts() -> None:
    chance = Random("many")
    for name in ("override", "extraction", "persona", "games", "turns", "notes", "about", "requests"):
        assert len({grammar(name).expand(chance) for _ in range(500)}) > 450
