"""A real PostgreSQL server for the tests that need one: the wheel's, shared by all workers, or a server of yours."""

import os
import warnings

import pytest
from hypothesis import settings

# A slow machine is no failure; where CI runs, the same examples run every time.
settings.register_profile("reckoner", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("reckoner")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory):
    """URL of a fresh database cluster; skips, and says so, only where no server can be had."""
    if "RECKONER_TEST_POSTGRES" in os.environ:
        yield os.environ["RECKONER_TEST_POSTGRES"]
        return
    why = "POSTGRESQL NOT TESTED: no wheel pgserver for this Python; name a server in RECKONER_TEST_POSTGRES"
    pgserver = pytest.importorskip("pgserver", reason=why)
    # one folder for all workers of a run: the wheel starts one server for it and stops it with the last of them
    shared = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "pg" if shared else tmp_path_factory.mktemp("pg")
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own housekeeping warns about the machine, not about us
        server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.cleanup()


@pytest.fixture
def postgres_schema(postgres_url):
    """URL whose default schema is new and empty, so that each test has a database of its own."""
    import uuid

    import psycopg

    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    yield f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-csearch_path%3D{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")
