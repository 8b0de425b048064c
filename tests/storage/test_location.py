from pathlib import Path

import pytest

from serplatform.errors import BadInputError
from serplatform.storage.location import Location, address, parse, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/a", "runs/a"),
        ("/runs/a b", "/runs/a b"),
        ("file:///runs/a%20b", "/runs/a b"),
        ("C:/odd/:name", "C:/odd/:name"),
    ],
)
def test_local_paths_and_file_addresses(text, expected):
    assert parse(text) == Path(expected)


def test_tilde_is_the_home_in_a_text_and_a_name_in_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("~/runs/a") == Path("/home/me/runs/a")
    assert parse("~") == Path("/home/me")
    assert parse("./~") == Path("~")
    assert parse(Path("~/a")) == Path("~/a")
    with pytest.raises(BadInputError, match="the home directory is not known; write the whole"):
        parse("~nobody-of-this-name/a")


def test_uri_is_normalised_and_keeps_its_options():
    place = parse("S3://lab//runs/first/?scheme=http&endpoint_override=127.0.0.1:9000")
    assert isinstance(place, Location)
    assert str(place) == "s3://lab/runs/first?endpoint_override=127.0.0.1:9000&scheme=http"
    assert place.endpoint == "127.0.0.1:9000"
    assert str(place.child("run.json")).startswith("s3://lab/runs/first/run.json?endpoint")
    assert parse(str(place)) == place


def test_places_with_other_endpoints_differ(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    one = parse("s3://lab/runs/a").identity
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2")
    assert parse("s3://lab/runs/a").identity != one
    assert parse("s3://lab/runs/b").identity != parse("s3://lab/runs/a").identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/a", "unknown kind of address 'ftp'"),
        ("s3:///a", "it names no bucket"),
        ("s3://lab/../a", "cannot be part of it"),
        ("s3://lab/a?token=hush", "unknown option 'token'"),
        ("s3://AKIA:hush@lab/a", "holds credentials"),
        ("s3://lab/a?endpoint_override=http://me:hush@host", "an option holds credentials"),
    ],
)
def test_faulty_address_is_refused_without_repeating_secrets(text, message):
    with pytest.raises(BadInputError, match=message) as caught:
        parse(text)
    assert "hush" not in str(caught.value)


def test_redacted_text_holds_no_secret():
    text = "search --data s3://k:hush@lab/a?X-Sig=hush&region=eu --storage mysql://me:hush@db/x"
    shown = redact(text)
    assert "hush" not in shown
    assert "region=eu" in shown
    assert redact("no address: a@b.c") == "no address: a@b.c"


def test_recorded_address_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert address("a") == str(tmp_path / "a")
    assert address("s3://lab/a/") == "s3://lab/a"
