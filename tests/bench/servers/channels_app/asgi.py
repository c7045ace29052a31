"""The two consumers: one holds a websocket and passes hooks on, one answers them in the worker process."""

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_app.settings")
django.setup()

from channels.consumer import AsyncConsumer  # noqa: E402  Django has to be set up first
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter  # noqa: E402

VERBS = [
    {"verb": "say", "text": "You pressed two, thank you."},
    {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 20, "actionHook": "/bench"},
]
HOOKS = {"session:new", "session:reconnect", "session:redirect", "verb:hook", "dial:confirm"}


class Socket(AsyncWebsocketConsumer):
    """One call."""

    async def connect(self):
        """Accept."""
        await self.accept("ws.jambonz.org")

    async def receive(self, text_data=None, bytes_data=None):
        """Hand a hook to the worker."""
        if json.loads(text_data)["type"] in HOOKS:
            await self.channel_layer.send("hooks", {"type": "hook", "reply": self.channel_name, "text": text_data})

    async def ack(self, message):
        """Send what the worker has answered."""
        await self.send(message["text"])


class Worker(AsyncConsumer):
    """Answers hooks of any call."""

    async def hook(self, message):
        """Ack it with two verbs."""
        msgid = json.loads(message["text"])["msgid"]
        text = json.dumps({"type": "ack", "msgid": msgid, "data": VERBS})
        await self.channel_layer.send(message["reply"], {"type": "ack", "text": text})


application = ProtocolTypeRouter(
    {"websocket": Socket.as_asgi(), "channel": ChannelNameRouter({"hooks": Worker.as_asgi()})}
)
