"""Train the three versions of the tutor and write the package's data files.

``python -m reckoner.tutor.train`` retrains into ``out/tutor``; ``--check`` retrains in a temporary folder and names the
files that differ from the package's. Same seed, processor kind and torch give the same bytes; another processor may
round differently, and training carries a rounding far, so there a difference of weights is no fault: compare the probe
accuracies that both runs print.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.tokenizer import Tokenizer
from reckoner.engines.weights import Weights, quantise
from reckoner.errors import MissingExtraError
from reckoner.evaluate.probes import BLANK
from reckoner.files import sha256_file, write_atomic, write_json
from reckoner.tutor.corpus import CORPUS_SEED, Sentence, build, corpus_hash, validation
from reckoner.tutor.forms import DATA
from reckoner.tutor.probes import build_probes, jsonl, throughput_prompts
from reckoner.tutor.recipe import BASE, DRILL, LORA_ALPHA, LORA_R, SEED, SHAPE, Recipe, vocabulary

try:
    import torch
    import torch.nn.functional as F  # noqa: N812, its customary name
except ImportError as error:  # pragma: no cover - the extra is absent
    raise MissingExtraError.of("torch", "train") from error

from reckoner.tutor.model import LORA_TARGETS, Decoder

IGNORE = -100  # cross_entropy's default ignore_index
GOLDEN_PROMPTS = ("walk: a week ago she ", "(escribir) Hoy yo he ")


def batches(lines: Sequence[Sentence], tokenizer: Tokenizer, recipe: Recipe, seed: int) -> Iterator[tuple[Any, Any]]:
    """Endless batches of (inputs, targets); lines of like length stand together, so that little is padding.

    A drill's loss counts only the word and the character that ends it: that is what the adapter is for.
    """
    rows = []
    for line in lines:
        ids = [*tokenizer.encode(line.text), tokenizer.eos_id]
        targets = ids[1:]
        if recipe.kind == "drill":
            first = len(line.before)  # targets[k] is character k of the text, because of the begin token
            last = first + len(line.word) + 1
            targets = [t if first <= k < last else IGNORE for k, t in enumerate(targets)]
        rows.append((ids[:-1], targets))
    rng = random.Random(seed)
    pool = recipe.batch * 16
    while True:
        rng.shuffle(rows)
        for start in range(0, len(rows) - pool + 1, pool):
            near = sorted(rows[start : start + pool], key=lambda row: len(row[0]))
            groups = [near[k : k + recipe.batch] for k in range(0, pool, recipe.batch)]
            rng.shuffle(groups)
            for group in groups:
                width = max(len(ids) for ids, _ in group)
                x = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in group])
                y = torch.tensor([targets + [IGNORE] * (width - len(targets)) for _, targets in group])
                yield x, y


def fit(model: Decoder, lines: Sequence[Sentence], tokenizer: Tokenizer, recipe: Recipe, seed: int) -> list[float]:
    """Train the model's unfrozen parameters with AdamW on a cosine schedule; the loss of every step comes back."""
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    source = batches(lines, tokenizer, recipe, seed)
    losses = []
    model.train()
    for step in range(recipe.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1, (step + 1) / recipe.warmup) * (0.05 + 0.95 * cosine)
        x, y = next(source)
        loss = F.cross_entropy(model(x).transpose(1, 2), y, ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 49:
            sys.stderr.write(f"{recipe.kind} step {step + 1}/{recipe.steps} loss {loss.item():.3f}\n")
    model.eval()
    return losses


def greedy_answers(model: Decoder, tokenizer: Tokenizer, prompts: Sequence[str], limit: int = 16) -> list[str]:
    """Continue each prompt greedily; the answer is the text up to the next character that is no letter."""
    answers = [""] * len(prompts)
    with torch.no_grad():
        for start in range(0, len(prompts), 64):
            rows = {k: tokenizer.encode(prompts[k]) for k in range(start, min(start + 64, len(prompts)))}
            for _ in range(limit):
                width = max(len(ids) for ids in rows.values())
                padded = torch.tensor([ids + [0] * (width - len(ids)) for ids in rows.values()])
                last = torch.tensor([len(ids) - 1 for ids in rows.values()])
                # attention is causal: the padding behind a row's last token changes nothing before it
                tokens = model(padded)[torch.arange(len(rows)), last].argmax(-1).tolist()
                for k, token in zip(list(rows), tokens, strict=True):
                    character = tokenizer.decode([token])
                    if token == tokenizer.eos_id or not character.isalpha():
                        del rows[k]
                    else:
                        answers[k] += character
                        rows[k].append(token)
                if not rows:
                    break
    return answers


def accuracy(model: Decoder, tokenizer: Tokenizer, lines: Sequence[Sentence]) -> float:
    """Share of sentences whose word the model finds greedily from what stands before it."""
    answers = greedy_answers(model, tokenizer, [line.before for line in lines])
    return sum(answer == line.word for answer, line in zip(answers, lines, strict=True)) / len(lines)


def slices(model: Decoder, tokenizer: Tokenizer, probes: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Right answers and probes by "language category split"."""
    answers = greedy_answers(model, tokenizer, [p["prompt"].split(BLANK)[0] for p in probes])
    counts: dict[str, list[int]] = {}
    for probe, answer in zip(probes, answers, strict=True):
        row = counts.setdefault(f"{probe['language']} {probe['category']} {probe['split']}", [0, 0])
        row[0] += answer == probe["expected"]
        row[1] += 1
    return dict(sorted(counts.items()))


def weights(model: Decoder) -> dict[str, NDArray[np.float32]]:
    """The base weights under Hugging Face's names, without the adapter."""
    return {k: v.detach().numpy() for k, v in sorted(model.state_dict().items()) if "lora_" not in k}


def adapter_weights(model: Decoder) -> dict[str, NDArray[np.float32]]:
    """The adapter's matrices under PEFT's names."""
    return {
        f"base_model.model.{k}.weight": v.detach().numpy()
        for k, v in sorted(model.state_dict().items())
        if "lora_" in k
    }


def load(model: Decoder, tensors: Mapping[str, NDArray[np.float32]]) -> Decoder:
    """Put float32 tensors into a model."""
    model.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()})
    model.eval()
    return model


