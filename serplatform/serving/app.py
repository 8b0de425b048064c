"""The web application: POST a recording to /predict; GET / and /health; /docs describes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from serplatform import __version__, plugins
from serplatform.errors import BadInputError
from serplatform.prediction.windows import MIN_HOP, WindowPlan
from serplatform.serving.classifier import OutOfTimeError, RecordingClassifier
from serplatform.serving.settings import ServiceSettings
from serplatform.serving.upload import uploaded

#: status codes of /predict and when they come, for the page that describes it
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "no recording in the request"},
    408: {"description": "the recording did not arrive in time"},
    413: {"description": "larger than a request may be"},
    415: {"description": "a content type that is no recording's"},
    422: {"description": "the recording cannot be classified: the error says why"},
    503: {"description": "too many requests wait already"},
    504: {"description": "it took longer than a request may"},
}


def build_app(settings: ServiceSettings) -> FastAPI:
    """The application of one copy of a service, its models loaded."""
    plugins.unpack(settings.plugins)
    classifier = RecordingClassifier(settings)
    one_at_a_time = ThreadPoolExecutor(max_workers=1, thread_name_prefix="classify")
    seats = _Seats(settings.max_waiting)
    about = classifier.about()
    app = FastAPI(title=f"serplatform: {about['title']}", version=__version__)
    for kind in (StarletteHTTPException, RequestValidationError, BadInputError, ClientDisconnect):
        app.add_exception_handler(kind, _answer)

    @app.get("/")
    def what_is_served() -> dict[str, Any]:
        """What is served, its classes and its limits."""
        return {**about, "predict": "POST /predict", "docs": "/docs"}

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Whether recordings can be classified, and how many are being."""
        return {"status": "ok", "requests": seats.taken}

    @app.post("/predict", responses=_ERRORS, openapi_extra=_BODY)
    async def classify(
        request: Request,
        window: Annotated[
            float | None, Query(description="classify windows of so many seconds, and the whole")
        ] = None,
        hop: Annotated[
            float | None,
            Query(description="seconds from one to the next; default: a third of the window"),
        ] = None,
        name: Annotated[str | None, Query(description="of a recording sent as it is")] = None,
    ) -> dict[str, Any]:
        """Posteriors of one recording, in the rows of `serplatform predict --json`."""
        plan = None
        if window is not None:
            plan = WindowPlan(window=window, hop=max(window / 3, MIN_HOP) if hop is None else hop)
        elif hop is not None:
            raise BadInputError("hop needs window: the length of the windows, in seconds")
        with seats.one():
            deadline = time.monotonic() + settings.timeout
            async with uploaded(
                request, max_bytes=settings.max_bytes, deadline=deadline, name=name
            ) as (path, called):
                deadline = time.monotonic() + settings.timeout
                work = asyncio.get_running_loop().run_in_executor(
                    one_at_a_time, classifier.classify, path, called, plan, deadline
                )
                try:
                    return await asyncio.wait_for(work, settings.timeout)
                except (TimeoutError, OutOfTimeError):
                    raise HTTPException(
                        504,
                        f"{called}: was not classified within {settings.timeout:g} seconds "
                        "(--timeout)",
                    ) from None

    return app


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class _Seats:
    """Requests that are taken at a time; the next one is told to come again."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.taken = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        if self.taken >= self._number:
            raise HTTPException(
                503,
                f"{self.taken} requests wait already; try again later",
                headers={"Retry-After": "1"},
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


async def _answer(request: Request, error: Exception) -> JSONResponse:
    """Every foreseeable fault as JSON with one sentence."""
    if isinstance(error, StarletteHTTPException):
        text = {404: "no such page; POST a recording to /predict"}.get(
            error.status_code, str(error.detail)
        )
        return JSONResponse({"error": text}, error.status_code, error.headers)
    if isinstance(error, RequestValidationError):
        faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return JSONResponse({"error": "; ".join(faults)}, 422)
    if isinstance(error, ClientDisconnect):
        return JSONResponse({"error": "the request ended before its recording did"}, 400)
    return JSONResponse({"error": str(error)}, 422)
