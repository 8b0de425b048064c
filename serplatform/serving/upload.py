"""The recording of a request as a file that is gone with the request; too large ones never are.

A body is read as a stream: memory holds a piece of it, the disk at most as much as a request may
have, whatever its headers say.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path, PurePath

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.types import Message

from serplatform.prediction.recordings import printable

#: types of raw bodies; ``curl --data-binary`` says the last
_RAW = re.compile(
    r"(audio|video)/.+|application/(octet-stream|ogg|x-flac|mp4|x-www-form-urlencoded)"
)
_MULTIPART = "multipart/form-data"
_PIECE = 1 << 20  # bytes


@contextlib.asynccontextmanager
async def uploaded(
    request: Request, *, max_bytes: int, deadline: float, name: str | None
) -> AsyncIterator[tuple[Path, str]]:
    """The file of a request, and what it is called.

    Args:
        request: raw bytes of a recording, or a form with one file.
        max_bytes: of the body.
        deadline: of ``time.monotonic()``, for the whole body.
        name: of a raw body; None: ``recording``.

    Raises:
        HTTPException: 400, 408, 413 or 415, with what is wrong and what to do.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != _MULTIPART and not _RAW.fullmatch(kind):
        raise HTTPException(
            415,
            f"Content-Type {kind}: send the recording's bytes as audio/wav, audio/flac, … or "
            "application/octet-stream, or as the file of a form (multipart/form-data)",
        )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    _limit(request, max_bytes, deadline)
    with tempfile.TemporaryDirectory(prefix="serplatform-upload-") as folder:
        if kind == _MULTIPART:
            form = await request.form(max_files=1, max_fields=16)
            try:
                files = [part for part in form.values() if isinstance(part, UploadFile)]
                if not files:
                    raise HTTPException(400, "the form has no file; curl -F file=@a.wav sends one")
                called = _called(files[0].filename)
                path = Path(folder, f"recording{_ending(called)}")
                with path.open("wb") as file:
                    await asyncio.to_thread(shutil.copyfileobj, files[0].file, file, _PIECE)
            finally:
                await form.close()
        else:
            called = _called(name)
            path = Path(folder, f"recording{_ending(called)}")
            with path.open("wb") as file:
                async for piece in request.stream():
                    file.write(piece)
        if not path.stat().st_size:
            raise HTTPException(400, "the request has no bytes of a recording")
        yield path, called


def _limit(request: Request, max_bytes: int, deadline: float) -> None:
    """Let a body be read only until it is too large or too late."""
    receive, read = request._receive, 0

    async def limited() -> Message:
        nonlocal read
        try:
            message = await asyncio.wait_for(receive(), max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            raise HTTPException(408, "the recording did not arrive in time (--timeout)") from None
        read += len(message.get("body", b""))
        if read > max_bytes:
            raise _too_large(max_bytes)
        return message

    request._receive = limited


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(
        413, f"the request is larger than {max_bytes / 1e6:g} MB (--max-mb); cut or compress it"
    )


def _called(name: str | None) -> str:
    r"""The last part of a file's name, printable.

    Example:
        >>> _called("C:\\calls\\a.wav"), _called("../../etc/x.flac"), _called(None)
        ('a.wav', 'x.flac', 'recording')
    """
    last = PurePath((name or "").replace("\\", "/").replace("\0", "")).name
    return printable("".join(c for c in last if c.isprintable())[-200:] or "recording")


def _ending(name: str) -> str:
    ending = PurePath(name).suffix.lower()
    return ending if re.fullmatch(r"\.[a-z0-9]{1,8}", ending) else ""
