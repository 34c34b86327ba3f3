"""The façade: names in, recorded results out. ``demo`` is the main job; ``stages`` lets it be killed and resumed."""
