"""The web application says what ``predict`` says, and refuses in a sentence what it cannot use."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from serplatform.cli.main import run
from serplatform.errors import BadInputError
from serplatform.serving import app as app_module
from serplatform.serving.app import build_app
from serplatform.serving.loading import middlewares
from serplatform.serving.settings import ServiceSettings
from tests.support.audio_run import AudioRun, make_audio_run, write_tone

ONE_TRIAL = (("lda", {}),)


@pytest.fixture(scope="module")
def audio_run(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("served"), trials=ONE_TRIAL)


@pytest.fixture(scope="module")
def settings(audio_run: AudioRun) -> ServiceSettings:
    return ServiceSettings(system=str(audio_run.run), max_mb=0.2, max_seconds=5.0)


@pytest.fixture(scope="module")
def client(settings: ServiceSettings) -> Iterator[TestClient]:
    with TestClient(build_app(settings)) as client:
        yield client


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files of requests are put."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def said(client: TestClient, content: bytes, kind: str | None = "audio/wav", **query: object):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = client.post("/predict", content=content, headers=headers, params=query)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("options", [{}, {"window": 0.2, "hop": 0.1}], ids=["whole", "windows"])
def test_it_answers_what_predict_prints(client, audio_run, options, uploads, capsys):
    for file in sorted(audio_run.audio.rglob("*.wav"))[:3]:
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = ["predict", str(audio_run.run), str(file), "--speaker", "file", "--json", *words]
        assert run(command) == 0
        expected = json.loads(capsys.readouterr().out.splitlines()[-1])["predictions"]
        code, raw = said(client, file.read_bytes(), name=str(file), **options)
        form = client.post(
            "/predict", files={"file": (file.name, file.read_bytes())}, params=options
        )
        assert (code, form.status_code) == (200, 200)
        for found in (raw["predictions"], form.json()["predictions"]):
            assert found == [{**row, "file": file.name} for row in expected]
    assert not list(uploads.iterdir())


def test_other_formats_are_read(client, audio_run, tmp_path):
    samples, rate = soundfile.read(next(audio_run.audio.rglob("*.wav")))
    soundfile.write(tmp_path / "a.flac", samples, rate)
    code, found = said(client, (tmp_path / "a.flac").read_bytes(), None)
    assert (code, found["predictions"][0]["file"]) == (200, "recording")


def test_what_is_served_and_health(client, audio_run):
    about = client.get("/").json()
    assert sorted(about["classes"]) == ["angry", "neutral", "sad"]
    assert about["limits"]["max_seconds"] == 5.0
    assert client.get("/health").json() == {"status": "ok", "requests": 0}
    page = client.get("/openapi.json").json()
    assert "multipart/form-data" in page["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "query", "code", "sentence"),
    [
        (b"", "audio/wav", {}, 400, "no bytes"),
        (b"hello, this is text\n" * 40, "audio/wav", {}, 422, "recording"),
        (b"{}", "application/json", {}, 415, "Content-Type application/json"),
        (bytes(300_000), "audio/wav", {}, 413, "larger than 0.2 MB"),
        (b"x", "audio/wav", {"window": 0.01}, 422, "at least 0.1 seconds"),
        (b"x", "audio/wav", {"window": "nan"}, 422, "at least 0.1 seconds"),
        (b"x", "audio/wav", {"window": "three"}, 422, "window"),
        (b"x", "audio/wav", {"hop": 1}, 422, "hop needs window"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", {}, 400, ""),
        (b"--x--\r\n", "multipart/form-data; boundary=x", {}, 400, "no file"),
        (b"abc", "multipart/form-data", {}, 400, ""),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(
    client, uploads, content, kind, query, code, sentence
):
    status, answer = said(client, content, kind, **query)
    assert status == code, answer
    assert sentence in answer["error"]
    assert list(answer) == ["error"]
    assert not list(uploads.iterdir())


def test_damaged_recordings_are_refused_as_predict_refuses_them(
    client, audio_run, tmp_path, capsys
):
    samples, rate = soundfile.read(next(audio_run.audio.rglob("*.wav")))
    soundfile.write(tmp_path / "whole.flac", samples, rate)
    content = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    wave = bytearray(next(audio_run.audio.rglob("*.wav")).read_bytes())
    wave[4:8] = wave[40:44] = (2**30).to_bytes(4, "little")  # says it holds a gigabyte
    (tmp_path / "lie.wav").write_bytes(wave)
    soundfile.write(tmp_path / "long.flac", np.tile(samples, 20), rate)
    for name in ("cut.flac", "lie.wav", "long.flac"):
        path = tmp_path / name
        command = ["predict", str(audio_run.run), str(path), "--max-duration", "5", "--json"]
        code = run(command)
        printed = capsys.readouterr()
        status, answer = said(client, path.read_bytes(), "audio/flac", name=name)
        if code:
            assert status == 422
            reason = answer["error"].removeprefix(f"{name}: ")
            assert f"{path}: {reason}" in printed.err
        else:
            assert status == 200
            rows = json.loads(printed.out.splitlines()[-1])["predictions"]
            assert answer["predictions"] == [{**row, "file": name} for row in rows]
    assert said(client, (tmp_path / "cut.flac").read_bytes())[0] == 422


def test_a_long_recording_is_refused_in_windows_too(client, audio_run, tmp_path):
    write_tone(tmp_path / "a.wav", seconds=5.4)
    content = (tmp_path / "a.wav").read_bytes()
    status, answer = said(client, content, window=1)
    assert (status, "longer than the 5 seconds" in answer["error"]) == (422, True)


def test_a_declared_size_is_enough_to_refuse(client):
    headers = {"Content-Type": "audio/wav", "Content-Length": str(2**30)}
    assert client.post("/predict", content=iter([b"x"]), headers=headers).status_code == 413


def test_a_slow_classification_is_told_so(settings, audio_run, monkeypatch):
    content = next(audio_run.audio.rglob("*.wav")).read_bytes()
    app = build_app(dataclasses.replace(settings, timeout=0.2))
    monkeypatch.setattr(
        app_module.RecordingClassifier, "classify", lambda *_: time.sleep(0.5) or {}
    )
    with TestClient(app) as client:
        status, answer = said(client, content, name="a.wav")
    assert (status, "a.wav: was not classified within 0.2" in answer["error"]) == (504, True)


def test_more_requests_than_may_wait_are_told_to_come_again(settings, audio_run, monkeypatch):
    content = next(audio_run.audio.rglob("*.wav")).read_bytes()
    begun, go = threading.Event(), threading.Event()

    def wait(*_: object) -> dict[str, object]:
        begun.set()
        return {"waited": go.wait(30)}

    monkeypatch.setattr(app_module.RecordingClassifier, "classify", wait)
    app = build_app(dataclasses.replace(settings, max_waiting=1))
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(said, client, content)
        assert begun.wait(30)
        assert client.get("/health").json()["requests"] == 1
        status, answer = said(client, content)
        go.set()
        assert (status, "1 requests wait already" in answer["error"]) == (503, True)
        assert first.result() == (200, {"waited": True})
        assert client.get("/health").json()["requests"] == 0


@pytest.mark.parametrize("name", ["max_mb", "max_seconds", "timeout"])
def test_limits_are_above_zero(name):
    with pytest.raises(BadInputError, match=f"--{name.replace('_', '-')} 0: must be more than 0"):
        ServiceSettings(system="x", **{name: 0.0})


def test_until_the_models_are_loaded_a_client_is_asked_to_come_again() -> None:
    """Ray Serve listens before, and answers 404 in plain text; the application's 404 is JSON."""
    answers = {
        "/loading": PlainTextResponse("Path not found", 404),
        "/wrong": JSONResponse({"error": "no such page"}, 404),
        "/": JSONResponse({"title": "a"}),
    }

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await answers[scope["path"]](scope, receive, send)

    (middleware,) = middlewares()
    client = TestClient(middleware.cls(listens))
    loading = client.get("/loading")
    assert loading.status_code == 503
    assert loading.json() == {
        "error": "the models are still being loaded; ask again in some seconds"
    }
    assert int(loading.headers["Retry-After"]) > 0
    assert client.get("/wrong").status_code == 404
    assert client.get("/").json() == {"title": "a"}
