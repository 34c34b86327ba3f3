"""The embedded model family: its corpus, its probes, its weights, and how they were trained.

``forms`` is the grid of verb forms; ``corpus`` makes the training sentences and keeps cells and frames held out;
``probes`` makes the questions; ``recipe``, ``model`` and ``train`` make the weights (torch, extra ``train``);
``versions`` tells what ships.
"""
