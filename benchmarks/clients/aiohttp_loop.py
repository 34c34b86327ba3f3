"""The loop that most home-made benchmarks are: aiohttp, a task for each stream, the clock read as each line is read.

Prints one JSON object: of each request its index, time to first token and gaps, in ns.
"""

import asyncio
import json
import sys
import time
from itertools import pairwise

import aiohttp


async def one(session, url, body, index):
    stamps = []
    sent = time.perf_counter_ns()
    async with session.post(url, json=body, headers={"X-Request-Index": str(index)}) as reply:
        async for line in reply.content:
            if not line.startswith(b"data: {"):
                continue
            choices = json.loads(line[6:])["choices"]
            if choices and (choices[0].get("text") or choices[0].get("delta", {}).get("content")):
                stamps.append(time.perf_counter_ns())
    return index, stamps[0] - sent, [b - a for a, b in pairwise(stamps)]


async def load(url, model, streams, requests, tokens, chat):
    body = {"model": model, "max_tokens": tokens, "stream": True}
    body |= {"messages": [{"role": "user", "content": "hello"}]} if chat else {"prompt": "hello"}
    path = "/v1/chat/completions" if chat else "/v1/completions"
    left = iter(range(requests))
    found = []

    async def worker(session):
        for index in left:
            found.append(await one(session, url + path, body, index))  # noqa: PERF401 - tasks share the list

    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await asyncio.gather(*(worker(session) for _ in range(streams)))
    return found


if __name__ == "__main__":
    url, model, streams, requests, tokens, chat = sys.argv[1:]
    found = asyncio.run(load(url, model, int(streams), int(requests), int(tokens), chat == "chat"))
    print(json.dumps({"requests": found}))
