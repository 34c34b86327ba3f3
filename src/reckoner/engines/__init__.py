"""Things that run tokens: one protocol, several engines, all on the same weights.

``base`` states what an engine is; ``decoder`` what a Llama-architecture decoder is made of; ``numpy_decoder`` is the
transparent reference; ``llamacpp`` the real engine.
"""
