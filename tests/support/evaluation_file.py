"""What `evaluate --out` writes, by hand."""

from __future__ import annotations

from typing import Any


def evaluation(evaluated: str, name: str = "other<data>") -> dict[str, Any]:
    """An evaluation of a system of that identity, with everything that can be asked for."""

    def at(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    metrics = dict.fromkeys(("uar", "accuracy", "macro_f1", "nll", "brier"), at(0.6))
    group = {"utterances": 20, "speakers": 2, "uar": at(0.6), "accuracy": at(0.6)}
    recalls = [
        {"group": g, "emotion": e, "utterances": 10, "recall": at(r)}
        for g, e, r in (("f", "happy", 0.8), ("m", "happy", 0.5), ("f", "sad", 0.6))
    ]
    gap = {"emotion": "happy", "best": "f", "worst": "m", "value": 0.3, "p_value": 0.012}
    reading = {
        "classes": ["happy", "sad"],
        "metrics": {**metrics, "ece": {"value": 0.1, "low": None, "high": None}},
        "chance_uar": 0.5,
        "confusion": [[12, 8], [8, 12]],
    }
    return {
        "schema_version": 1,
        "system": "runs/other",
        "system_title": "trial 0 (moma) of runs/other",
        "evaluated": evaluated,
        "data": f"data/{name}",
        "data_title": "Other data",
        "synthetic": False,
        "training_rows_excluded": False,
        "labels": [{"theirs": "joy", "ours": "happy", "utterances": 20}],
        "classes_the_data_lacks": ["angry"],
        "utterances": 40,
        "speakers": 4,
        "left_out": {"label": 3},
        "reading": "shared",
        "readings": {"all": reading, "shared": reading},
        "by_gender": [{"name": "f", **group}, {"name": "m", **group}],
        "gender_differences": [{"one": "f", "other": "m", "uar": {**at(0.0), "p_value": 0.9}}],
        "by_speaker": [{"name": "s1", **group}],
        "robustness": [
            {
                "group": "gain",
                "condition": "+12 dB",
                "utterances": 40,
                "uar": at(0.4),
                "difference_to_clean": {**at(-0.2), "p_value": 0.001},
            }
        ],
        "fairness": [
            {"kind": "gender", "recalls": recalls, "gap": gap},
            {"kind": "speaker", "recalls": recalls, "gap": None},
        ],
        "notes": [],
    }
