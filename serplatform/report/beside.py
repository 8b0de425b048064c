"""Results of others that may stand beside ours: same protocol, classes, utterances and metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from serplatform.metrics import METRICS
from serplatform.papers.published import PublishedResult, published_results
from serplatform.report.described import dataset_of, protocol_name
from serplatform.report.evidence import Evidence, Measured
from serplatform.report.wording import METRICS as TITLES
from serplatform.report.wording import listing, percent, plural
from serplatform.statistics.bootstrap import Interval

#: how far the number of test utterances may be from the reference's, relative to that
TOLERATED = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """What may be compared, and why not where nothing may.

    Attributes:
        results: metric name to results of others, best first; metrics without any are left out.
        refused: why results of this protocol are not shown; empty where there is no reason.
    """

    results: Mapping[str, tuple[PublishedResult, ...]]
    refused: str = ""


def find_beside(evidence: Evidence) -> Beside:
    """Find the results of others on what this page tested."""
    if not evidence.systems:
        return Beside(results={})
    protocol, dataset = protocol_name(evidence), dataset_of(evidence)
    if dataset.get("synthetic") or not dataset.get("corpus"):
        return Beside(results={})
    tested = len(set(evidence.systems[0].test.utterance_ids))
    found: dict[str, tuple[PublishedResult, ...]] = {}
    others: set[int] = set()
    for metric in ("uar", *(name for name in METRICS if name != "uar")):
        known = published_results(
            protocol, metric, corpus=str(dataset["corpus"]), num_classes=len(evidence.classes)
        )
        fit = tuple(r for r in known if same_size(r, tested))
        others |= {r.test_utterances for r in known if r not in fit and r.test_utterances}
        if fit:
            found[metric] = fit
    refused = ""
    if not found and others:
        refused = (
            f"they were tested on {listing([f'{n:,}' for n in sorted(others)], 'or')} utterances "
            f"of the corpus, this page on {tested:,}."
        )
    return Beside(results=found, refused=refused)


def same_size(result: PublishedResult, tested: int) -> bool:
    """Whether a result was tested on as many utterances, but for a few that cannot be read."""
    wanted = result.test_utterances
    return wanted is None or abs(tested - wanted) <= TOLERATED * wanted


def first_screen(results: Sequence[PublishedResult], evidence: Evidence) -> list[PublishedResult]:
    """The strongest of each kind that a reader will ask for, best last.

    One that trains on the corpus alone and hears each utterance alone; one that normalises by
    speaker where a system of ours does; one with a pre-trained encoder.
    """
    normalised = any(t.params.get("data.normalization") == "speaker" for t in evidence.used)
    kinds: dict[tuple[bool, bool], PublishedResult] = {}
    for result in results:
        kinds.setdefault((result.pretrained, result.speaker_normalised), result)
    chosen = [
        result
        for (_, by_speaker), result in kinds.items()
        if not by_speaker or normalised or len(kinds) == 1
    ]
    return sorted(chosen, key=lambda r: r.value)


def qualities(result: PublishedResult) -> str:
    """How a result was come by, in a few words.

    Example:
        >>> [r] = published_results("emodb-loso", "uar")
        >>> qualities(r)
        'published, no interval'
    """
    words = ["measured by this project" if result.kind == "measured" else "published"]
    if result.speaker_normalised:
        words.append("normalised by speaker")
    if result.pretrained:
        words.append("pre-trained on other data")
    if result.note and result.kind == "measured":
        words.append(result.note)
    words.append("no interval" if result.std is None else f"± {percent(result.std)}")
    return ", ".join(words)


def placed(value: float, ours: Interval) -> str:
    """Where a number without an interval lies against one of ours with its interval.

    Example:
        >>> placed(0.5, Interval(value=0.6, low=0.55, high=0.65))
        'below the 95 % interval'
    """
    if ours.low is None or ours.high is None:
        return "with no interval to place it against"
    if value < ours.low:
        return "below the 95 % interval"
    return "above the 95 % interval" if value > ours.high else "within the 95 % interval"


def sentences(evidence: Evidence, beside: Beside) -> list[str]:
    """What the first screen says of other results."""
    if beside.refused:
        return [f"Known results of this protocol are not shown: {beside.refused}"]
    if not beside.results:
        return []
    metric = "uar" if "uar" in beside.results else next(iter(beside.results))
    title = TITLES[metric][0]
    system: Measured = evidence.measured[0]
    ours = system.pooled[metric]
    shown = first_screen(beside.results[metric], evidence)
    places: dict[str, list[str]] = {}
    for result in reversed(shown):
        place = placed(result.value, ours)
        named = f"{result.system} {percent(result.value)} % ({qualities(result)})"
        places.setdefault(place, []).append(named)
    said = (
        f"Others on the same protocol and the same metric ({title}), against the "
        f"{system.label.lower()}'s {percent(ours.value)} %: "
        + "; ".join(f"{place} {', '.join(names)}" for place, names in places.items())
        + ". Without their answers to each utterance, no difference from ours can be tested."
    )
    count = sum(len(found) for found in beside.results.values())
    more = f" All {plural(count, 'number')} stand under “Beside other results”."
    return [said + (more if count > len(shown) else "")]


def limit(evidence: Evidence, beside: Beside) -> tuple[str, str]:
    """What other published numbers this page may not be compared with, and why."""
    protocol = protocol_name(evidence)
    if beside.results:
        names = listing([TITLES[name][0] for name in beside.results])
        why = (
            f"results of others are known to this program for {protocol} and {names} alone; "
            "they stand in Results."
        )
    else:
        why = f"this program knows no result of others for {protocol} on these utterances."
    return "Any published number that is not on this page", why
