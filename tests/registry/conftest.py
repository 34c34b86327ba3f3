import pytest


@pytest.fixture
def model(tmp_path):
    """Write a tiny model folder by seed (and adapter seed) and return its files by role."""
    from tiny_models import write_model

    return lambda seed=0, adapter=None: write_model(tmp_path / f"model-{seed}-{adapter}", seed, adapter)
