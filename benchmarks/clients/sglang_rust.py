"""SGLang's Rust client, straight from its extension file: the package around it asks for CUDA, the client does not."""

import importlib.util
import sys

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("_bench", sys.argv.pop(1))
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    extension.run_argv(sys.argv)
