"""Downloads against a server on this machine: resumed, verified, unpacked within the folder."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from serplatform.corpora.base import Archive
from serplatform.corpora.download import archive_url, fetch, unpack
from serplatform.errors import BadInputError, SerplatformError

CONTENT = bytes(range(256)) * 4_096  # 1 MiB


class Server:
    """What a test asks of the server, and what it saw."""

    def __init__(self) -> None:
        self.url = ""
        self.ranges: list[str | None] = []
        self.cut_after: list[int] = []  # bytes after which each answer stops
        self.statuses: list[int] = []
        self.supports_ranges = True


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            first = int(asked[6:].rstrip("-")) if asked and state.supports_ranges else 0
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(CONTENT) - first))
            self.end_headers()
            body = CONTENT[first:]
            if state.cut_after:
                body = body[: state.cut_after.pop(0)]
            with contextlib.suppress(OSError):
                self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}/speech.zip"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def archive(url: str, content: bytes = CONTENT) -> Archive:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Archive(
        file="speech.zip", url=url, md5=md5, num_bytes=len(content), variable="SPEECH_TEST_URL"
    )


def test_file_arrives_whole_and_progress_is_told(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(archive(server.url), tmp_path, progress=lambda *now: seen.append(now))
    assert path == tmp_path / "speech.zip"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["speech.zip"]


def test_broken_connection_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cut_after = [300_000, 200_000]
    path = fetch(archive(server.url), tmp_path, pause=0.0)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_second_call_goes_on_with_the_first_ones_part(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.zip.partial").write_bytes(CONTENT[:700_000])
    assert fetch(archive(server.url), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=700000-"]


def test_server_without_ranges_is_started_over(server: Server, tmp_path: Path) -> None:
    server.supports_ranges = False
    (tmp_path / "speech.zip.partial").write_bytes(b"x" * 700_000)
    assert fetch(archive(server.url), tmp_path).read_bytes() == CONTENT


def test_whole_file_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.zip").write_bytes(CONTENT)
    fetch(archive(server.url), tmp_path)
    assert server.ranges == []


def test_other_checksum_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    wanted = archive(server.url, content=CONTENT[:-1] + b"!")
    with pytest.raises(SerplatformError, match=r"MD5 checksum is .* it was removed"):
        fetch(wanted, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_busy_server_is_asked_again_and_a_missing_file_is_not(
    server: Server, tmp_path: Path
) -> None:
    server.statuses = [503, 500]
    assert fetch(archive(server.url), tmp_path, pause=0.0).read_bytes() == CONTENT
    server.statuses = [404]
    with pytest.raises(SerplatformError, match=r"answers 404 .*--url or SPEECH_TEST_URL"):
        fetch(archive(server.url), tmp_path / "other", pause=0.0)
    assert len(server.ranges) == 4


def test_server_that_keeps_failing_is_given_up_and_the_part_kept(
    server: Server, tmp_path: Path
) -> None:
    server.cut_after = [100, 100, 100, 100]
    with pytest.raises(SerplatformError, match="what has arrived is kept"):
        fetch(archive(server.url), tmp_path, pause=0.0)
    assert (tmp_path / "speech.zip.partial").stat().st_size == 400


def test_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    known = archive("https://example.org/a.zip")
    assert archive_url(known) == "https://example.org/a.zip"
    monkeypatch.setenv("SPEECH_TEST_URL", "http://mirror.example/a.zip")
    assert archive_url(known) == "http://mirror.example/a.zip"
    assert archive_url(known, "https://mine.example/a.zip") == "https://mine.example/a.zip"
    with pytest.raises(BadInputError, match="is not an http:// or https:// address"):
        archive_url(known, "file:///etc/passwd")


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
    return path


def test_archive_is_unpacked_and_unpacking_again_changes_nothing(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"Actor_01/a.wav": b"one", "Actor_02/b.wav": b"two"})
    out = tmp_path / "out"
    assert unpack(path, out) == 2
    assert (out / "Actor_02" / "b.wav").read_bytes() == b"two"
    before = (out / "Actor_01" / "a.wav").stat().st_mtime_ns
    assert unpack(path, out) == 2
    assert (out / "Actor_01" / "a.wav").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "name", ["../evil.wav", "/etc/evil.wav", "a/../../evil.wav", "..\\evil", "C:\\evil"]
)
def test_member_that_leaves_the_folder_stops_everything(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "a.zip", {"good.wav": b"one", name: b"two"})
    with pytest.raises(SerplatformError, match="would leave the folder"):
        unpack(path, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr(link, "/etc/passwd")
    with pytest.raises(SerplatformError, match="'link' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"nothing")
    with pytest.raises(SerplatformError, match=r"a\.zip: is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        content.writestr("a.wav", bytes(1_000))
    broken = bytearray(buffer.getvalue())
    broken[200] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(broken)
    with pytest.raises(SerplatformError, match="is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
