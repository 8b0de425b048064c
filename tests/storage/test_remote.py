import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serplatform.errors import ArtifactError
from serplatform.storage.location import parse
from serplatform.storage.remote import RemoteError, in_parallel, remote


def test_objects_are_written_read_listed_and_deleted(lab, tmp_path):
    store = remote(parse(lab))
    assert store.list() == {}
    assert store.put("a/one.txt", b"one") == 3
    (tmp_path / "two").write_bytes(b"22" * 4_000_000)
    store.put("a/b/two.bin", tmp_path / "two")
    (tmp_path / "none").write_bytes(b"")
    store.put("none", tmp_path / "none")
    assert {key: entry.size for key, entry in store.list().items()} == {
        "a/one.txt": 3,
        "a/b/two.bin": 8_000_000,
        "none": 0,
    }
    assert list(store.list("a/b")) == ["a/b/two.bin"]
    assert store.read("a/one.txt") == b"one"
    store.fetch("a/b/two.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"22" * 4_000_000
    assert store.exists("none")
    store.delete("none")
    store.delete("none")
    assert not store.exists("none")


def test_missing_object_and_bucket_are_named(lab):
    with pytest.raises(RemoteError, match=f"{lab}/absent: cannot read .*no such object") as caught:
        remote(parse(lab)).read("absent")
    assert caught.value.kind == "missing"
    absent = remote(parse("s3://no-such-bucket/runs/a"))
    with pytest.raises(
        RemoteError, match=r"s3://no-such-bucket: .*check the bucket's name"
    ) as caught:
        absent.check()
    assert caught.value.exit_code == 2
    with pytest.raises(RemoteError, match=r"no-such-bucket/runs/a/x: cannot write") as caught:
        absent.put("x", b"1")
    assert caught.value.kind == "bucket"


def test_altered_content_is_refused_and_leaves_nothing(lab, tmp_path):
    store = remote(parse(lab))
    store.put("x", b"altered")
    with pytest.raises(ArtifactError, match=f"{lab}/x: its checksum is"):
        store.fetch("x", tmp_path / "x", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_dropped_connection_is_tried_again(wire):
    store = remote(parse("s3://lab/dropped"))
    store.put("x", b"content")
    wire.set("cut")
    threading.Timer(1.0, wire.set, ["open"]).start()
    assert store.read("x") == b"content"


def test_download_that_breaks_off_is_begun_again_and_is_whole(wire, tmp_path):
    store = remote(parse("s3://lab/broken"))
    content = bytes(range(256)) * 80_000
    store.put("x", content)
    wire.cut_after(5_000_000)
    threading.Timer(1.0, wire.set, ["open"]).start()
    store.fetch("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content


def test_upload_that_breaks_off_leaves_nothing_half_written(wire, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_STORAGE_PATIENCE", "0")
    monkeypatch.setattr("serplatform.storage.remote.REQUEST_TIMEOUT", 2.0)
    store = remote(parse("s3://lab/half"))
    store.put("x", b"before")
    wire.set("cut")
    with pytest.raises(RemoteError, match="cannot write"):
        store.put("x", b"y" * 20_000_000)
    wire.set("open")
    assert store.read("x") == b"before"


def test_unreachable_service_is_given_up_in_bounded_time(wire, monkeypatch):
    monkeypatch.setattr("serplatform.storage.remote.REQUEST_TIMEOUT", 1.0)
    store = remote(parse("s3://lab/dead"))
    store.put("x", b"1")
    wire.set("dead")
    begun = time.monotonic()
    with pytest.raises(RemoteError, match=r"cannot read .*check the network") as caught:
        store.read("x")
    assert caught.value.kind == "unreachable"
    assert caught.value.exit_code == 1
    assert time.monotonic() - begun < 12


class _Refusing(BaseHTTPRequestHandler):
    """Answers every request with one fault."""

    protocol_version = "HTTP/1.1"
    status, code = 403, "AccessDenied"
    requests = 0

    def _answer(self):
        type(self).requests += 1
        self.rfile.read(int(self.headers.get("content-length") or 0))
        said = f"key {self.headers.get('authorization', '')[:60]}"
        body = f"<Error><Code>{self.code}</Code><Message>{said}</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def refusing(node, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(_Refusing, "requests", 0)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "remedy"),
    [
        (403, "AccessDenied", "denied", "renew them"),
        (403, "ExpiredToken", "denied", "renew them"),
        (400, "ExpiredToken", "denied", "renew them"),
        (403, "InvalidAccessKeyId", "denied", "renew them"),
        (403, "SignatureDoesNotMatch", "denied", "renew them"),
        (403, "QuotaExceeded", "quota", "make room"),
        (507, "InsufficientStorage", "quota", "make room"),
    ],
)
def test_refusal_is_told_once_with_its_remedy(refusing, monkeypatch, status, code, kind, remedy):
    monkeypatch.setattr(_Refusing, "status", status)
    monkeypatch.setattr(_Refusing, "code", code)
    with pytest.raises(RemoteError, match=f"s3://lab/a/x: cannot write .*{remedy}") as caught:
        remote(parse("s3://lab/a")).put("x", b"1")
    assert caught.value.kind == kind
    assert _Refusing.requests == 1
    assert "AKIATESTKEY" not in str(caught.value)


def test_busy_service_is_tried_again(refusing, monkeypatch):
    monkeypatch.setattr(_Refusing, "status", 503)
    monkeypatch.setattr(_Refusing, "code", "SlowDown")
    with pytest.raises(RemoteError, match="SLOW_DOWN"):
        remote(parse("s3://lab/a")).put("x", b"1", within=4.0)
    assert _Refusing.requests >= 2


def test_first_fault_is_raised_after_all_have_ended():
    done = []

    def fail():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        in_parallel([fail, lambda: done.append(1), lambda: done.append(2)])
    assert sorted(done) == [1, 2]


def test_process_that_used_the_storage_and_forked_ends(lab):
    program = f"""
import multiprocessing, sys
from serplatform.storage.location import parse
from serplatform.storage.remote import remote
store = remote(parse({lab!r}))
store.put("x", b"1")
if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=sys.exit)
    child.start()
    child.join(20)
    assert child.exitcode == 0, child.exitcode
    print(store.read("x"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "b'1'\n"
