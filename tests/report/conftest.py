"""The synthetic worlds live beside the finops tests; the words made of them are tested here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "finops"))
