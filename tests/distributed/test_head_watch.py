"""The watch on a cluster's head: a short absence is outlived, a long one ends the search."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from serplatform.distributed.head_watch import DRIVER_ENVIRONMENT, GRACE, PATIENCE, watching_head

TIMES = {"patience": 0.5, "grace": 0.3, "period": 0.05}


@pytest.fixture
def head() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server


def watch(head: socket.socket, calls: list[str]) -> AbstractContextManager[None]:
    return watching_head(
        f"127.0.0.1:{head.getsockname()[1]}",
        ask=lambda what: calls.append(f"ask: {what}"),
        force=lambda what: calls.append(f"force: {what}"),
        **TIMES,
    )


def wait(calls: list[str], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(calls) < count:
        assert time.monotonic() < deadline, calls
        time.sleep(0.02)


def test_a_head_that_answers_is_left_alone(head: socket.socket) -> None:
    calls: list[str] = []
    with watch(head, calls):
        time.sleep(1.2)
    assert calls == []


def test_a_head_that_is_gone_is_told_of_once_and_then_ends_the_process(head: socket.socket) -> None:
    calls: list[str] = []
    with watch(head, calls):
        head.close()
        wait(calls, 2)
        time.sleep(0.5)
    assert [call.partition(":")[0] for call in calls] == ["ask", "force"]
    assert "head 127.0.0.1 has not answered for" in calls[0]


def test_a_search_that_stops_when_asked_is_not_forced(head: socket.socket) -> None:
    calls: list[str] = []
    with watch(head, calls):
        head.close()
        wait(calls, 1)
    time.sleep(0.8)
    assert [call.partition(":")[0] for call in calls] == ["ask"]


def test_ray_leaves_the_process_alone_until_then() -> None:
    assert float(DRIVER_ENVIRONMENT["RAY_gcs_rpc_server_reconnect_timeout_s"]) > PATIENCE + GRACE
