"""The application of the benchmarks: every hook gets two verbs."""

from jambonz_workers import App, Call

app = App()

VERBS: list[dict[str, object]] = [
    {"verb": "say", "text": "You pressed two, thank you."},
    {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 20, "actionHook": "/bench"},
]


@app.session("/bench")
async def start(_: Call) -> object:
    return VERBS


@app.hook("/bench")
async def answer(_: Call) -> object:
    return VERBS
