"""The conformance application: every feature of jambonz's websocket in one place, driven by a test client.

Session path ``/conformance``. It is no example of good taste, but of what can be said with this API.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from jambonz_workers import App, Call, ClusterError, Event
from jambonz_workers.controls import Sending

Verbs = list[dict[str, Any]]

app = App(env={"GREETING": {"type": "string", "description": "What to say first", "default": "hello"}})

GATHER = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 20, "actionHook": "/menu"}


def tag(data: Mapping[str, Any]) -> Verbs:
    return [{"verb": "tag", "data": data}]


def say(text: str, *more: dict[str, Any]) -> Verbs:
    return [{"verb": "say", "text": text}, *more]


# Sessions


@app.session("/conformance")
async def session(call: Call, event: Event) -> Verbs:
    call.state["starts"] = call.state.get("starts", 0) + 1
    call.state.setdefault("counter", 0)
    call.state.setdefault("seen", [])
    env_vars = event.data.get("env_vars", {})
    match env_vars.get("start", "normal"):
        case "slow":
            await asyncio.sleep(env_vars["start_delay_ms"] / 1000)
        case "crash":
            raise RuntimeError("asked to crash at the start")
    return say(f"welcome {call.sid}", GATHER)


@app.on("session:redirect")
async def redirected(call: Call, event: Event) -> Verbs:
    return tag({"redirected": event.hook, "count": call.state.get("counter", 0)})


@app.on("session:adulting")
async def adulting(call: Call) -> None:
    async def later() -> None:
        await asyncio.sleep(0.3)
        await call.redirect(tag({"adulted": call.sid}))

    call.spawn(later())


@app.hook("/confirm")
async def confirm(_: Call) -> Verbs:
    return say("please hold")


# Notices


async def notice(call: Call, event: Event) -> None:
    if "delay_ms" in event.data:
        await asyncio.sleep(event.data["delay_ms"] / 1000)
    if event.data.get("crash") is True:
        raise RuntimeError("asked to crash in a notice")
    seq = event.data.get("seq")
    if isinstance(seq, int | float) and not isinstance(seq, bool):
        call.state.setdefault("seen", []).append(seq)


for kind in ("call:status", "verb:status", "jambonz:error", "llm:event", "tts:streaming-event", "tts:tokens-result"):
    app.on(kind)(notice)


@app.on("llm:tool-call")
async def tool_call(call: Call, event: Event) -> None:
    arguments, tool_call_id = event.data.get("args", {}), event.data["tool_call_id"]
    if arguments.get("crash"):
        raise RuntimeError("asked to crash in a tool call")
    output = f'{{"sum":{arguments["a"] + arguments["b"]}}}'
    item = {"type": "function_call_output", "call_id": tool_call_id, "output": output}
    await call.tool_output(tool_call_id, {"type": "conversation.item.create", "item": item})


# Hooks


@app.hook("/count")
async def count(call: Call) -> Verbs:
    call.state["counter"] = call.state.get("counter", 0) + 1
    return tag({"count": call.state["counter"], "starts": call.state.get("starts", 0)})


@app.hook("/seen")
async def seen(call: Call) -> Verbs:
    return tag({"seen": call.state.get("seen", [])})


@app.hook("/echo")
async def echo(_: Call, event: Event) -> Verbs:
    return tag({"echo": event.data["args"].get("payload")})


@app.hook("/sleep")
async def sleep(_: Call, event: Event) -> Verbs:
    ms = event.data["args"]["ms"]
    await asyncio.sleep(ms / 1000)
    return tag({"slept": ms})


@app.hook("/crash")
async def crash(_: Call) -> None:
    raise RuntimeError("asked to crash in a hook")


@app.hook("/later")
async def later(call: Call, event: Event) -> Verbs:
    arguments = event.data["args"]

    async def speak() -> None:
        await asyncio.sleep(arguments["ms"] / 1000)
        await call.redirect(tag({"later": arguments["id"]}))

    call.spawn(speak())
    return []


@app.hook("/stream")
async def stream(call: Call, event: Event) -> Verbs:
    arguments = event.data["args"]

    async def append() -> None:
        for i in range(arguments["n"]):
            await asyncio.sleep(arguments["every_ms"] / 1000)
            await call.redirect(tag({"i": i}), queue=True)

    call.spawn(append())
    return []


@app.hook("/big")
async def big(_: Call, event: Event) -> Verbs:
    arguments = event.data["args"]
    return [{"verb": "say", "text": f"{i}:" + "x" * arguments["size"]} for i in range(arguments["n"])]


@app.hook("/emit")
async def emit(call: Call, event: Event) -> Verbs:
    arguments = event.data["args"]

    actions = [partial(send, call, entry) for entry in arguments["commands"]]
    call.spawn(act_on(actions, arguments.get("gap_ms", 0) / 1000))
    return []


async def act_on(actions: Iterable[Callable[[], Awaitable[object]]], gap_s: float) -> None:
    for action in actions:
        try:
            await action()
        except (ValueError, TypeError, ClusterError) as error:
            # jambonz would ignore it without a word; here its sender is told why.
            print(f"not sent: {error}")
        await asyncio.sleep(gap_s)


def send(call: Call, entry: Mapping[str, Any]) -> Sending:
    data: Any = entry.get("data")
    match entry["command"]:
        case "redirect" if "verbs" in entry:
            return call.redirect(entry["verbs"], queue=entry.get("queue", False))
        case "llm:tool-output":
            return call.tool_output(entry["tool_call_id"], data)
        case "tts:flush":
            return call.tts_flush()
        case "tts:clear":
            return call.tts_clear()
        case "tts:tokens":
            return call.tts_tokens(data["tokens"], token_id=data["id"])
        case name:
            return call.command(name, data, leg=entry.get("callSid"))


@app.hook("/helpers")
async def convenience(call: Call) -> Verbs:
    speak = [{"verb": "say", "text": "psst"}]
    update = {"type": "session.update", "session": {"y": 2}}
    output = {"type": "conversation.item.create", "item": {"x": 1}}
    actions: list[Callable[[], Awaitable[object]]] = [
        call.mute,
        call.listen_pause,
        lambda: call.whisper(speak),
        lambda: call.record("start", siprec_server_url="sip:rec@127.0.0.1", recording_id="r1"),
        lambda: call.record("stop"),
        lambda: call.dtmf("5", 300),
        lambda: call.sip_request("INFO", content_type="text/plain", content="hi"),
        lambda: call.tool_output("t1", output),
        lambda: call.llm_update(update),
        lambda: call.tts_tokens("hello", token_id=1),
        call.tts_flush,
        call.tts_clear,
        lambda: call.redirect_hook("/redirected"),
    ]

    call.spawn(act_on(actions, 0.05))
    # jambonz has a verb for it, but no command (pitfall 28).
    return tag({"skipped": ["tag"]})


@app.hook("/registry")
async def registry(_: Call, event: Event) -> Verbs:
    return tag({"known": {sid: await app.calls.exists(sid) for sid in event.data["args"]["ask"]}})


@app.hook("/close")
async def close(call: Call, event: Event) -> Verbs:
    call.close(event.data["args"]["code"])
    return []


# Streaming text


@app.hook("/tts")
async def tts(call: Call, event: Event) -> Verbs:
    call.spawn(speak_tokens(call, event.data["args"]["tokens"]))
    return []


async def speak_tokens(call: Call, tokens: list[str]) -> None:
    async with call.tts_stream() as speech:
        for token in tokens:
            await speech.write(token)


# The menu


@app.hook("/menu")
async def choose(call: Call, event: Event) -> Verbs:
    match event.data.get("digits"):
        case "1":
            return say("goodbye", {"verb": "hangup"})
        case "2":
            call.spawn(speak_later(call))
            return []
        case "3":
            return say("three", GATHER)
        case "4":
            raise RuntimeError("asked to crash in the menu")
        case "5":
            await asyncio.sleep(7)
            return say("late", GATHER)
        case digit:
            return verbs_of(digit, call)


async def speak_later(call: Call) -> None:
    await asyncio.sleep(0.2)
    await call.redirect(say("async", GATHER))


def verbs_of(digit: str | None, call: Call) -> Verbs:
    target = {"type": "sip", "sipUri": "sip:bob@127.0.0.1"}
    synthesizer = {"vendor": "elevenlabs", "language": "en-US", "voice": "v1"}
    model = {"vendor": "openai", "model": "gpt-4o-realtime-preview", "auth": {"apiKey": "k"}}
    hooks = {"toolHook": "/tool", "eventHook": "/llm-event", "actionHook": "/done"}
    options = {"llmOptions": {"response_create": {"instructions": "x"}}}
    dial = {"target": [target], "confirmHook": "/confirm", "anchorMedia": True, "actionHook": "/done"}
    choices: dict[str | None, Verbs] = {
        "6": [{"verb": "redirect", "actionHook": "/redirected"}],
        "7": [{"verb": "redirect", "actionHook": call.env_vars.get("self_url")}],
        "8": [{"verb": "dial", **dial}],
        "9": [{"verb": "conference", "name": "room", "actionHook": "/done"}],
        "0": [{"verb": "listen", "url": "ws://127.0.0.1:9/audio", "actionHook": "/done"}],
        "*": [{"verb": "config", "ttsStream": {"enable": True}, "synthesizer": synthesizer}, GATHER],
        "#": [{"verb": "llm", **model, **hooks, **options}],
    }
    return choices.get(digit, say("no input", {"verb": "hangup"}))


@app.hook("/done")
async def done(_: Call) -> Verbs:
    return say("done", GATHER)
