"""Write the golden COSTS.md of every world again; run by hand, then read the difference."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "finops"))

if __name__ == "__main__":
    from worlds import WORLDS

    from reckoner.finops.inputs import parse_inputs
    from reckoner.finops.table import derive
    from reckoner.report.costs import costs_markdown

    for name, make in WORLDS.items():
        path = ROOT / "golden" / "finops" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(costs_markdown(derive(parse_inputs(make()))), encoding="utf-8")
