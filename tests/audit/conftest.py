"""Plans that are small enough to audit many times."""

from __future__ import annotations

import pytest

from reckoner.audit.brief import brief
from reckoner.audit.plan import Plan


@pytest.fixture(scope="session")
def the_brief() -> Plan:
    """The brief as everybody knows it."""
    return brief()
