"""Garbage collection for processes that hold thousands of calls and make a dozen short-lived objects per event."""

import gc


def tune_garbage_collection() -> None:
    """Look for cycles seldom, and never in what is there already. Call it when start-up has imported everything.

    What start-up has made stays for ever. Looking through it again and again, and through young objects after each 700
    of them, costs 15 % of a worker's CPU per event, and more the more calls there are.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)
