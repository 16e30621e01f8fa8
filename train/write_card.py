"""The model card, written from the header of the model: what it was made of, what it can do, what it cannot."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from guardhouse.analysis.injection.artefact import Model

_LIMITS: Final = """\
## What it does not see
- **Requests without a mark** in documents, such as a plain question or errand between ordinary sentences. The external
  head judges whether a sentence speaks to an assistant; a polite one that could be meant for a person passes. The fold
  that leaves out every attack of its kind (`bipia_whole`) says how far it carries over.
- **Stealthy attacks**: stories, indirect allusions, pieces spread over many messages, claims without an order.
- **Languages other than the 13** of the phrases (English, German, French, Spanish, Italian, Portuguese, Russian,
  Chinese, Japanese, Korean, Hindi, Turkish, Croatian). Outside English the training text is the project's own and there
  is no public set behind it: read the English figures as an upper bound.
- **Adaptive attackers**. Transforms and normaliser have one author; a disguise that the normaliser does not know is not
  undone.
- **Harmful requests as such**. It looks for attempts to change what an assistant was told, not for bad intentions.
- Images, audio and files that were not turned into text.

## Intended use
A first line in front of or inside an application with a language model, beside least privilege for tools and a person
who decides what cannot be undone. A score is a reason to look, not proof; a low score is no promise.
"""


_CARD: Final = """\
# The detection model

Written by `python -m train.injection`; the header of the model holds the same figures.

- version: `{version}`
- SHA-256: `{sha256}`
- seed {seed}, generator {generator}, normaliser {normaliser}
- {libraries}

Two linear heads over hashed sets of character and word n-grams, 2^19 weights each: one for what a user writes, one for
the sentences of documents, tool results and mail. Rules add points. A score of 0.50 stands where 4 % of harmless text
lies that comes from a source the head was not trained on.

## Data
Development data, never part of the repository. The rest is written by the generator in `train/generator`, whose phrases
are the project's own. No text of a benchmark is in training, phrases, rules or thresholds.

{sets}
## Results across sources
Leave one source out: each figure is about texts of a source that was in no part of the training, generator included.
Sources weigh the same. A random split would look better and mean less.

{figures}
The folds by context of the external channel still know the attacks themselves from the raw list. With all of them left
out (`bipia_whole`): AUROC {whole_auroc}, recall {whole_recall}.

### Share at or above each operating point
{points}
### Harmless texts with trigger words put in
Share flagged at the line that 1, 4 and 8 % of harmless text stands above: user {triggered_user}; external
{triggered_external}.

### In disguise
User channel, at the 4 % line.

{disguised}
"""


def card(model: Model) -> str:
    """Return the card as Markdown."""
    said = model.header["training"]
    user, external = said["results"]["user"], said["results"]["external"]
    libraries = {"Python": said["python"]} | said["libraries"]
    text = _CARD.format(
        version=model.version,
        sha256=model.sha256,
        seed=said["seed"],
        generator=said["generator"],
        normaliser=model.header["normaliser"],
        libraries=", ".join(f"{name} {number}" for name, number in libraries.items()),
        sets=_sets(said["sets"]),
        figures=_figures(said["results"]),
        whole_auroc=external["bipia_whole"]["auroc"],
        whole_recall=_said(external["bipia_whole"]["recall"]),
        points="\n".join(_points(channel, found) for channel, found in said["results"].items()),
        triggered_user=_said(user["triggered"]),
        triggered_external=_said(external["triggered"]),
        disguised=_disguised(user["disguised"]),
    )
    return text + _LIMITS


def _sets(sets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name, about["rows"], about["licence"], f"`{about['sha256'][:16]}…`") for name, about in sets.items()
    ]
    return _table(("set", "rows", "licence", "SHA-256"), rows)


def _figures(found: Mapping[str, Mapping[str, Any]]) -> str:
    head = ("channel", "AUROC", *(f"recall at {share} FPR" for share in found["user"]["recall"]))
    return _table(head, ((channel, _with_interval(f, "auroc"), *_recalls(f)) for channel, f in found.items()))


def _disguised(found: Mapping[str, Mapping[str, float]]) -> str:
    rows = ((name, shares["attacks"], shares["harmless"]) for name, shares in found.items())
    return _table(("transform", "attacks flagged", "harmless flagged"), rows)


def _points(channel: str, found: Mapping[str, Any]) -> str:
    rows = found["at_points"]
    points = next(iter(rows.values()))
    return _table((channel, *points), ((name, *shares.values()) for name, shares in rows.items()))


def _recalls(found: Mapping[str, Any]) -> list[str]:
    intervals = found.get("recall_95", {})
    return [f"{value}{_range(intervals.get(share))}" for share, value in found["recall"].items()]


def _with_interval(found: Mapping[str, Any], name: str) -> str:
    return f"{found[name]}{_range(found.get(f'{name}_95'))}"


def _range(ends: list[float] | None) -> str:
    return f" ({ends[0]}–{ends[1]})" if ends else ""  # noqa: RUF001 - a range


def _said(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{value} at {share}" for share, value in shares.items())


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    names = list(head)
    lines = [" | ".join(names), "|".join(["---"] * len(names))]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines) + "\n"
