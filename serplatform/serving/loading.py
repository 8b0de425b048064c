"""What a service answers while its models load: Ray Serve listens earlier, and says 404."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: seconds after which a client may ask again
_AGAIN = 5


class AnswerWhileLoading:
    """Turns 404 of Ray Serve, whose text is no JSON as the application's is, into 503."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        loading = False

        async def answer(message: Message) -> None:
            nonlocal loading
            if message["type"] == "http.response.start" and message["status"] == 404:
                kind = dict(message.get("headers", ())).get(b"content-type", b"")
                loading = not kind.startswith(b"application/json")
                if loading:
                    error = {
                        "error": "the models are still being loaded; ask again in some seconds"
                    }
                    told = JSONResponse(error, 503, headers={"Retry-After": str(_AGAIN)})
                    await told(scope, receive, send)
            if not loading:
                await send(message)

        await self._app(scope, receive, answer)


def middlewares() -> list[Middleware]:
    """What Ray Serve puts around every answer."""
    return [Middleware(AnswerWhileLoading)]
