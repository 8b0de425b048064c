"""Weights & Biases, offline: what `wandb sync` would send, read back from its files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from serplatform.errors import BadInputError
from serplatform.tracking.choice import check_log
from tests.support.tracked import planned_run, play, watch

pytest.importorskip("wandb")
pytestmark = pytest.mark.filterwarnings("ignore")  # of its own


def log_of(content: bytes) -> list[bytes]:
    """The entries of a file in LevelDB's log format, after W&B's header of seven bytes."""
    entries, part, at, block = [], b"", 7, 32768
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        part += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            entries.append(part)
            part = b""
    return entries


def stored(folder: Path) -> dict[str, dict]:
    """By the name of the run: its group, settings, history, summary and artifacts."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, dict] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        name, told = "", {"config": {}, "history": [], "summary": {}, "files": [], "exit": None}
        for entry in log_of(file.read_bytes()):
            record = Record.FromString(entry)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name, told["group"] = record.run.display_name, record.run.run_group
                told["tags"] = list(record.run.tags) or told.get("tags", [])
                told["config"] |= items(record.run.config.update)
            elif kind == "history":
                told["history"].append(items(record.history.item))
            elif kind == "summary":
                told["summary"] |= items(record.summary.update)
            elif kind == "artifact":
                told["files"] += [file.path for file in record.artifact.manifest.contents]
            elif kind == "exit":
                told["exit"] = record.exit.exit_code
        earlier = found.setdefault(name, told)
        if earlier is not told:  # it was continued
            told["history"] = earlier["history"] + told["history"]
            found[name] = told
    return found


def items(pairs) -> dict:
    return {(p.key or ".".join(p.nested_key)): json.loads(p.value_json) for p in pairs}


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


def test_a_resumed_search_has_every_epoch_once_with_states_and_results(tmp_path, offline):
    run, records = planned_run(tmp_path / "run")
    run.directory.write_trials_table(records)
    target = check_log(["wandb=emotions"])["wandb"]
    record = next(r for r in records if r["state"] == "complete")
    with watch(run, wandb=target) as told:
        play(told, record, last=2)
    with watch(run, wandb=target) as told:
        play(told, record, run=run)  # its epochs are told again
        for other in records:
            if other["state"] in ("pruned", "failed"):
                play(told, other, run=run)
        told.results = [run.directory.trials_table]
    found = stored(run.directory.path)
    search = found.pop("run")
    assert search["files"] == ["trials.parquet"]
    assert search["config"]["protocol"] == run.description["protocol"]["name"]
    assert len(found) == 3
    for name, told in found.items():
        record = next(r for r in records if name.startswith(f"trial-{r['trial']:05d}"))
        assert told["group"] == "run"
        assert told["config"].keys() >= record["params"].keys()
        uar = [row[k] for row in told["history"] for k in row if k.startswith("dev_uar/")]
        assert uar == [entry["dev"]["uar"] for entry in record["history"]]
        assert [row["_step"] for row in told["history"]] == list(range(len(record["history"])))
        assert told["summary"]["state"] == record["state"]
        assert record["state"] in told["tags"]
        assert told["exit"] == (1 if record["state"] == "failed" else 0)
        assert ("dev_uar" in told["summary"]) == (record["state"] == "complete")
        assert not any("test" in key for row in told["history"] for key in row)


def test_without_a_login_the_search_is_refused_before_it_begins(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(BadInputError, match=r"--log wandb: cannot be used .*wandb login"):
        check_log(["wandb"])
