import pytest

from reckoner.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def open_ledger(request, tmp_path):
    """Open the one ledger of a test, again and again, in SQLite and in a real PostgreSQL."""
    url = tmp_path / "ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres_schema")
    made = []

    def open_it(**options):
        ledger = Ledger.open(url, sync=False, segments=tmp_path / "segments", **options)
        made.append(ledger)
        return ledger

    yield open_it
    for ledger in made:
        ledger.close()


@pytest.fixture
def ledger(open_ledger):
    return open_ledger()
