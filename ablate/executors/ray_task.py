"""What a Ray worker is sent: one function, by value, as this checkout is not on the worker's path yet.

No runtime environment is asked for: Ray would start other workers for it, at seconds each.
"""


def run_sent(payload: bytes, folder: str, paths: list[str], environment: dict[str, str]) -> bytes:
    """Put ``paths`` before all others, set ``environment``, and have the checkout do the pickled job.

    Returns:
        The pickled event that ends the job.
    """
    import os
    import sys

    os.environ.update(environment)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    from ablate.executors.ray import do_sent

    return do_sent(payload, folder)
