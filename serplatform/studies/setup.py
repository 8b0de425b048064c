"""Makes a run's directory from what the user asks for, and opens it again to go on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import shlex
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from serplatform import plugins
from serplatform.artifacts.dataset import has_been
from serplatform.artifacts.files import SCHEMA_VERSION, remove_own
from serplatform.artifacts.run import RunDescription, SpaceKind, WarmStartRecord
from serplatform.artifacts.trial import DEV_METRICS, NESTED_NOTE, TrialRecord
from serplatform.config import plain
from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, now, versions
from serplatform.errors import ArtifactError, BadInputError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import check_plan, make_plan, plan_hash, read_plan, write_plan
from serplatform.run_directory import RunDirectory, RunLock
from serplatform.storage.destination import RUN, check_directory
from serplatform.storage.location import address, redact
from serplatform.studies.advice import text_warning, too_good_warning
from serplatform.studies.choices import check_choices
from serplatform.studies.portfolio import with_portfolio
from serplatform.studies.request import SearchRequest
from serplatform.studies.sizes import Sized
from serplatform.studies.space import (
    SearchSpace,
    packaged_spaces,
    parse_space,
    read_space_file,
    why_no_paper_trial,
)
from serplatform.studies.space_choice import candidate_spaces, parse_overrides
from serplatform.studies.study_storage import check_storage, recorded_storage
from serplatform.studies.warm_start import collect
from serplatform.studies.warm_start import notes as warm_start_notes
from serplatform.training.fine_tuning import check_device
from serplatform.training.trial_config import resolve


@dataclasses.dataclass
class OpenRun:
    """A run that trials can be added to."""

    directory: RunDirectory
    description: RunDescription  # the content of run.json
    spaces: dict[str, SearchSpace]  # by architecture, the user's settings fixed
    plan: FoldPlan
    #: by architecture and kind: what may be searched
    candidates: Mapping[str, Mapping[SpaceKind, SearchSpace]]
    is_new: bool = False  # this command made it
    replaced: str | None = None  # what is to be said of a run that it took the place of
    beside: threading.Thread | None = None  # trains the reference
    #: experiment trackers that it is sent to: name to target, see ``tracking``
    trackers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def max_epochs(self) -> int:
        """The largest number of epochs that a fold of any trial may take."""
        return max(_max_epochs(space) for space in self.spaces.values())

    @property
    def num_studies(self) -> int:
        """Of an architecture: one, or where the search is nested one an outer fold."""
        return len(self.plan.folds) if self.description.get("nested") else 1

    @property
    def command(self) -> str:
        """Of `train` and `search`, the one that begins such a run."""
        searched = any(space.parameters for space in self.spaces.values())
        usual = self.description["sampler"], self.description["pruner"]
        return "train" if not searched and usual == ("random", "none") else "search"

    @property
    def metric(self) -> str:
        """The dev metric that tells the best trial: the first objective, or UAR beside sizes."""
        objective = self.description["objective"][0]
        return objective if objective in DEV_METRICS else "uar"

    def note_result(self, best: TrialRecord | None) -> str | None:
        """Add a warning to the run where its best dev result is hard to believe; return it."""
        dataset = Dataset.open(self.description["dataset"]["path"])
        warning = too_good_warning(dataset.utterances, self.plan, best, synthetic=dataset.synthetic)
        if warning is not None and warning not in self.description["notes"]:
            self.description["notes"].append(warning)
            self.directory.write_run(self.description)
        return warning

    def decide(self, sized: Sized) -> list[float]:
        """Search an architecture in the space that was decided for; record it.

        Returns:
            what the first points of the space are worth, in points of UAR.
        """
        name = sized.architecture
        self.spaces[name] = sized.space
        self.description["spaces"][name] = space_mapping(sized.space)
        self.description.setdefault("sizes", {})[name] = sized.kind
        if sized.seconds is not None:
            self.description.setdefault("costs", {})[name] = round(sized.seconds, 1)
        self.directory.write_run(self.description)
        return self.gains(name)

    def gains(self, architecture: str) -> list[float]:
        """What the first points of an architecture's space are worth, in a portfolio."""
        kind = self.description.get("sizes", {}).get(architecture)
        gains = self.description.get("portfolio", {}).get(architecture, {})
        return [] if kind is None else gains.get(kind, [])

    def set_status(self, status: str, **more: Any) -> None:
        """Write the run's status into ``run.json``."""
        self.description.update({"status": status, **more})  # type: ignore[typeddict-item]
        self.directory.write_run(self.description)

    def withdraw(self) -> None:
        """Remove a run that this command made and of which no trial has begun: the search cannot
        start, and the same ``--out`` must be free for the next attempt."""
        if self.is_new and not _has_begun(self.directory):
            if self.beside is not None:
                self.beside.join()
            _remove_run_files(self.directory)


