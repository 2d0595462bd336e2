"""Sleep in another way than time.sleep: libfaketime makes that one fail (EINVAL, version 0.9.10).

On the PYTHONPATH of the processes whose clock is moved; Python imports it before anything else.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], max(seconds, 0.0))


time.sleep = _sleep  # type: ignore[assignment]
