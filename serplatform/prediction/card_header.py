"""The header of a model card that the Hugging Face hub reads, and what else helps whoever finds it.

Names are those of the hub ("Model Cards", https://huggingface.co/docs/hub/model-cards). What is not
known or was not measured is left out.
"""

from __future__ import annotations

import re

import yaml

from serplatform.artifacts.bundle import DescribedData, SystemDescription, WrittenBundle
from serplatform.models.architectures import ARCHITECTURES

#: what a corpus says of its licence → the hub's name
_LICENCES = (
    (r"CC0", "cc0-1.0"),
    (r"CC[ -]BY[ -]NC[ -]SA[ -]4", "cc-by-nc-sa-4.0"),
    (r"CC[ -]BY[ -]NC[ -]ND[ -]4", "cc-by-nc-nd-4.0"),
    (r"CC[ -]BY[ -]NC[ -]4", "cc-by-nc-4.0"),
    (r"CC[ -]BY[ -]SA[ -]4", "cc-by-sa-4.0"),
    (r"CC[ -]BY[ -]4", "cc-by-4.0"),
    (r"ODbL|Open Database Licen[sc]e", "odbl"),
)
#: what stands for a licence where a corpus has none of its own to tell
_UNTOLD = ("yours", "the database's own")
#: metric of ours → what it is called on the hub, and in words
_METRICS = {
    "uar": ("recall", "UAR (recall, mean over the classes)"),
    "accuracy": ("accuracy", "accuracy"),
    "macro_f1": ("f1", "macro F1"),
}


def card_header(bundle: WrittenBundle) -> str:
    """The header between its lines of dashes, from the content of ``bundle.json``."""
    about, data = bundle["description"], bundle["description"]["data"]
    architectures = sorted({member["architecture"] for member in about["members"]})
    tags = ["speech-emotion-recognition", *(name.replace("_", "-") for name in architectures)]
    if bundle["synthetic"]:
        tags.append("synthetic-data")
    measured = not bundle["synthetic"] and not {"sealed", "refit"} & about.keys()
    header: dict[str, object] = {
        **_licence(data.get("licence")),
        **_languages(data.get("language")),
        "library_name": "serplatform",
        "pipeline_tag": "audio-classification",
        "tags": tags,
    }
    corpus = data.get("corpus")
    if corpus and corpus not in ("csv", "audformat", "synthetic", "demo"):
        header["datasets"] = [corpus]
    if measured:
        header["metrics"] = [name for name, _ in _METRICS.values()]
        header["model-index"] = [{"name": about["title"], "results": [_result(about, data)]}]
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def python_use(bundle: WrittenBundle) -> str:
    """Lines of Python that classify a recording, started where the bundle lies."""
    trust = ", trust_plugins=True" if bundle.get("plugins") else ""
    return f"""\
```python
import serplatform as sp

system = sp.load("."{trust})  # the directory of this file
print(system.predict("recording.wav"))
```

"""


def citations(bundle: WrittenBundle) -> list[str]:
    """The works that its architectures follow, each once; empty where none is named."""
    found: dict[str, list[str]] = {}
    for name in sorted({m["architecture"] for m in bundle["description"]["members"]}):
        reference = ARCHITECTURES.get(name).reference if name in ARCHITECTURES.names() else None
        if reference is not None:
            found.setdefault(reference, []).append(name)
    return [f"{', '.join(names)}: {reference}" for reference, names in found.items()]


def _licence(text: object) -> dict[str, str]:
    """That of the data, by the hub's name; nothing where it is not known.

    Example:
        >>> _licence("CC BY-NC-SA 4.0"), _licence("own licence"), _licence("yours")
        ({'license': 'cc-by-nc-sa-4.0'}, {'license': 'other', 'license_name': 'own licence'}, {})
    """
    if not isinstance(text, str) or not text.strip() or text in _UNTOLD:
        return {}
    for pattern, name in _LICENCES:
        if re.match(pattern, text, re.IGNORECASE):
            return {"license": name}
    return {"license": "other", "license_name": " ".join(text.split())}


def _languages(text: object) -> dict[str, list[str]]:
    """Two- or three-letter codes that a corpus names.

    Example:
        >>> _languages("en"), _languages("de, en"), _languages(None)
        ({'language': ['en']}, {'language': ['de', 'en']}, {})
    """
    words = re.split(r"[\s,;+/]+", str(text or "").lower())
    found = [word for word in words if re.fullmatch(r"[a-z]{2,3}", word)]
    return {"language": list(dict.fromkeys(found))} if found else {}


def _result(about: SystemDescription, data: DescribedData) -> dict[str, object]:
    """Pooled test metrics, with what they were measured on."""
    metrics, protocol = about["metrics"], about["protocol"]
    return {
        "task": {"type": "audio-classification", "name": "speech emotion recognition"},
        "dataset": {
            "type": str(data.get("corpus")),
            "name": str(data.get("title") or data.get("corpus")),
            "split": "test",
            "args": {
                "protocol": protocol.get("name"),
                "folds": protocol.get("num_folds"),
                "speaker_independent": protocol.get("speaker_independent"),
            },
        },
        "metrics": [
            {
                "type": kind,
                "name": f"{words}, pooled test rows of the folds",
                "value": round(float(metrics[name]["value"]), 4),
            }
            for name, (kind, words) in _METRICS.items()
        ],
    }
