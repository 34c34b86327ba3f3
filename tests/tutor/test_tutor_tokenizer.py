from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.engines.tokenizer import BYTE, CONTROL, NORMAL, Tokenizer
from reckoner.errors import DamagedError, InputError
from reckoner.files import read_json
from reckoner.tutor.recipe import vocabulary
from reckoner.tutor.versions import files

PATH = files("v0.1.0")["tokenizer.json"]
TOKENIZER = Tokenizer.load(PATH)


@given(st.text().filter(lambda text: "\u2581" not in text))
def test_every_text_comes_back_from_its_tokens(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.text(), st.text())
def test_tokens_of_a_joined_text_are_the_tokens_of_its_parts_joined(left, right):
    assert TOKENIZER.encode(left + right) == TOKENIZER.encode(left) + TOKENIZER.encode(right, bos=False)


def test_a_known_character_is_one_token_and_an_unknown_one_is_its_bytes():
    assert len(TOKENIZER.encode("á", bos=False)) == 1
    euro = TOKENIZER.encode("€", bos=False)
    assert [TOKENIZER.tokens[token] for token in euro] == ["<0xE2>", "<0x82>", "<0xAC>"]


def test_a_text_that_looks_like_a_control_token_is_only_characters():
    assert TOKENIZER.eos_id not in TOKENIZER.encode("</s>", bos=False)
    assert TOKENIZER.decode([TOKENIZER.bos_id, *TOKENIZER.encode("</s>", bos=False), TOKENIZER.eos_id]) == "</s>"


def test_the_vocabulary_is_one_that_llama_cpp_reads_as_spm():
    table = read_json(PATH)
    assert table["tokens"][:3] == ["<unk>", "<s>", "</s>"]
    assert table["tokens"][3:259] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert set(table["types"][3:259]) == {BYTE}
    assert table["types"][1:3] == [CONTROL, CONTROL]
    assert set(table["types"][259:]) == {NORMAL}
    assert len(set(table["tokens"])) == len(table["tokens"])
    assert "▁" in table["tokens"]
    assert " " not in table["tokens"]


def damaged(**changes):
    table = {**vocabulary(["ab c"]), **changes}
    return {key: value for key, value in table.items() if value is not None}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (damaged(eos_id=None), "lacks eos_id"),
        (damaged(type="bpe"), "type is 'bpe'"),
        (damaged(add_space_prefix=True), "add_space_prefix is true"),
        (damaged(scores=[0.0]), "263 tokens, 1 scores"),
        (damaged(types=[NORMAL] * 263), "piece '<unk>' has 5 characters"),
        (damaged(types=[CONTROL] * 263), "0 byte tokens"),
        (damaged(tokens=5), "tokens must be a list of texts"),
        (damaged(tokens=[1] * 263), "tokens must be a list of texts"),
        (damaged(scores="x"), "scores must be a list of numbers"),
        (damaged(scores=[float("inf")] * 263), "a score is not finite"),
        (damaged(types=["1"] * 263), "types must be a list of integers"),
        (damaged(bos_id=263), "bos_id is 263; it must lie in 0..262"),
        (damaged(eos_id=-1), "eos_id is -1; it must lie in 0..262"),
        (damaged(unk_id="0"), "unk_id is '0'; it must lie in 0..262"),
        (damaged(add_bos="no"), "add_bos is 'no'; it must be true or false"),
        (
            damaged(tokens=[{"<0x41>": "<0xZZ>"}.get(piece, piece) for piece in vocabulary(["ab c"])["tokens"]]),
            "byte token '<0xZZ>'",
        ),
        (damaged(tokens=["a" if piece == "b" else piece for piece in vocabulary(["ab c"])["tokens"]]), "occurs twice"),
    ],
)
def test_a_damaged_vocabulary_is_refused_with_what_is_wrong(table, message):
    with pytest.raises(InputError, match=message):
        Tokenizer(table)


def test_a_token_that_is_not_in_the_vocabulary_is_refused():
    with pytest.raises(InputError, match=f"token id is {TOKENIZER.vocab_size}"):
        TOKENIZER.decode([TOKENIZER.vocab_size])


def test_a_truncated_or_foreign_file_is_refused(tmp_path):
    (tmp_path / "short.json").write_text(PATH.read_text()[:500])
    with pytest.raises(DamagedError, match=r"short\.json"):
        Tokenizer.load(tmp_path / "short.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="holds a list"):
        Tokenizer.load(tmp_path / "list.json")
