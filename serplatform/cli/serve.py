"""``serplatform serve``: a trained system as a web service."""

from __future__ import annotations

import dataclasses
import threading
from typing import Annotated

import typer

from serplatform import plugins, stopping
from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.console import say
from serplatform.errors import BadInputError
from serplatform.registry import PLUGINS


def command(
    system: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ENS|BUNDLE",
            help="What `search`, `train`, `ensemble` or `export` wrote, path or URI.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    replicas: Annotated[
        int, typer.Option(min=1, help="Copies of the models, a processor each.")
    ] = 1,
    max_mb: Annotated[float, typer.Option(help="Largest request, in megabytes.")] = 50.0,
    max_seconds: Annotated[float, typer.Option(help="Longest recording, in seconds.")] = 60.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds that a recording may take to arrive, and to classify.")
    ] = 60.0,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests that a copy takes at a time; more get 503.")
    ] = 32,
    trial: Annotated[
        int | None, typer.Option(help="Trial of a run; default: the best on dev.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Answer over HTTP what `predict --json` says of a recording, until Ctrl-C.

    POST the bytes of a recording, or a form with a file, to /predict; ?window=3&hop=1 classifies
    windows. GET / says what is served, /health whether it is, /docs how to ask. Nobody is asked
    for a name or a password: for more than this machine, put a web server that does in front.

    Examples:

        serplatform serve bundles/ravdess

        serplatform serve runs/ravdess --port 9000 --replicas 4

        curl -F file=@a.wav 'http://127.0.0.1:8000/predict'

        curl -H 'Content-Type: audio/flac' --data-binary @a.flac 'http://127.0.0.1:8000/predict?window=3'
    """
    from serplatform.artifacts.records import MadeWith
    from serplatform.distributed.serve import check_address, served
    from serplatform.prediction.open import open_system
    from serplatform.serving.settings import ServiceSettings
    from serplatform.storage.mirror import open_copy

    copy = open_copy(system)
    settings = ServiceSettings(
        system=str(copy.absolute()),
        trial=trial,
        device=device,
        max_mb=max_mb,
        max_seconds=max_seconds,
        timeout=timeout,
        max_waiting=max_waiting,
    )
    opened = open_system(copy, trial)
    check_address(host, port)
    try:
        from serplatform.serving.app import build_app
    except ImportError as error:
        raise BadInputError(
            f"serve needs fastapi and python-multipart ({error.name} is not installed): "
            "pip install 'serplatform[serve]'"
        ) from None

    end = threading.Event()
    stopping.on_stop("Interrupted; nothing is served any more.")
    say(opened.describe())
    loaded: MadeWith = {"plugins": [plugin.record() for plugin in PLUGINS.values()]}
    settings = dataclasses.replace(settings, plugins=plugins.packed(loaded))
    with served(build_app, settings, host=host, port=port, replicas=replicas):
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        result(
            f"Serving {system} at {address} ({address}/docs says how to ask); Ctrl-C ends it",
            {"address": address, "system": system, "classes": list(opened.classes)},
            as_json=as_json,
        )
        with stopping.politely(end.set):
            while not end.wait(1.0):
                pass
    say("Stopped; nothing is served any more.")
