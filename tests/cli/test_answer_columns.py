"""What the command line says of columns and options that would otherwise be lost in silence."""

from click.testing import CliRunner

from reckoner.cli.answer import command as answer
from reckoner.cli.predict import command as predict
from reckoner.errors import InputError

ROW = "kind,model,hardware,engine,batch,n_in,n_out"


def asked(tmp_path, header, row):
    file = tmp_path / "items.csv"
    file.write_text(f"{header}\n{row}\n")
    return CliRunner().invoke(answer, [str(file)], standalone_mode=False)


def test_a_column_that_no_schema_has_is_named(tmp_path):
    said = asked(tmp_path, f"{ROW},concurrency", "serving_tpot,llama-3.1-8b,h100,vllm,32,512,128,32")
    assert said.exit_code == 0
    assert said.stderr == "not read: concurrency; validation/README.md names the columns of items\n"


def test_columns_of_the_schema_are_not(tmp_path):
    assert asked(tmp_path, ROW, "serving_tpot,llama-3.1-8b,h100,vllm,32,512,128").stderr == ""


def test_two_rents_are_refused():
    args = ["llama-3.1-8b", "-d", "h100", "--usd-per-hour", "2.5", "--provider", "aws"]
    said = CliRunner().invoke(predict, args, standalone_mode=False)
    assert isinstance(said.exception, InputError)
    assert str(said.exception) == "--usd-per-hour and --provider each state the rent; give one of them"


def test_an_overload_names_the_batch_and_what_raises_it():
    said = CliRunner().invoke(predict, ["llama-3.1-8b", "-d", "h100", "--rate", "10"], standalone_mode=False)
    assert "the full batch (1, -b)" in " ".join(said.stdout.split())
