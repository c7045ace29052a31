"""What jambonz told of a call when it began, as attributes. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jambonz_workers.facts import has_own_socket


class CallFacts(ABC):
    """Named facts of a call, for whatever keeps them in ``facts``; empty text where jambonz told nothing."""

    __slots__ = ()

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What jambonz told when the call began; without the SIP message, which only ``session:new`` carries."""

    @property
    def from_(self) -> str:
        """Number or user of the calling party."""
        return self._fact("from")

    @property
    def to(self) -> str:
        """Number or user of the called party."""
        return self._fact("to")

    @property
    def direction(self) -> str:
        """``inbound`` or ``outbound``, as jambonz sees it."""
        return self._fact("direction")

    @property
    def account_sid(self) -> str:
        """Account at jambonz."""
        return self._fact("account_sid")

    @property
    def application_sid(self) -> str:
        """Application at jambonz."""
        return self._fact("application_sid")

    @property
    def parent_call_sid(self) -> str:
        """The call that dialled this leg; empty for a call of its own."""
        return self._fact("parent_call_sid")

    @property
    def has_own_socket(self) -> bool:
        """False for a leg of a dial, whose messages and commands share the websocket of the call that dialled it."""
        return has_own_socket(self.facts)

    @property
    def env_vars(self) -> Mapping[str, Any]:
        """Environment variables as the operator has set them; ``Call.env`` has them typed."""
        return MappingProxyType(self.facts.get("env_vars") or {})

    @property
    def model_vendor(self) -> str:
        """Vendor of the model that was started last, ``agent`` for an agent verb; empty if none was."""
        return self._fact("llm_vendor")

    def _fact(self, name: str) -> str:
        value = self.facts.get(name)
        return value if isinstance(value, str) else ""
