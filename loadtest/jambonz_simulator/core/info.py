"""Call info: what jambonz tells about a leg in hooks, statuses and session:new. Pure."""

from dataclasses import dataclass, field
from typing import Any, Final

from jambonz_simulator.core.ids import Ids
from jambonz_simulator.core.script import Script

ACCOUNT_SID: Final = "9f7b1d52-0000-4000-8000-00000000acc0"
APPLICATION_SID: Final = "41c0a9d7-0000-4000-8000-00000000a000"
SERVICE_PROVIDER_SID: Final = "2708b1b3-0000-4000-8000-0000000000f0"
FS_SIP_ADDRESS: Final = "10.1.0.20:5060"
ORIGINATING_IP: Final = "203.0.113.9"

DEFAULTS: Final = {
    "synthesizer": {"vendor": "google", "language": "en-US", "voice": "en-US-Wavenet-C"},
    "recognizer": {"vendor": "google", "language": "en-US"},
}

_SDP: Final = (
    "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)


@dataclass(slots=True)
class CallInfo:
    """The facts of one leg; they change as the call goes on.

    Attributes:
        parent: The leg that dialled this one, ``None`` for the call itself.
        termination_by: ``"caller"`` (= the far end) or ``"jambonz"``; only with the last status.
        duration_s: Whole seconds since the answer; only with the last status.
    """

    call_sid: str
    direction: str
    from_number: str
    to_number: str
    call_id: str
    trace_id: str
    sbc_callid: str | None = None
    caller_id: str | None = None
    parent: "CallInfo | None" = None
    sip_status: int = 100
    sip_reason: str = "Trying"
    call_status: str = "trying"
    termination_by: str | None = None
    duration_s: int | None = None
    customer_data: dict[str, Any] = field(default_factory=dict)
    spans: int = 0

    def set_status(self, call_status: str, sip_status: int, sip_reason: str) -> None:
        """Change the status of the leg."""
        self.call_status = call_status
        self.sip_status = sip_status
        self.sip_reason = sip_reason

    def next_b3(self) -> str:
        """Give a single B3 header with a new span (PROTOCOL.md 2.1)."""
        self.spans += 1
        return f"{self.trace_id.replace('-', '')}-{self.spans:016x}-1"

    def to_data(self) -> dict[str, Any]:
        """Give the info as it stands in ``data``, in the order of the recordings."""
        data: dict[str, Any] = {
            "call_sid": self.call_sid,
            "direction": self.direction,
            "from": self.from_number,
            "to": self.to_number,
            "call_id": self.call_id,
        }
        if self.sbc_callid is not None:
            data["sbc_callid"] = self.sbc_callid
        data["sip_status"] = self.sip_status
        data["sip_reason"] = self.sip_reason
        data["call_status"] = self.call_status
        if self.caller_id is not None:
            data["caller_id"] = self.caller_id
        data["account_sid"] = ACCOUNT_SID
        data["trace_id"] = self.trace_id
        data["application_sid"] = APPLICATION_SID
        data["fs_sip_address"] = FS_SIP_ADDRESS
        if self.direction == "inbound":
            data["originating_sip_ip"] = ORIGINATING_IP
        if self.parent is not None:
            data["parent_call_sid"] = self.parent.call_sid
        if self.termination_by is not None:
            data["call_termination_by"] = self.termination_by
        if self.duration_s is not None:
            data["duration"] = self.duration_s
        if self.customer_data:
            data["customerData"] = self.customer_data
        return data

    def to_raw_data(self) -> dict[str, Any]:
        """Give the info as the few hooks do that are built from the raw object.

        There the tag arrives as ``customerdata``, its own keys converted (PROTOCOL.md 2.1).
        """
        data = self.to_data()
        if "customerData" in data:
            data["_customerData"] = data.pop("customerData")
        return data


def new_call_info(script: Script, ids: Ids) -> CallInfo:
    """Give the info of the call that ``script`` describes."""
    is_inbound = script.direction == "inbound"
    return CallInfo(
        call_sid=ids.sid(),
        direction=script.direction,
        from_number=script.from_number,
        to_number=script.to_number,
        call_id=ids.sid(),
        trace_id=ids.sid(),
        sbc_callid=ids.sid() if is_inbound else None,
        caller_id=None if is_inbound else script.from_number,
        customer_data=dict(script.tag),
    )


def child_call_info(parent: CallInfo, to: str, ids: Ids) -> CallInfo:
    """Give the info of a leg that ``parent`` dials."""
    return CallInfo(
        call_sid=ids.sid(),
        direction="outbound",
        from_number=parent.from_number,
        to_number=to,
        call_id=ids.sid(),
        trace_id=parent.trace_id,
        caller_id=parent.from_number,
        parent=parent,
    )


def inbound_session_data(info: CallInfo, script: Script) -> dict[str, Any]:
    """Give ``data`` of an inbound session:new, the SIP INVITE included (PROTOCOL.md 2.4)."""
    headers = {
        "Call-ID": info.call_id,
        "From": f'"{script.caller_name}" <sip:{info.from_number}@{ORIGINATING_IP}>',
        "To": f"<sip:{info.to_number}@{FS_SIP_ADDRESS}>",
        "Max-Forwards": "68",
        "Contact": f"<sip:{info.from_number}@{ORIGINATING_IP}:5060>",
        "Content-Type": "application/sdp",
        "X-Account-Sid": ACCOUNT_SID,
        "X-Application-Sid": APPLICATION_SID,
        "X-Retain-Call-Sid": info.call_sid,
        "X-CID": info.sbc_callid,
        "X-Forwarded-For": ORIGINATING_IP,
        **script.sip_headers,
    }
    data: dict[str, Any] = {
        "sip": {
            "headers": headers,
            "body": _SDP,
            "method": "INVITE",
            "version": "2.0",
            "uri": f"sip:{info.to_number}@{FS_SIP_ADDRESS}",
            "payload": [{"type": "application/sdp", "content": _SDP}],
        },
        "caller_name": script.caller_name,
        **info.to_data(),
        "local_sip_address": FS_SIP_ADDRESS,
        "public_ip": "198.51.100.4",
        "service_provider_sid": SERVICE_PROVIDER_SID,
        "defaults": DEFAULTS,
    }
    if script.env_vars:
        data["env_vars"] = dict(script.env_vars)
    return data


def outbound_session_data(info: CallInfo, script: Script) -> dict[str, Any]:
    """Give ``data`` of an outbound session:new: no SIP message in it (PROTOCOL.md 2.4)."""
    data = {**info.to_data(), "fs_public_ip": "198.51.100.4", "defaults": DEFAULTS}
    if script.env_vars:
        data["env_vars"] = dict(script.env_vars)
    return data
