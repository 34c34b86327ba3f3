import dataclasses
import json

import pytest

from reckoner.errors import DamagedError
from reckoner.files import canonical_json
from reckoner.measure.environment import Environment, cpu_model, fingerprint, governor


def _governors(root, *names):
    for index, name in enumerate(names):
        folder = root / f"cpu{index}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(name + "\n")
    return root


def test_an_environment_survives_json_unchanged():
    here = fingerprint()
    assert Environment.from_json(json.loads(canonical_json(here.to_json()))) == here


def test_the_fingerprint_changes_with_any_field_and_only_then():
    here = fingerprint()
    assert fingerprint().fingerprint == here.fingerprint
    other = dataclasses.replace(here, governor="powersave")
    assert other.fingerprint != here.fingerprint


def test_this_machine_has_cores_memory_and_a_python():
    here = fingerprint()
    assert here.logical_cores >= here.usable_cores >= 1
    assert here.ram_gib > 0.1
    assert here.versions["python"].startswith("3.")


def test_a_package_that_is_absent_has_no_version():
    assert fingerprint(["surely-no-such-package"]).versions["surely-no-such-package"] is None


def test_the_governor_is_read_where_all_cores_agree(tmp_path):
    assert governor(_governors(tmp_path, "performance", "performance")) == "performance"


def test_cores_that_disagree_on_the_governor_are_named(tmp_path):
    assert governor(_governors(tmp_path, "powersave", "performance")) == "mixed: performance, powersave"


def test_an_unreadable_governor_is_none(tmp_path):
    assert governor(tmp_path) is None


def test_the_processor_names_itself(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Some CPU @ 1 GHz\n")
    assert cpu_model(path) == "Some CPU @ 1 GHz"


def test_a_damaged_environment_is_refused_by_field():
    value = fingerprint().to_json()
    value["ram_gib"] = "much"
    with pytest.raises(DamagedError, match="ram_gib"):
        Environment.from_json(value)
