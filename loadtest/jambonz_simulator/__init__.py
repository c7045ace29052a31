"""A jambonz feature server in software: the opposing party for tests, demos and load.

It behaves as the real one does towards a websocket application, quirks included. It shares no
code with the gateway and the workers, so that a misunderstanding cannot hide on both sides.
"""

from jambonz_simulator.client import CallOptions, LiveCall, live_call, simulate_call
from jambonz_simulator.comparison import differences
from jambonz_simulator.core.records import (
    Anomaly,
    CallResult,
    CommandRecord,
    Entry,
    HookRecord,
    Outcome,
)
from jambonz_simulator.core.script import (
    Dial,
    DropSocket,
    Expectations,
    HangUp,
    ModelEvent,
    Press,
    Script,
    SendHook,
    SendNotice,
    Speak,
    StaySilent,
    ToolCall,
    Wait,
    WaitForVerb,
)
from jambonz_simulator.core.script_reading import ScriptError, read_script
from jambonz_simulator.core.timing import JAMBONZ_TIMING, Timing
from jambonz_simulator.fleet import Load, run_fleet
from jambonz_simulator.recording import Recording, load_recording, read_recording
from jambonz_simulator.replay import FrameMatch, ReplayResult, replay
from jambonz_simulator.script_files import built_in_scripts, load_script
from jambonz_simulator.shell import NotInTime
from jambonz_simulator.summary import Summary

__all__ = [
    "JAMBONZ_TIMING",
    "Anomaly",
    "CallOptions",
    "CallResult",
    "CommandRecord",
    "Dial",
    "DropSocket",
    "Entry",
    "Expectations",
    "FrameMatch",
    "HangUp",
    "HookRecord",
    "LiveCall",
    "Load",
    "ModelEvent",
    "NotInTime",
    "Outcome",
    "Press",
    "Recording",
    "ReplayResult",
    "Script",
    "ScriptError",
    "SendHook",
    "SendNotice",
    "Speak",
    "StaySilent",
    "Summary",
    "Timing",
    "ToolCall",
    "Wait",
    "WaitForVerb",
    "built_in_scripts",
    "differences",
    "live_call",
    "load_recording",
    "load_script",
    "read_recording",
    "read_script",
    "replay",
    "run_fleet",
    "simulate_call",
]
