"""The command serves by Ray what ``predict`` says, and leaves nothing when it is ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import psutil
import pytest

from serplatform.cli.main import run
from tests.support.audio_run import AudioRun, make_audio_run


@pytest.fixture(scope="module")
def audio_run(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("service"), trials=(("lda", {}),))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_in_use_is_named_before_anything_starts(audio_run, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert run(["serve", str(audio_run.run), "--port", port]) == 2
    assert f"--port {port}: cannot be listened at" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
def test_it_serves_many_at_a_time_and_ends_clean(audio_run, tmp_path: Path, capsys) -> None:
    files = sorted(audio_run.audio.rglob("*.wav"))
    command = ["predict", str(audio_run.run), *map(str, files), "--speaker", "file", "--json"]
    assert run(command) == 0
    predictions = json.loads(capsys.readouterr().out.splitlines()[-1])["predictions"]
    expected = {row["file"]: row["posteriors"] for row in predictions}
    port = free_port()
    short = Path("/tmp") if len(str(tmp_path)) > 40 else tmp_path  # noqa: S108 - for sockets
    process = subprocess.Popen(
        [sys.executable, "-m", "serplatform", "serve", str(audio_run.run), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(short)},
        start_new_session=True,
    )
    told: deque[str] = deque(maxlen=50)
    reader = Thread(target=lambda: told.extend(process.stdout or ()), daemon=True)
    reader.start()

    def ask(file: Path) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        with contextlib.closing(connection):
            kind = {"Content-Type": "audio/wav"}
            connection.request("POST", "/predict", file.read_bytes(), kind)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def status_of(page: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        with contextlib.closing(connection):
            connection.request("GET", page)
            return connection.getresponse().status

    before: set[int] = set()
    try:
        deadline = time.monotonic() + 400
        while not any(line.startswith("Serving ") for line in told):
            assert process.poll() is None, list(told)
            assert time.monotonic() < deadline, list(told)
            with contextlib.suppress(OSError):  # nothing listens yet
                before.add(status_of("/"))
            time.sleep(0.2)
        assert before <= {200, 503}  # never 404: the models are being loaded
        assert status_of("/") == 200
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, files * 2))
        for file, (status, answer) in zip(files * 2, answers, strict=True):
            assert status == 200, answer
            assert answer["predictions"][0]["posteriors"] == expected[str(file)]
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > 2
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        reader.join(60)
        if process.stdout is not None:
            process.stdout.close()
    assert "Traceback" not in "".join(told)