def _has_begun(directory: RunDirectory) -> bool:
    """Whether anything is left of a trial: its record, or an epoch that it saved."""
    mirror = directory.mirror
    return (
        any(directory.path.glob("trials/trial-*"))
        or any(directory.path.glob("state/trial-*"))
        or (mirror.is_remote and bool(mirror.remote.list("state")))
    )


def _remove_run_files(directory: RunDirectory) -> None:
    """Remove what a run without trials consists of, and its directory unless others use it."""
    directory.remove_scratch()
    shutil.rmtree(directory.reference_directory, ignore_errors=True)
    for file in (
        directory.run_file,
        directory.folds_file,
        directory.journal,
        Path(f"{directory.journal}.lock"),
        directory.trials_table,
        directory.path / ".lock",
    ):
        file.unlink(missing_ok=True)
    remove_own(directory.path / plugins.FOLDER, re.compile(r"[\w.-]+\.py"))
    with contextlib.suppress(OSError):  # other files lie there
        directory.path.rmdir()


def choose_architectures(names: Sequence[str], searched: Collection[str]) -> tuple[str, ...]:
    """Resolve ``all``, which stands for ``searched``, and check each name."""
    if not names:
        raise BadInputError(
            f"name at least one architecture ({', '.join(ARCHITECTURES.names())}) or `all`"
        )
    if "all" in names:
        return tuple(name for name in ARCHITECTURES.names() if name in searched)
    for name in names:
        if name not in ARCHITECTURES.names() and Path(name).is_dir():
            raise BadInputError(f"{name}: a directory, no architecture; a dataset is --data {name}")
        ARCHITECTURES.get(name)
    if len(set(names)) != len(names):
        raise BadInputError(f"architectures {', '.join(names)}: name each once")
    return tuple(names)


def with_space(spaces: Sequence[str]) -> set[str]:
    """The architectures that ``all`` stands for: those of packaged spaces, of ``spaces`` (names or
    files) and of the plugins that the user named."""
    given = (str(read_space_file(name)[0].get("architecture")) for name in spaces)
    return {*packaged_spaces(), *plugins.named_architectures(), *given}


def lacking_encoder(request: SearchRequest) -> dict[str, str]:
    """The architectures that adapt an encoder of which ``request`` names none, with the parameter
    that names it; a space given for one is taken to name it."""
    given = {str(read_space_file(name)[0].get("architecture")) for name in request.spaces}
    fields = {name: ARCHITECTURES.get(name).encoder for name in ARCHITECTURES.names()}
    adapting = {name: f"model.{field}" for name, field in fields.items() if field is not None}
    settings = parse_overrides(request.settings, ARCHITECTURES.names()) if adapting else {}
    return {
        name: parameter
        for name, parameter in adapting.items()
        if name not in given and parameter not in settings[name]
    }


