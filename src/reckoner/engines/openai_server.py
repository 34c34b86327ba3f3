"""An OpenAI-compatible address before an engine in process: one request at a time, the others wait."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from reckoner.engines.child import served
from reckoner.engines.streams import NumpyStream, Stream, TransformersStream
from reckoner.errors import InputError, ReckonerError, UnknownNameError

ENGINES = ("numpy", "transformers")
MOST_BYTES = 1 << 24


@contextmanager
def engine_server(engine: str, folder: str | Path, *, threads: int = 1) -> Iterator[str]:
    """Serve a model folder for as long as the block lasts, in a process of its own.

    Parameters
    ----------
    engine : str
        One of :data:`ENGINES`.
    folder : path
        With ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
    threads : int
        Threads that compute.

    Yields
    ------
    str
        Its address.

    Raises
    ------
    EngineError
        It did not start.
    """
    if engine not in ENGINES:
        raise UnknownNameError.of("engine", engine, ENGINES)
    if not Path(folder).is_dir():
        raise InputError(f"no model folder {folder}; give one with config.json and model.safetensors")
    arguments = [engine, str(folder), "--threads", str(threads)]
    with served("reckoner.engines.openai_server", arguments, f"{engine} on {folder}", threads=threads) as address:
        yield address


class _Handler(BaseHTTPRequestHandler):
    """Answers of the engine that its server holds."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Tell which model there is."""
        if self.path == "/v1/models":
            name = self.server.stream.name
            self._whole(200, {"object": "list", "data": [{"id": name, "object": "model"}]})
        else:
            self._whole(404, _error(f"nothing at {self.path}"))

    def do_POST(self) -> None:
        """Stream an answer."""
        try:
            size = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(size)) if 0 < size <= MOST_BYTES else None
            chat = self.path == "/v1/chat/completions"
            if not chat and self.path != "/v1/completions":
                self._whole(404, _error(f"nothing at {self.path}"))
                return
            ids, n, past_end = self._asked(body, chat)
        except (ValueError, InputError) as error:
            self._whole(400, _error(str(error)))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            with self.server.turn:
                self._stream(ids, n, chat, past_end)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _asked(self, body: Any, chat: bool) -> tuple[list[int], int, bool]:
        """Prompt and length of a request, and whether its end token is barred."""
        if not isinstance(body, dict) or body.get("stream") is not True:
            raise InputError("the body must be a JSON object with stream true: this server streams only")
        n = body.get("max_tokens")
        if type(n) is not int or n < 1:
            raise InputError(f"max_tokens is {n!r}; it must be an integer of at least 1")
        if chat:
            messages = body.get("messages")
            if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
                raise InputError("messages is no list of objects")
            text = " ".join(str(message.get("content", "")) for message in messages)
        else:
            text = str(body.get("prompt", ""))
        ids = self.server.stream.encode(text)
        if not ids:
            raise InputError("the prompt is empty; give at least one token")
        if len(ids) + n > self.server.stream.context:
            raise InputError(
                f"a prompt of {len(ids)} tokens and {n} new ones do not fit the model's {self.server.stream.context}"
            )
        return ids, n, body.get("ignore_eos") is True

    def _stream(self, ids: list[int], n: int, chat: bool, past_end: bool) -> None:
        stream, count = self.server.stream, 0
        if chat:
            self._event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
        for token in stream.tokens(ids, n, past_end=past_end):
            count += 1
            text = stream.piece(token)
            piece: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
            self._event({"choices": [{"index": 0, **piece, "finish_reason": None}]})
        reason = "length" if count == n else "stop"
        last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        self._event({"choices": [{"index": 0, **last, "finish_reason": reason}]})
        usage = {"prompt_tokens": len(ids), "completion_tokens": count, "total_tokens": len(ids) + count}
        self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, value: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps({"model": self.server.stream.name, **value}).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _whole(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: it would be timed."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, stream: Stream) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stream = stream
        self.turn = threading.Lock()


def _error(why: str) -> dict[str, Any]:
    return {"error": {"message": why, "type": "invalid_request_error"}}


def main() -> None:
    """Load, print the address, serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    try:
        stream: Stream = (
            NumpyStream(given.folder) if given.engine == "numpy" else TransformersStream(given.folder, given.threads)
        )
    except ReckonerError as error:
        sys.exit(str(error))
    for _ in stream.tokens(stream.encode("the of")[:1] or [0], 2, past_end=True):
        pass  # what is made on first use is made now
    with _Server(stream) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
