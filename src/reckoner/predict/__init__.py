"""Design + workload + efficiency -> prediction, with its interval and its explanation.

``reckoner.predict`` is this room and the public function at once: importing a room makes it an attribute of the package
under the function's name, so the room itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call :func:`reckoner.predict.prediction.predict`."""
        from reckoner.predict.prediction import predict

        return predict(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