def create_run(out: Path, request: SearchRequest, command: Sequence[str]) -> OpenRun:
    """Check everything that can be checked before training, then write the run's directory.

    A run that lies there and of which no trial has begun is replaced.

    Raises:
        BadInputError: anything is wrong with the request; nothing is then written.
        LeakError: the protocol's folds are not apart.
    """
    if request.dataset is None:
        raise BadInputError("a run needs a dataset; give one with --data")
    check_directory(out, RUN)
    directory = RunDirectory(out)
    directory.fetch_study()
    if directory.run_file.exists() and _has_begun(directory):
        raise _occupied(directory)
    storage = request.storage
    if storage is not None:
        storage = check_storage(storage, connect=False)
    check_choices(request.objectives, request.sampler, request.pruner)
    if request.nested and request.warm_start:
        raise BadInputError(
            "--nested --warm-start: an earlier run was steered by rows that folds test here; leave "
            "one of the two out"
        )
    dataset = Dataset.open(request.dataset)
    candidates, replaced_spaces, left_out = candidate_spaces(request, dataset)
    architectures = tuple(candidates)
    if left_out:
        told = "; ".join(f"{name}, {why}" for name, why in left_out.items())
        replaced_spaces.append(f"Left out of the portfolio: {told}.")
    gains: dict[str, dict[SpaceKind, list[float]]] = {}
    if request.portfolio:
        candidates, gains = with_portfolio(candidates, dataset)
    spaces = {name: next(iter(kinds.values())) for name, kinds in candidates.items()}
    decided = {name: next(iter(kinds)) for name, kinds in candidates.items() if len(kinds) == 1}
    check_encoders(spaces)
    name = request.protocol or str(dataset.meta["default_protocol"])
    plan = make_plan(dataset.utterances, name, request.seed, classes=dataset.classes)
    if request.max_folds is not None and request.max_folds < len(plan.folds):
        note = f"Only the first {request.max_folds} of {len(plan.folds)} fold(s)."
        folds = plan.folds[: request.max_folds]
        plan = dataclasses.replace(plan, folds=folds, notes=(*plan.notes, note))
    check_plan(plan, dataset.utterances)
    warning = text_warning(dataset, plan, architectures)
    starts: list[WarmStartRecord] = []
    for run in request.warm_start:
        start = collect(
            run,
            spaces,
            dataset=dataset,
            plan=plan,
            objectives=request.objectives,
        )
        if start["run"] in [other["run"] for other in starts]:
            raise BadInputError(f"--warm-start {run}: name each run once")
        starts.append(start)
    description: RunDescription = {
        "schema_version": SCHEMA_VERSION,
        "command": [redact(word) for word in command],
        "architectures": list(architectures),
        "spaces": {name: space_mapping(space) for name, space in spaces.items()},
        "sizes": decided,
        "settings": list(request.settings),
        "protocol": {
            "name": plan.protocol,
            "speaker_independent": plan.speaker_independent,
            "label_map": dict(plan.label_map),
            "num_folds": len(plan.folds),
            "notes": list(plan.notes),
        },
        "folds_file": directory.folds_file.name,
        "folds_hash": plan_hash(plan),
        "dataset": {
            "path": address(request.dataset),
            "fingerprint": dataset.fingerprint,
            "corpus": dataset.meta["corpus"],
            "title": dataset.meta["title"],
            "synthetic": dataset.synthetic,
            "counts": dataset.meta["counts"],
            "earlier_fingerprints": dataset.meta.get("earlier_fingerprints", []),
        },
        "classes": list(plan.classes),
        "seed": request.seed,
        "objective": list(request.objectives),
        "sampler": request.sampler,
        "pruner": request.pruner,
        "storage": storage and recorded_storage(storage),
        "study_prefix": "" if request.storage is None else f"{out.name}-{secrets.token_hex(4)}/",
        "selection": "dev rows of each outer fold; looks at test rows are counted in looks/",
        "sealed": request.sealed,
        "versions": versions(),
        "hardware": hardware(),
        "warm_start": starts,
        "portfolio": gains,
        "reference": request.reference,
        "status": "running",
        "started": now(),
        "ended": None,
        "seconds": 0.0,
        "notes": [
            *dataset.meta["notes"],
            *plan.notes,
            *([warning] if warning else []),
            *replaced_spaces,
            *filter(None, map(why_no_paper_trial, spaces.values())),
            *(note for start in starts for note in warm_start_notes(start)),
        ],
    }
    if request.nested:
        description["nested"] = True
        description["notes"].append(NESTED_NOTE)
    if left_out:
        description["left_out"] = left_out
    used = plugins.made_with(
        named=True,
        architecture=architectures,
        protocol=[name.partition(":")[0]],
        feature=dataset.feature_names,
    )
    description.update(used)  # type: ignore[typeddict-item]
    with RunLock(directory):
        replaced = _replace(directory, description) if directory.run_file.exists() else None
        write_plan(directory.folds_file, plan)
        plugins.write(directory.path, description)
        directory.write_run(description)
    return OpenRun(directory, description, spaces, plan, candidates, is_new=True, replaced=replaced)


#: what a request decides of a run's description
_REQUESTED = (
    *("architectures", "spaces", "settings", "protocol", "folds_hash", "dataset", "seed"),
    *("objective", "sampler", "pruner", "storage", "warm_start", "plugins", "sealed", "nested"),
)


def _replace(directory: RunDirectory, description: RunDescription) -> str | None:
    """Make room for a run where one lies of which no trial has begun; return what is to be said
    of it: nothing where it was of the same request."""
    if _has_begun(directory):
        raise _occupied(directory)
    before = directory.read_run()
    now_asked = json.loads(json.dumps(description))
    other = [name for name in _REQUESTED if before.get(name) != now_asked.get(name)]
    for file in (directory.journal, Path(f"{directory.journal}.lock"), directory.trials_table):
        file.unlink(missing_ok=True)
    shutil.rmtree(directory.reference_directory, ignore_errors=True)
    if not other:
        return None
    return (
        f"{directory} held a run of which no trial had begun, with other settings "
        f"({', '.join(other)}); this one takes its place."
    )


def _occupied(directory: RunDirectory) -> BadInputError:
    goes_on = "serplatform reproduce"
    if "roster" not in directory.read_run():
        goes_on = shlex.join(["serplatform", "search", "--resume", "--out", str(directory)])
    return BadInputError(
        f"{directory}: already holds a run; continue it with `{goes_on}`, or give another --out"
    )