def _save(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    content = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_atomic(path, save(content, metadata={"format": "pt"}))


def _golden(models: Mapping[str, Decoder], tokenizer: Tokenizer) -> bytes:
    """Write full logits of a few prompts for each model, float32: what the engines without torch are held against."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, prompt in enumerate(GOLDEN_PROMPTS):
        ids = tokenizer.encode(prompt)
        arrays[f"ids_{number}"] = np.array(ids, dtype=np.int64)
        for name, model in models.items():
            with torch.no_grad():
                arrays[f"{name}_{number}"] = model(torch.tensor([ids]))[0].numpy()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def train(out: Path, golden: Path, git_sha: str | None, base: Recipe = BASE, drill: Recipe = DRILL) -> dict[str, Any]:
    """Train all versions and write every data file; the content of ``training.json`` comes back.

    Parameters
    ----------
    out : Path
        Folder of the data files.
    golden : Path
        The ``.npz`` of logits for the engines' tests.
    git_sha : str or None
        Commit of this code, recorded in the lineage.
    """
    corpus, drills, held = build("base", base.sentences), build("drill", drill.sentences), validation()
    table = vocabulary([line.text for line in (*corpus, *drills, *held)])
    tokenizer = Tokenizer(table)
    config = DecoderConfig.from_mapping({"model_type": "llama", "vocab_size": tokenizer.vocab_size, **SHAPE})
    probes = build_probes()
    write_json(
        out / "config.json", {**config.to_mapping(), "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
    )
    write_json(out / "tokenizer.json", table)
    write_atomic(out / "probes.jsonl", jsonl(probes))
    write_atomic(out / "throughput_200.jsonl", jsonl(throughput_prompts(probes)))

    model = Decoder(config, SEED)
    base_losses = fit(model, corpus, tokenizer, base, SEED)
    base_weights = {name: tensor.copy() for name, tensor in weights(model).items()}
    _save(out / "base.safetensors", base_weights)
    int8 = quantise(Weights(config=config, tensors=base_weights))
    _save(out / "int8.safetensors", int8.tensors)
    base_model = load(Decoder(config, SEED), base_weights)
    int8_model = load(Decoder(config, SEED), {name: int8.matrix(name) for name in base_weights})

    model.add_adapter(LORA_R, LORA_ALPHA, SEED)
    drill_losses = fit(model, drills, tokenizer, drill, SEED)
    _save(out / "adapter.safetensors", adapter_weights(model))
    adapter_config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": LORA_R,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": list(LORA_TARGETS),
    }
    write_json(out / "adapter_config.json", adapter_config)
    models = {"base": base_model, "int8": int8_model, "lora": model}
    write_atomic(golden, _golden(models, tokenizer))

    shared = {"seed": SEED, "corpus_seed": CORPUS_SEED, "git_sha": git_sha, "torch": torch.__version__.split("+")[0]}
    base_hash = corpus_hash(corpus)
    record = {
        "v0.1.0": {
            **shared,
            "parent": None,
            "corpus_hash": base_hash,
            "hyperparameters": {**asdict(base), **SHAPE, "optimiser": "AdamW"},
            "parameters": sum(tensor.size for tensor in base_weights.values()),
            **_summary(base_losses, accuracy(base_model, tokenizer, held)),
        },
        "v0.2.0": {
            **shared,
            "parent": "v0.1.0",
            "corpus_hash": base_hash,
            "hyperparameters": {"scheme": "symmetric INT8, blocks of 32 along the input axis, float16 scale (Q8_0)"},
            "validation_accuracy": round(accuracy(int8_model, tokenizer, held), 4),
        },
        "v0.3.0": {
            **shared,
            "parent": "v0.1.0",
            "corpus_hash": corpus_hash(drills),
            "hyperparameters": {**asdict(drill), "r": LORA_R, "lora_alpha": LORA_ALPHA, "optimiser": "AdamW"},
            "parameters": sum(tensor.size for tensor in adapter_weights(model).values()),
            **_summary(drill_losses, accuracy(model, tokenizer, held)),
        },
    }
    write_json(out / "training.json", record)
    for name, one in models.items():
        sys.stderr.write(f"{name} {slices(one, tokenizer, probes)}\n")
    return record


def _summary(losses: Sequence[float], validation_accuracy: float) -> dict[str, Any]:
    every = max(1, len(losses) // 10)
    return {
        "losses": [round(loss, 4) for loss in losses[every - 1 :: every]],
        "validation_accuracy": round(validation_accuracy, 4),
    }


def compare(out: Path) -> list[str]:
    """Names of the data files in ``out`` whose bytes differ from the package's (``training.json`` apart)."""
    names = [path.name for path in sorted(out.iterdir()) if path.name != "training.json"]
    return [name for name in names if sha256_file(out / name) != sha256_file(DATA / name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the training: 0 done, 1 the retrained files differ from the package's."""
    parser = argparse.ArgumentParser(prog="python -m reckoner.tutor.train", description=train.__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/tutor"), help="folder of the data files")
    parser.add_argument("--golden", type=Path, help="the logits' .npz; by default beside the data files")
    parser.add_argument("--git-sha", help="commit of the training code, recorded in training.json")
    parser.add_argument("--check", action="store_true", help="retrain in a temporary folder and compare")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "data"
            train(out, Path(folder) / "golden.npz", options.git_sha)
            different = compare(out)
        sys.stdout.write(f"differ: {', '.join(different)}\n" if different else "equal\n")
        return 1 if different else 0
    train(options.out, options.golden or options.out / "tutor_logits.npz", options.git_sha)
    sys.stdout.write(f"trained in {time.monotonic() - began:.0f} s into {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
