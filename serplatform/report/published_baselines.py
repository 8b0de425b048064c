"""Results of others to compare ours with: same protocol, classes, utterances and metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from serplatform.artifacts.trial import DEV_METRICS
from serplatform.papers.published import PublishedResult, published_results
from serplatform.report.data import ReportData
from serplatform.report.wording import METRICS, listing, percent, plural
from serplatform.statistics.intervals import Interval

#: how far the number of test utterances may be from the reference's, relative to that
TOLERATED = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedBaselines:
    """What may be compared: metric to results of others, best first; else why nothing may."""

    results: Mapping[str, tuple[PublishedResult, ...]]
    why_none: str = ""


def find_baselines(report: ReportData) -> PublishedBaselines:
    """Find the results of others on what this page tested."""
    dataset = report.dataset
    if not report.systems or dataset.get("synthetic") or not dataset.get("corpus"):
        return PublishedBaselines(results={})
    tested = len(set(report.systems[0].test.utterance_ids))
    found: dict[str, tuple[PublishedResult, ...]] = {}
    others: set[int] = set()
    for metric in DEV_METRICS:
        known = published_results(
            report.protocol, metric, corpus=dataset["corpus"], num_classes=len(report.classes)
        )
        fit = tuple(
            r
            for r in known  # but for a few utterances that cannot be read
            if (wanted := r.column.test_utterances) is None
            or abs(tested - wanted) <= TOLERATED * wanted
        )
        others |= {r.column.test_utterances or 0 for r in known if r not in fit}
        if fit:
            found[metric] = fit
    why_none = ""
    if not found and others:
        why_none = (
            f"they were tested on {listing([f'{n:,}' for n in sorted(others)], 'or')} utterances "
            f"of the corpus, this page on {tested:,}."
        )
    return PublishedBaselines(results=found, why_none=why_none)


def first_screen(results: Sequence[PublishedResult], report: ReportData) -> list[PublishedResult]:
    """The strongest of each kind that a reader will ask for, best last.

    One that trains on the corpus alone and sees each utterance alone; one that normalises by
    speaker where a system of ours does; one with a pre-trained encoder.
    """
    normalised = any(t.by_speaker for t in report.used)
    kinds: dict[tuple[bool, bool], PublishedResult] = {}
    for result in results:
        kinds.setdefault((result.row.pretrained, result.row.speaker_normalised), result)
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
    words = ["measured by this project" if result.table.measured_here else "published"]
    if result.row.speaker_normalised:
        words.append("normalised by speaker")
    if result.row.pretrained:
        words.append("pre-trained on other data")
    if result.note and result.table.measured_here:
        words.append(result.note)
    elif result.column.note:
        words.append(result.column.note)
    words.append("no interval" if result.std is None else f"± {percent(result.std)}")
    return ", ".join(words)


def place_against(value: float, ours: Interval) -> str:
    """Where a number without an interval lies against one of ours with its interval.

    Example:
        >>> place_against(0.5, Interval(value=0.6, low=0.55, high=0.65))
        'below the 95 % interval'
    """
    if ours.low is None or ours.high is None:
        return "with no interval to place it against"
    if value < ours.low:
        return "below the 95 % interval"
    return "above the 95 % interval" if value > ours.high else "within the 95 % interval"


def sentences(report: ReportData, baselines: PublishedBaselines) -> list[str]:
    """What the first screen says of other results."""
    if baselines.why_none:
        return [f"Known results of this protocol are not shown: {baselines.why_none}"]
    if not baselines.results:
        return []
    metric = "uar" if "uar" in baselines.results else next(iter(baselines.results))
    title = METRICS[metric].title
    system = report.measured[0]
    ours = system.pooled[metric]
    shown = first_screen(baselines.results[metric], report)
    places: dict[str, list[str]] = {}
    for result in reversed(shown):
        place = place_against(result.value, ours)
        named = f"{result.system} {percent(result.value)} % ({qualities(result)})"
        places.setdefault(place, []).append(named)
    said = (
        f"Others on the same protocol and the same metric ({title}), against the "
        f"{system.label.lower()}'s {percent(ours.value)} %: "
        + "; ".join(f"{place} {', '.join(names)}" for place, names in places.items())
        + ". Without their answers to each utterance, no difference from ours can be tested."
    )
    count = sum(len(found) for found in baselines.results.values())
    more = f" All {plural(count, 'number')} stand under “Beside other results”."
    return [said + (more if count > len(shown) else "")]


def limit(report: ReportData, baselines: PublishedBaselines) -> tuple[str, str]:
    """What other published numbers this page may not be compared with, and why."""
    protocol = report.protocol
    if baselines.results:
        names = listing([METRICS[name].title for name in baselines.results])
        why = (
            f"results of others are known to this program for {protocol} and {names} alone; "
            "they stand in Results."
        )
    else:
        why = f"this program knows no result of others for {protocol} on these utterances."
    return "Any published number that is not on this page", why
