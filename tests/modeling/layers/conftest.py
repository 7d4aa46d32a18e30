"""Fixtures of the layers."""

import pytest

from bart.modeling.layers import aligned_vocabulary


@pytest.fixture(params=["as on a CPU", "aligned as on a GPU"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the output layer."""
    monkeypatch.setattr(aligned_vocabulary, "_DEVICES", {"cpu"} if "GPU" in request.param else set())
