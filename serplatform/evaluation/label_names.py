"""Labels of one dataset by those of another: which of theirs is which of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serplatform.artifacts.evaluation import LabelRecord
from serplatform.errors import BadInputError, unknown_name
from serplatform.labels import canonical_emotion, class_order


def match_labels(
    counts: Mapping[str, int],
    classes: Sequence[str],
    *,
    merged: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
) -> list[LabelRecord]:
    """Match labels by name, in the vocabulary's order.

    Args:
        counts: utterances of each label of the data.
        classes: of the system.
        merged: labels of the training data to classes, where its protocol merged some.
        given: label of the data to class; an empty class leaves the label out. It goes before all.

    Raises:
        BadInputError: ``given`` names what neither has, or fewer than two classes are met.

    Example:
        >>> found = match_labels({"joy": 3, "calm": 2}, ["happy", "sad"], given={"calm": "sad"})
        >>> [(row["theirs"], row["ours"]) for row in found]
        [('calm', 'sad'), ('joy', 'happy')]
    """
    of_name = {canonical_emotion(name): name for name in classes}
    of_name |= {canonical_emotion(label): name for label, name in (merged or {}).items()}
    of_name |= {name: name for name in classes}
    chosen: dict[str, str | None] = {}
    faults = []
    for label, name in (given or {}).items():
        theirs = label if label in counts else canonical_emotion(label)
        ours = name if name in classes else canonical_emotion(name)
        if theirs not in counts:
            faults.append(unknown_name("label of the data", label, counts))
        if name and ours not in classes:
            faults.append(unknown_name("class of the system", name, classes))
        chosen[theirs] = ours if name else None
    if faults:
        raise BadInputError("--map is THEIRS=OURS, a label of the data and a class:", faults)
    found = [
        LabelRecord(
            theirs=label,
            ours=chosen[label] if label in chosen else of_name.get(canonical_emotion(label)),
            utterances=counts[label],
        )
        for label in class_order({label for label, number in counts.items() if number})
    ]
    if len({row["ours"] for row in found} - {None}) < 2:
        raise BadInputError(
            f"the labels of the data are {', '.join(row['theirs'] for row in found)}, the classes "
            f"of the system {', '.join(classes)}: fewer than two are the same; say which is which "
            "with --map THEIRS=OURS"
        )
    return found
