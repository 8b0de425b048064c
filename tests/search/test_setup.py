"""Where a run may be begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.errors import BadInputError
from serplatform.search.setup import SearchRequest, create_run
from serplatform.testing.synthetic import make_dataset


def test_a_run_is_not_written_into_its_dataset(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", per_speaker=4, seconds=(0.2, 0.3))
    before = sorted(data.iterdir())
    request = SearchRequest(architectures=("csa",), dataset=data)
    with pytest.raises(BadInputError, match=r"data: holds a dataset \(dataset.json\)"):
        create_run(data, request, ["test"])
    assert sorted(data.iterdir()) == before


@pytest.mark.parametrize("marker", ["ensemble.json", "bundle.json"])
def test_a_run_is_not_written_over_other_results(tmp_path: Path, marker: str) -> None:
    (tmp_path / marker).write_text("{}")
    request = SearchRequest(architectures=("csa",), dataset=tmp_path / "data")
    with pytest.raises(BadInputError, match=rf"\({marker}\); give another directory"):
        create_run(tmp_path, request, ["test"])
