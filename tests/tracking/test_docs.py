"""docs/tracking.md says what works."""

from __future__ import annotations

from tests.test_readme import ROOT, command_lines, parse


def test_its_commands_are_ours():
    text = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
    found = [parse(words) for words in command_lines(text)]
    assert len(found) >= 3
    logs = [options["log"] for _, options in found if options.get("log")]
    assert ["mlflow=mlruns", "wandb=emotions"] in logs
