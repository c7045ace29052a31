"""Outbound calls, started by jambonz's REST interface; they then arrive at the cluster as any call does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any

from jambonz_shared.errors import ClusterError


class NotCreated(ClusterError):
    """jambonz has not started an outbound call.

    Attributes:
        status: HTTP status; 0 if it could not be reached, or its answer names no call.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        why = f"it answered {status}" if status else "it could not be reached, or named none"
        super().__init__(f"jambonz has not started the call: {why}")


@dataclass(frozen=True, slots=True)
class Account:
    """An account of jambonz, and the key to it.

    Attributes:
        base_url: Of the api-server, such as ``"https://api.jambonz.example"``.
    """

    base_url: str
    account_sid: str
    api_key: str = field(repr=False)


async def create_call(account: Account, from_: str, to: Mapping[str, object], options: Mapping[str, Any]) -> str:
    """Start an outbound call; return its ``call_sid`` when the INVITE is out. See ``Calls.create``.

    Raises:
        TypeError: If an argument has the wrong type; nothing was sent.
        NotCreated: If jambonz refuses it. If it cannot be reached, or names no call, one may have been started.
        ImportError: If jambonz-python-sdk is not installed.
    """
    _check(account, to)
    # Importing aiohttp reads the machine's certificates: 0.16 of the 0.52 s of CPU that `import jambonz_workers` took.
    import aiohttp  # noqa: PLC0415
    from jambonz_sdk.client import JambonzClient  # type: ignore[import-untyped]  # noqa: PLC0415 an extra

    client = JambonzClient(base_url=account.base_url, account_sid=account.account_sid, api_key=account.api_key)
    async with client:
        try:
            call_sid: object = await client.calls.create({"from": from_, "to": dict(to), **options})
        except aiohttp.ClientResponseError as error:
            raise NotCreated(error.status) from error
        except (aiohttp.ClientError, TimeoutError, JSONDecodeError, AttributeError) as error:
            # The last one is the client's own, of an answer that is no object.
            raise NotCreated(0) from error
    if not isinstance(call_sid, str) or not call_sid:
        raise NotCreated(0)
    return call_sid


def _check(account: object, to: object) -> None:
    if not isinstance(account, Account):
        raise TypeError(f"expected Account(base_url, account_sid, api_key), got {type(account).__name__}")
    if not isinstance(to, Mapping):
        raise TypeError(f"expected to={{'type': 'phone', 'number': '+1...'}}, got {type(to).__name__}")