def reopen_run(out: Path, *, dataset: str | Path | None = None) -> OpenRun:
    """Open a run to resume it, with its dataset where that lies now; dataset and folds must be
    those that it was begun with."""
    directory = RunDirectory(out)
    directory.fetch_study()
    description = directory.read_run()
    if "unsealed" in description:
        raise BadInputError(
            f"{directory}: `unseal` opened its test rows on {description['unsealed']} and closed "
            "the choice, so no trial can be added; start another run"
        )
    path = dataset or description["dataset"]["path"]
    opened = Dataset.open(path)
    check_dataset(opened, directory, description)
    plan = read_plan(directory.folds_file)
    if plan_hash(plan) != description["folds_hash"]:
        raise ArtifactError(f"{directory.folds_file}: the folds were changed after the run began")
    plugins.restore(directory.path, description)
    of_run = {record["name"]: record for record in description.get("plugins", [])}
    named = plugins.made_with(named=True).get("plugins", [])
    if of_run or named:
        new = [record for record in named if record["name"] not in of_run]
        description["plugins"] = [*of_run.values(), *new]
        plugins.write(directory.path, description)
    spaces: dict[str, SearchSpace] = {}
    for name, mapping in description["spaces"].items():
        spaces[name], errors = parse_space(mapping, f"{directory.run_file} ({name})", recorded=True)
        if errors:
            raise ArtifactError(f"{directory.run_file}: the space of {name} is faulty", errors)
    description["dataset"]["path"] = address(path)
    candidates = _candidates_again(description, spaces, opened)
    return OpenRun(directory, description, spaces, plan, candidates)


def check_dataset(dataset: Dataset, directory: RunDirectory, description: RunDescription) -> None:
    """Refuse a dataset that is not the one a run was begun with."""
    if not has_been(dataset.meta, description["dataset"]["fingerprint"]):
        raise ArtifactError(
            f"{dataset.path}: the dataset is not the one that {directory} was begun with "
            f"(fingerprint {dataset.fingerprint[:12]}, run "
            f"{description['dataset']['fingerprint'][:12]}); give the original with --data, or "
            "start a new run"
        )


def _candidates_again(
    description: RunDescription, spaces: Mapping[str, SearchSpace], dataset: Dataset
) -> dict[str, Mapping[SpaceKind, SearchSpace]]:
    """The one space of an architecture whose sizes were decided, and what may be decided for."""
    decided = description.get("sizes")
    if decided is None:  # of a version that decided nothing
        return {name: {"given": space} for name, space in spaces.items()}
    found: dict[str, Mapping[SpaceKind, SearchSpace]] = {
        name: {decided[name]: space} for name, space in spaces.items() if name in decided
    }
    if open_names := tuple(name for name in spaces if name not in decided):
        request = SearchRequest(
            architectures=open_names,
            settings=tuple(description.get("settings", [])),
            portfolio=bool(description.get("portfolio")),
        )
        again = candidate_spaces(request, dataset)[0]
        found |= with_portfolio(again, dataset)[0] if request.portfolio else again
    return {name: found[name] for name in spaces}


def space_mapping(space: SearchSpace) -> dict[str, object]:
    """A space in the form of its YAML file; ``parse_space`` reads it back."""
    parameters: dict[str, object] = {}
    for name, p in space.parameters.items():
        extent = {"values": p.values} if p.kind == "choice" else {"low": p.low, "high": p.high}
        optional = {"step": p.step, "log": p.log, "when": p.when}
        given = {key: option for key, option in optional.items() if option}
        parameters[name] = plain({"type": p.kind, **extent, **given})
    mapping: dict[str, object] = {
        "architecture": space.architecture,
        "description": space.description,
        "fixed": dict(space.fixed),
        "parameters": parameters,
    }
    if space.try_first:
        mapping["try_first"] = [dict(point) for point in space.try_first]
    return mapping


def _max_epochs(space: SearchSpace) -> int:
    searched = space.parameters.get("training.max_epochs")
    if searched is not None:
        choices = [int(value) for value in searched.values]
        return max(choices) if choices else int(searched.high)
    return resolve(space.architecture, space.fixed, space.source).training.max_epochs


def check_encoders(spaces: Mapping[str, SearchSpace], device: str | None = None) -> None:
    """Every encoder that a trial may adapt must be there, and fit ``device`` where one is given.

    Raises:
        BadInputError: no encoder is named, one is missing, or needs a GPU to be trained.
    """
    for architecture, space in spaces.items():
        field = ARCHITECTURES.get(architecture).encoder
        if field is None:
            continue
        searched = space.parameters.get(f"model.{field}")
        found = [{f"model.{field}": value} for value in searched.values] if searched else [{}]
        for values in found:
            config = resolve(architecture, {**space.fixed, **values}, space.source)
            check_device(config, device)
