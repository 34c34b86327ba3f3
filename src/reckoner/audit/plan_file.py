"""Plans as TOML: read with errors that name the place, written so that reading gives the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from reckoner.audit.plan import MICRO_TIER, Drift, Fairness, Measured, MicroTier, Plan, ServedTier
from reckoner.design import Slo
from reckoner.errors import InputError, ReckonerError, UnknownNameError
from reckoner.files import write_atomic

_TABLES: dict[str, type] = {"slo": Slo, "drift": Drift, "fairness": Fairness}
_TOP = ("name", "headroom", "tiers", "quality", *_TABLES)


def read_plan(path: str | Path) -> Plan:
    """Read a plan from a TOML file.

    Raises
    ------
    InputError
        It cannot be read, is no TOML, or a field is unknown, absent or out of range: names file, place and remedy.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read {file}: {reason}; `reckoner audit --example` prints a plan") from error
    return parse_plan(text, str(file))


def parse_plan(text: str, name: str = "plan") -> Plan:
    """Read a plan from TOML text; ``name`` stands in errors."""
    try:
        raw = msgspec.toml.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InputError(f"{name} is no TOML: {error}") from error
    return plan_of(raw, name)


def plan_of(raw: Any, name: str = "plan") -> Plan:
    """Build a plan of plain values, as :func:`plan_to_dict` gives them."""
    if not isinstance(raw, Mapping):
        raise InputError(f"{name} holds {type(raw).__name__}; give a table")
    _known(raw, _TOP, name, "")
    for table in ("slo", "tiers"):
        if table not in raw:
            raise InputError(f"{name}: [{table}] is absent; `reckoner audit --example` prints a plan")
    values: dict[str, Any] = {
        table: _build(kind, raw[table], name, table) for table, kind in _TABLES.items() if table in raw
    }
    tiers = _mapping(raw["tiers"], name, "tiers")
    values["tiers"] = {
        tier: _build(MicroTier if tier == MICRO_TIER else ServedTier, fields_, name, f"tiers.{tier}")
        for tier, fields_ in tiers.items()
    }
    entries = raw.get("quality", [])
    if not isinstance(entries, list):
        raise InputError(f"{name}: quality is {entries!r}; write [[quality]] once for each measurement")
    values["quality"] = tuple(_build(Measured, entry, name, f"quality[{i}]") for i, entry in enumerate(entries))
    for scalar, kind in (("name", str), ("headroom", float)):
        if scalar in raw:
            values[scalar] = _convert(raw[scalar], kind, name, scalar)
    try:
        return Plan(**{"name": "plan", **values})
    except ReckonerError as error:
        raise InputError(f"{name}: {error}") from error


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Plain values of a plan; what is absent is left out."""
    tables: dict[str, Any] = {
        "name": plan.name,
        "headroom": plan.headroom,
        "slo": _present(asdict(plan.slo)),
        "tiers": {name: _present(asdict(tier)) for name, tier in plan.tiers.items()},
        "drift": _present(asdict(plan.drift)),
    }
    if plan.fairness is not None:
        tables["fairness"] = _present(asdict(plan.fairness))
    if plan.quality:
        tables["quality"] = [asdict(entry) for entry in plan.quality]
    return tables


def plan_to_toml(plan: Plan) -> str:
    """Text of a plan that :func:`parse_plan` reads as the same."""
    return msgspec.toml.encode(plan_to_dict(plan)).decode()


def write_plan(path: str | Path, plan: Plan) -> Path:
    """Write a plan whole or not at all."""
    return write_atomic(path, plan_to_toml(plan))


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _build(kind: type, raw: Any, name: str, place: str) -> Any:
    given = _mapping(raw, name, place)
    specs = fields(kind)
    _known(given, [f.name for f in specs], name, place)
    for spec in specs:
        if spec.default is MISSING and spec.default_factory is MISSING and spec.name not in given:
            raise InputError(f"{name}: {place}.{spec.name} is absent")
    annotated = get_type_hints(kind)
    values = {key: _convert(value, annotated[key], name, f"{place}.{key}") for key, value in given.items()}
    try:
        return kind(**values)
    except ReckonerError as error:
        raise InputError(f"{name}: {place}: {error}") from error


def _convert(value: Any, kind: Any, name: str, place: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: {place} is {value!r}: {str(error)[0].lower()}{str(error)[1:]}") from error


def _mapping(value: Any, name: str, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name}: {place} is {value!r}; write a table [{place}]")
    return value


def _known(given: Mapping[str, Any], known: Any, name: str, place: str) -> None:
    for key in given:
        if key not in known:
            error = UnknownNameError.of("field", key, known)
            raise InputError(f"{name}: {place + '.' if place else ''}{key}: {error}")
