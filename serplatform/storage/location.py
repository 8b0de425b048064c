"""Where data lies: a path of this machine, or a URI that ``pyarrow.fs`` understands.

Credentials are never part of a location: they come from the environment, the user's AWS or
Google configuration, or the machine's own role. So a URI may be shown, logged and recorded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from serplatform.errors import BadInputError

#: scheme → options that its query may hold
REMOTE_SCHEMES: dict[str, frozenset[str]] = {
    "s3": frozenset({"endpoint_override", "region", "scheme"}),
    "gs": frozenset({"endpoint_override", "scheme"}),
    "gcs": frozenset({"endpoint_override", "scheme"}),
}

_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]*", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Location:
    """A place on object storage.

    Attributes:
        scheme: of :data:`REMOTE_SCHEMES`.
        bucket: its name.
        key: path within the bucket, without slashes at its ends; may be empty.
        options: pairs of the query, sorted.
    """

    scheme: str
    bucket: str
    key: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        query = f"?{urlencode(self.options, safe='/:')}" if self.options else ""
        return f"{self.scheme}://{self.root}{query}"

    @property
    def root(self) -> str:
        """Bucket and key, as ``pyarrow.fs`` writes a path."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def name(self) -> str:
        """The last part of the key, or the bucket."""
        return self.root.rpartition("/")[2]

    @property
    def identity(self) -> str:
        """Twelve digits that differ for every place, also between endpoints."""
        text = f"{self}|{self.endpoint or ''}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def endpoint(self) -> str | None:
        """Address of the service where it is not the provider's own."""
        given = dict(self.options).get("endpoint_override")
        if given or self.scheme != "s3":
            return given
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")

    def child(self, name: str) -> Location:
        """A place below this one."""
        key = f"{self.key}/{name}" if self.key else name
        return dataclasses.replace(self, key=key)


def parse(text: str | Path) -> Location | Path:
    """Read a path or URI as a user writes it; in a text, ``~`` at the beginning is the home.

    Raises:
        BadInputError: an unknown scheme or option, no bucket, credentials in the URI, or an
            unknown home directory.

    Example:
        >>> parse("data/ravdess")
        PosixPath('data/ravdess')
        >>> parse("file:///data/ravdess")
        PosixPath('/data/ravdess')
        >>> str(parse("s3://lab/runs//first/?region=eu-west-1"))
        's3://lab/runs/first?region=eu-west-1'
    """
    given = str(text)
    scheme, colon, _ = given.partition("://")
    if not colon or "/" in scheme:
        return _expanded(text) if isinstance(text, str) else text
    scheme = scheme.lower()
    shown = redact(given)
    if scheme == "file":
        return Path(unquote(urlsplit(given).path))
    if scheme not in REMOTE_SCHEMES:
        raise BadInputError(
            f"{shown}: unknown kind of address '{scheme}'; give a local path, "
            f"{', '.join(f'{name}://…' for name in REMOTE_SCHEMES)} or file://…"
        )
    parts = urlsplit(given)
    options = parse_qsl(parts.query, keep_blank_values=True)
    errors = []
    if "@" in parts.netloc:
        errors.append(
            "it holds credentials, which would end up in histories and process lists; "
            + _CREDENTIALS[scheme]
        )
    errors += [
        f"unknown option '{key}'; known: {', '.join(sorted(REMOTE_SCHEMES[scheme]))}"
        for key, _ in options
        if key not in REMOTE_SCHEMES[scheme]
    ]
    if any("@" in value for _, value in options):
        errors.append("an option holds credentials; " + _CREDENTIALS[scheme])
    segments = [part for part in parts.path.split("/") if part]
    if not parts.netloc:
        errors.append("it names no bucket")
    if any(part in (".", "..") for part in segments) or parts.fragment:
        errors.append("'.', '..' and '#' cannot be part of it")
    if errors:
        raise BadInputError(f"{shown}: this address cannot be used:", errors)
    return Location(
        scheme=scheme,
        bucket=parts.netloc,
        key="/".join(unquote(part) for part in segments),
        options=tuple(sorted(options)),
    )


def check_utf8(text: str) -> None:
    """Check that a text that came from the system is UTF-8: Ray accepts nothing else.

    Raises:
        BadInputError: it is not, or the locale keeps Python from reading it so.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        name = os.fsencode(text).decode("utf-8", "backslashreplace")
        reason, remedy = "is not UTF-8, and Ray takes nothing else", "rename it"
        if sys.getfilesystemencoding().lower() != "utf-8":
            reason = "cannot be used in this locale, which is not UTF-8"
            remedy = "set the environment variable PYTHONUTF8=1"
        raise BadInputError(f"{name}: {reason}; {remedy}") from None


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser() if text.startswith("~") else Path(text)
    except RuntimeError:
        raise BadInputError(
            f"{text}: the home directory is not known; write the whole path, or ./{text}"
        ) from None


_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile or a role",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or use the machine's service account",
    "gcs": "set GOOGLE_APPLICATION_CREDENTIALS, or use the machine's service account",
}


def address(text: str | Path) -> str:
    """What to record of a path or URI: absolute, and the same however it was written."""
    place = parse(text)
    return str(place) if isinstance(place, Location) else str(place.resolve())


def redact(text: str) -> str:
    """A text with the credentials in its URIs replaced by ``***``.

    Example:
        >>> redact("copy s3://AKIA:secret@lab/x?region=eu-west-1&token=abc here")
        'copy s3://***@lab/x?region=eu-west-1&token=*** here'
    """
    return _URI.sub(lambda match: _redact_uri(match.group()), text)


def _redact_uri(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    body, mark, query = rest.partition("?")
    authority, slash, path = body.partition("/")
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    if mark:
        plain = {"endpoint_override", "region", "scheme"}
        pairs = [pair.partition("=") for pair in query.split("&")]
        query = "&".join(
            f"{key}{equals}{value if key in plain and '@' not in value else '***'}"
            if equals
            else "***"
            for key, equals, value in pairs
        )
    return f"{scheme}://{authority}{slash}{path}{mark}{query}"
