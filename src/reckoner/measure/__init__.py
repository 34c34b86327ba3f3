"""The only room with clocks: what this machine really does, with intervals and with the machine's own description.

``environment`` says where a figure was measured; ``protocol`` how (interleaved, warmed up, medians with exact
intervals); ``throughput`` measures tokens per second; ``curves`` memory and latency against context length.
"""
