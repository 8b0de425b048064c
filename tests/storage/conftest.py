import pytest

from serplatform.storage import cache, remote
from tests.support.object_storage import CREDENTIALS, Wire, make_bucket, object_storage

pytest.importorskip("moto", reason="moto[server] is not installed")


@pytest.fixture(scope="session")
def service():
    """Address of an S3 service on loopback that holds the bucket `lab`."""
    with object_storage() as address:
        make_bucket(address, "lab")
        yield address


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with an empty cache of its own, and little patience."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SERPLATFORM_STORAGE_PATIENCE", "3")
    monkeypatch.delenv("SERPLATFORM_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(cache, "_staged_here", {})
    monkeypatch.setattr(cache, "_in_use", {})
    remote.remote.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def lab(service, node, monkeypatch, request):
    """URI of an empty place in the bucket, reached directly."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", service)
    return f"s3://lab/{request.node.name}"


@pytest.fixture
def wire(service, node, monkeypatch):
    """A wire to the service that can be cut; the node's only way there."""
    wire = Wire(service)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.address)
    yield wire
    wire.close()
