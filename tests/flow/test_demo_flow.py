import json
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_demo import PLAN, make_small

from reckoner.errors import ReckonerError
from reckoner.lock import locked
from reckoner.report.costs import stale_files
from reckoner.workbench import demo
from reckoner.workbench.demo import Places, run_demo


def quiet(_stage, _share):
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    patch = pytest.MonkeyPatch()
    make_small(out, patch.setattr)
    told = []
    yield Places.under(out), run_demo(PLAN, Places.under(out), progress=lambda *step: told.append(step)), told
    patch.undo()


@pytest.mark.slow
def test_every_artefact_stands(finished):
    places, _, _ = finished
    for folder, names in (
        (places.finops, ["cost_inputs.json", "cpqu.json", "manifest.json"]),
        (places.kv_cost, ["memory.json", "latency.json", "manifest.json", "memory.png", "latency.png", "README.md"]),
    ):
        assert {path.name for path in folder.iterdir()} >= set(names)
    assert places.costs_md.read_text().count("| v0.") >= 3
    assert stale_files(places.finops, places.costs_md) == ()


@pytest.mark.slow
def test_every_stage_told_its_end(finished):
    _, _, told = finished
    assert [stage for stage in demo.STAGES if (stage, 1.0) in told] == list(demo.STAGES)


@pytest.mark.slow
def test_the_page_asks_for_nothing_outside(finished):
    page = finished[0].report_html.read_text(encoding="utf-8")
    assert not re.search(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?:https?:)?//""", page)


@pytest.mark.slow
def test_both_engines_answer_alike(finished):
    agreement = finished[1].agreement
    assert agreement["v0.1.0"]["different"] == agreement["v0.3.0"]["different"] == []
    assert all(row["same"] >= row["probes"] - 1 for row in agreement.values())


@pytest.mark.slow
def test_started_again_nothing_is_measured_and_the_same_bytes_stand(finished):
    places, first, _ = finished
    before = {path: path.read_bytes() for path in places.finops.iterdir()}
    page = places.report_html.read_bytes()
    again = run_demo(PLAN, places, progress=quiet)
    assert set(again.resumed) == {"grade v0.1.0", "grade v0.2.0", "grade v0.3.0", "throughput"}
    assert again.speeds == first.speeds
    assert {path: path.read_bytes() for path in places.finops.iterdir()} == before
    assert places.report_html.read_bytes() == page


@pytest.mark.slow
def test_two_jobs_in_one_folder_are_refused(finished):
    places, _, _ = finished
    with (
        locked(places.work / "lock"),
        pytest.raises(ReckonerError, match=r"another reckoner works in .*choose another"),
    ):
        run_demo(PLAN, places, progress=quiet)


@pytest.mark.slow
def test_a_registry_damaged_by_one_byte_stops_the_job_by_name(finished, tmp_path):
    import shutil

    places, _, _ = finished
    copy = tmp_path / "registry"
    shutil.copytree(places.registry, copy)
    largest = max((copy / "objects").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    from reckoner.registry.store import Registry

    registry = Registry.open(copy)
    with pytest.raises(ReckonerError, match=r"model\.safetensors"):
        registry.files(registry.get("v0.1.0"))


@pytest.mark.slow
def test_killed_again_and_again_it_goes_on_and_leaves_no_half_file(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("small_demo.py")), str(tmp_path / "out")]
    chance = random.Random(7)
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _, _line in zip(range(chance.randint(1, 40)), child.stdout, strict=False):
                pass
            child.send_signal(signal.SIGKILL)
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text())
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    places = Places.under(tmp_path / "out")
    assert stale_files(places.finops, places.costs_md) == ()
    assert places.report_html.read_text(encoding="utf-8").rstrip().endswith("</html>")
