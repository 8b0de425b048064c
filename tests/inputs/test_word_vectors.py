"""GloVe text files: any width, headers, ragged lines, tokens with spaces, damage."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serplatform.errors import BadInputError
from serplatform.inputs.vocabulary import Vocabulary
from serplatform.inputs.word_vectors import read_word_vectors


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("width", [1, 2, 50, 300])
def test_width_is_that_of_the_first_line(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(width)
    values = rng.standard_normal((3, width)).round(5)
    lines = [f"{w} {' '.join(map(str, v))}" for w, v in zip("abc", values, strict=True)]
    found = read_word_vectors(write(tmp_path / "g.txt", "\n".join(lines) + "\n"), ["a", "c", "x"])
    assert (found.dim, sorted(found.vectors)) == (width, ["a", "c"])
    np.testing.assert_array_equal(found.vectors["c"], values[2].astype(np.float32))
    assert found.notes == (f"2 of 3 words have a vector of {width} values",)


def test_a_header_line_is_skipped_and_said(tmp_path: Path) -> None:
    found = read_word_vectors(write(tmp_path / "g.txt", "2 3\na 1 2 3\nb 4 5 6\n"), ["a", "2"])
    assert (found.dim, found.vectors["a"].tolist()) == (3, [1, 2, 3])
    assert "header" in found.notes[0]


def test_one_value_vectors_are_not_a_header(tmp_path: Path) -> None:
    found = read_word_vectors(write(tmp_path / "g.txt", "a 1\nb 2\n"), ["b"])
    assert (found.dim, found.vectors["b"].tolist()) == (1, [2])


def test_tokens_are_composed_as_words_are(tmp_path: Path) -> None:
    found = read_word_vectors(
        write(tmp_path / "g.txt", "the 1 2\ntie\u0302\u0301ng 3 4\n"), ["tiếng"]
    )
    assert found.vectors["tiếng"].tolist() == [3, 4]


def test_a_ragged_line_among_many_is_skipped_and_counted(tmp_path: Path) -> None:
    lines = [f"w{i} 1 2 3" for i in range(300)]
    lines[7], lines[9] = "w7 1 2", "w9 1 2 3 4"
    found = read_word_vectors(write(tmp_path / "g.txt", "\n".join(lines)), ["w6", "w7", "w8", "w9"])
    assert sorted(found.vectors) == ["w6", "w8"]
    assert found.notes[0] == (
        "2 of 300 lines are ragged and were skipped: line 8: it has 2 values, the first line 3"
    )


def test_a_file_with_many_ragged_lines_is_refused(tmp_path: Path) -> None:
    text = "a 1 2\n" + "b 1\n" * 3
    with pytest.raises(BadInputError, match="3 of 4 lines are not a token and 2 numbers") as caught:
        read_word_vectors(write(tmp_path / "g.txt", text), ["a"])
    assert caught.value.faults[0] == "line 2: it has 1 values, the first line 2"


def test_tokens_may_hold_spaces_and_bytes_that_are_not_text(tmp_path: Path) -> None:
    content = b"the 1 2 3\n. . . 4 5 6\n\xff\xfe 7 8 9\ncaf\xc3\xa9 1 1 1\n"
    found = read_word_vectors(write(tmp_path / "g.txt", content), ["the", ". . .", "café"])
    assert found.vectors[". . ."].tolist() == [4, 5, 6]
    assert found.vectors["café"].tolist() == [1, 1, 1]


def test_the_first_of_two_lines_of_a_word_counts(tmp_path: Path) -> None:
    found = read_word_vectors(write(tmp_path / "g.txt", "a 1 2\r\na 3 4\r\n"), ["a"])
    assert found.vectors["a"].tolist() == [1, 2]


@pytest.mark.parametrize("value", ["nan", "inf", "1e99"])
def test_values_must_be_finite(tmp_path: Path, value: str) -> None:
    text = f"a 1 2\nb {value} 2\n" + "c 1 2\n" * 200
    found = read_word_vectors(write(tmp_path / "g.txt", text), ["a", "b"])
    assert sorted(found.vectors) == ["a"]
    assert "line 2: a value is not a finite number" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file of word vectors"),
        ("", "no line is a token and numbers"),
        ("hello world\nso it goes\n", "no line is a token and numbers"),
        (b"PK\3\4\0\0\0 1 2\n", "is not a text file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    path = tmp_path / "g.txt"
    if content is not None:
        write(path, content)
    with pytest.raises(BadInputError, match=message):
        read_word_vectors(path, ["a"])


def test_matrix_keeps_padding_zero_and_fills_the_unknown(tmp_path: Path) -> None:
    path = write(tmp_path / "g.txt", "a 1 2\nb 3 6\nnever 9 9\n")
    vocabulary = Vocabulary(("a", "b", "new"))
    found = read_word_vectors(path, ["a", "b", "new"])
    matrix = found.matrix(vocabulary, seed=1)
    assert matrix.shape == (5, 2)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix[:4], [[0, 0], [2, 4], [1, 2], [3, 6]])
    assert np.isfinite(matrix[4]).all()
    assert (matrix[4] != matrix[1]).any()
    np.testing.assert_array_equal(matrix, found.matrix(vocabulary, seed=1))


def test_only_needed_words_are_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "g.txt"
    with path.open("w") as stream:
        for i in range(4000):
            stream.write(f"w{i} " + " ".join(["0.123456"] * 300) + "\n")
    tracemalloc.start()
    try:
        found = read_word_vectors(path, ["w5", "w3999"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.vectors) == 2
    assert path.stat().st_size > 10e6
    assert peak < 1e6


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.lists(
                st.one_of(
                    st.floats().map(str), st.sampled_from(["a", "b", ".", "nan", "1e400", "\t"])
                ),
                max_size=5,
            ).map(" ".join),
            max_size=8,
        ).map(lambda lines: "\n".join(lines).encode()),
    )
)
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    try:
        found = read_word_vectors(write(tmp_path / "fuzz.txt", content), ["a", "b", "."])
    except BadInputError:
        return
    assert all(v.shape == (found.dim,) for v in found.vectors.values())
    assert all(np.isfinite(v).all() for v in found.vectors.values())
