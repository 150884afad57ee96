"""Networks that the tests of this room share."""

import pytest
from raw_graphs import small

from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import rename, snap_biases


@pytest.fixture(scope="session")
def network() -> Network:
    """A quantized network that keeps the whole contract."""
    return rename(snap_biases(read(small().model())))


@pytest.fixture(scope="session")
def float_network() -> Network:
    """Its float twin."""
    return rename(read(small(quantized=False).model()))
