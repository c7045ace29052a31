"""What is done at intervals is done at moments that all share, so that an idle process is woken once for all. Pure."""


def until_next_s(now_s: float, every_s: float) -> float:
    """Return how long it is to the next moment that is a multiple of ``every_s``, in seconds of the loop's clock.

    Between a half and one and a half of ``every_s``: a moment that is near may be the last one, whose timer was early.
    """
    wait_s = every_s - now_s % every_s
    return wait_s if wait_s > every_s / 2 else wait_s + every_s
