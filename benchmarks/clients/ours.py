"""Our own client on the load that every client of this benchmark gets; prints what ``aiohttp_loop.py`` prints."""

import json
import sys

import numpy as np

from reckoner.measure.wire.address import address_of, request_bytes
from reckoner.measure.wire.drive import drive
from reckoner.measure.wire.load import Ask, Load
from reckoner.measure.wire.record import records_of

if __name__ == "__main__":
    url, model, streams, requests, tokens, chat = sys.argv[1:]
    address = address_of(url, api="chat" if chat == "chat" else "completions")
    asks = [Ask(content=request_bytes(address, model, "hello", int(tokens), index=i)) for i in range(int(requests))]
    run = drive(address, Load(asks=asks, concurrency=int(streams)))
    records = [r for r in records_of(run, [(1, int(tokens))] * len(asks)) if r.whole]
    # whole nanoseconds: writing them costs little beside what is measured
    rows = [
        [r.index, round(1e9 * (r.token_stamp_s[0] - r.sent_s)), (1e9 * np.diff(r.token_stamp_s)).astype(int).tolist()]
        for r in records
    ]
    print(json.dumps({"requests": rows, "loop_cpu_s": run.cpu_s, "coalesced": sum(r.coalesced for r in records)}))
