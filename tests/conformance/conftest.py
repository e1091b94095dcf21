"""One server for all tests; `--triton` runs them against the real Triton instead, which must pass them too."""

import pytest
import servers


def pytest_addoption(parser):
    parser.addoption("--triton", action="store_true", help="test the real Triton instead of Hydrofoil")
    parser.addoption("--long", action="store_true", help="a million requests too")


@pytest.fixture(scope="session")
def server(request):
    if not request.config.getoption("--triton"):
        with servers.foil("--client-shm") as running:
            yield running
        return
    if servers.triton_python() is None:
        pytest.skip("no Triton here: cargo xtask peers --only triton sets one up")
    with servers.triton() as running:
        yield running


@pytest.fixture
def admin(server):
    """Where models are loaded and settings changed: an address of its own, but for Triton."""
    return server.http if server.name == "triton" else server.admin
